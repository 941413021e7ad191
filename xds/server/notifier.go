package server

import (
	"sync"

	"github.com/fairwaynet/fairway/xds/route"
)

// notifier queues calls of the observer. A host that is served again before the observer
// was called is told once, so that there are never more calls than keys.
type notifier struct {
	mu       sync.Mutex
	queue    []func(Observer)
	pending  map[route.Key]struct{}     // calls of HostServed in queue
	changed  map[route.Gateway]struct{} // calls of EnvoysChanged in queue
	wake     chan struct{}
	stopped  chan struct{} // closed by stop
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

// hostServed tells that a host is served everywhere.
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
	delete(n.pending, key) // a later HostServed must come after this
	n.queue = append(n.queue, func(o Observer) { o.HostRejected(key, detail) })
	n.wakeUp()
}

func (n *notifier) backendRejected(port route.ServicePort, detail string) {
	n.add(func(o Observer) { o.BackendRejected(port, detail) })
}

func (n *notifier) settingsRejected(gateway route.Gateway, detail string) {
	n.add(func(o Observer) { o.SettingsRejected(gateway, detail) })
}

// envoysChanged tells that Envoys connected, became synced, or left.
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

func (n *notifier) add(call func(Observer)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.queue = append(n.queue, call)
	n.wakeUp()
}

func (n *notifier) wakeUp() {
	select {
	case n.wake <- struct{}{}:
	default:
	}
}

// run calls the observer until stop.
func (n *notifier) run(observer Observer) {
	for over := false; !over; {
		select {
		case <-n.stopped:
			over = true
		case <-n.wake:
		}
		for _, call := range n.drain() {
			if observer != nil {
				call(observer)
			}
		}
	}
}

// drain empties the queue.
func (n *notifier) drain() []func(Observer) {
	n.mu.Lock()
	defer n.mu.Unlock()
	queue := n.queue
	n.queue = nil
	n.pending = make(map[route.Key]struct{}) // not cleared: it would keep its size
	clear(n.changed)
	return queue
}

// stop says that there will be no more calls.
func (n *notifier) stop() { n.stopOnce.Do(func() { close(n.stopped) }) }
