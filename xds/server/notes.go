package server

import (
	"sync"

	"github.com/fairwaynet/fairway/xds/route"
)

// notes are what the observer has yet to hear. A host that was served and is
// served again before the observer heard is told once, so that they are never
// more than there are keys.
type notes struct {
	mu      sync.Mutex
	queue   []func(Observer)
	pending map[route.Key]struct{}     // of served, in queue
	moved   map[route.Gateway]struct{} // of envoysChanged, in queue
	wake    chan struct{}
	ended   chan struct{} // closed by end
	over    sync.Once
}

func newNotes() *notes {
	return &notes{
		pending: make(map[route.Key]struct{}),
		moved:   make(map[route.Gateway]struct{}),
		wake:    make(chan struct{}, 1),
		ended:   make(chan struct{}),
	}
}

func (n *notes) add(note func(Observer)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.queue = append(n.queue, note)
	n.poke()
}

// served notes that a host is served everywhere.
func (n *notes) served(key route.Key) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if _, ok := n.pending[key]; ok {
		return
	}
	n.pending[key] = struct{}{}
	n.queue = append(n.queue, func(o Observer) { o.HostServed(key) })
	n.poke()
}

func (n *notes) hostRejected(key route.Key, detail string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.pending, key) // a later "served" must come after this
	n.queue = append(n.queue, func(o Observer) { o.HostRejected(key, detail) })
	n.poke()
}

func (n *notes) backendRejected(port route.ServicePort, detail string) {
	n.add(func(o Observer) { o.BackendRejected(port, detail) })
}

func (n *notes) settingsRejected(gateway route.Gateway, detail string) {
	n.add(func(o Observer) { o.SettingsRejected(gateway, detail) })
}

// envoysChanged notes that Envoys came, caught up, or left.
func (n *notes) envoysChanged(gateway route.Gateway) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if _, ok := n.moved[gateway]; ok {
		return
	}
	n.moved[gateway] = struct{}{}
	n.queue = append(n.queue, func(o Observer) { o.EnvoysChanged(gateway) })
	n.poke()
}

func (n *notes) certificateRejected(key route.Key, detail string) {
	n.add(func(o Observer) { o.CertificateRejected(key, detail) })
}

func (n *notes) certificateUnproved(key route.Key, detail string) {
	n.add(func(o Observer) { o.CertificateUnproved(key, detail) })
}

func (n *notes) poke() {
	select {
	case n.wake <- struct{}{}:
	default:
	}
}

// end says that there will be no more notes.
func (n *notes) end() { n.over.Do(func() { close(n.ended) }) }

// tell tells observer everything until the end.
func (n *notes) tell(observer Observer) {
	for over := false; !over; {
		select {
		case <-n.ended:
			over = true
		case <-n.wake:
		}
		for _, note := range n.take() {
			if observer != nil {
				note(observer)
			}
		}
	}
}

// take empties the queue.
func (n *notes) take() []func(Observer) {
	n.mu.Lock()
	defer n.mu.Unlock()
	queue := n.queue
	n.queue = nil
	n.pending = make(map[route.Key]struct{}) // not cleared: it would keep its size
	clear(n.moved)
	return queue
}
