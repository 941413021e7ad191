package server

import (
	"sync"

	"github.com/fairwaynet/fairway/xds/route"
)

// notes are what the observer has yet to hear. A host that was served and is
// served again before the observer heard is told once, so that they are never
// more than there are keys.
type notifier struct {
	mu       sync.Mutex
	queue    []func(Observer)
	pending  map[route.Key]struct{}     // of served, in queue
	changed  map[route.Gateway]struct{} // of envoysChanged, in queue
	wake     chan struct{}
	stopped  chan struct{} // closed by end
	stopOnce sync.Once
}

func newNotifier() *notifier {
	return &notifier{
		pending: make(map[route.Key]struct{}),
		changed: make(map[route.Gateway]struct{}),
		wake:    make(chan struct{}, 1),
		stopped: make(chan struct{}),
	}
}

func (n *notifier) add(note func(Observer)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.queue = append(n.queue, note)
	n.wakeUp()
}

// served notes that a host is served everywhere.
func (n *notifier) hostServed(key route.Key) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if _, ok := n.pending[key]; ok {
		return
	}
	n.pending[key] = struct{}{}
	n.queue = append(n.queue, func(o Observer) { o.HostServed(key) })
	n.wakeUp()
}

func (n *notifier) hostRejected(key route.Key, detail string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.pending, key) // a later "served" must come after this
	n.queue = append(n.queue, func(o Observer) { o.HostRejected(key, detail) })
	n.wakeUp()
}

func (n *notifier) backendRejected(port route.ServicePort, detail string) {
	n.add(func(o Observer) { o.BackendRejected(port, detail) })
}

func (n *notifier) settingsRejected(gateway route.Gateway, detail string) {
	n.add(func(o Observer) { o.SettingsRejected(gateway, detail) })
}

// envoysChanged notes that Envoys came, caught up, or left.
func (n *notifier) envoysChanged(gateway route.Gateway) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if _, ok := n.changed[gateway]; ok {
		return
	}
	n.changed[gateway] = struct{}{}
	n.queue = append(n.queue, func(o Observer) { o.EnvoysChanged(gateway) })
	n.wakeUp()
}

func (n *notifier) certificateRejected(key route.Key, detail string) {
	n.add(func(o Observer) { o.CertificateRejected(key, detail) })
}

func (n *notifier) certificateNotServed(key route.Key, detail string) {
	n.add(func(o Observer) { o.CertificateNotServed(key, detail) })
}

func (n *notifier) wakeUp() {
	select {
	case n.wake <- struct{}{}:
	default:
	}
}

// end says that there will be no more notes.
func (n *notifier) stop() { n.stopOnce.Do(func() { close(n.stopped) }) }

// tell tells observer everything until the end.
func (n *notifier) run(observer Observer) {
	for over := false; !over; {
		select {
		case <-n.stopped:
			over = true
		case <-n.wake:
		}
		for _, note := range n.drain() {
			if observer != nil {
				note(observer)
			}
		}
	}
}

// take empties the queue.
func (n *notifier) drain() []func(Observer) {
	n.mu.Lock()
	defer n.mu.Unlock()
	queue := n.queue
	n.queue = nil
	n.pending = make(map[route.Key]struct{}) // not cleared: it would keep its size
	clear(n.changed)
	return queue
}
