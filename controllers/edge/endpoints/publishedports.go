package endpoints

import (
	"sync"

	"k8s.io/apimachinery/pkg/types"

	"github.com/fairwaynet/fairway/api/shrink"
	"github.com/fairwaynet/fairway/xds/route"
)

// publishedPorts remembers which ports are published, by Service. It never decides
// what is published, only what is looked at again. It is needed when a Service
// renames a port while its Ingress goes away: then no object names the old number
// any more, in whatever order the informers deliver the two events.
type publishedPorts struct {
	mu    sync.Mutex
	ports map[types.NamespacedName]map[route.ServicePort]bool
}

func newPublishedPorts() *publishedPorts {
	return &publishedPorts{ports: map[types.NamespacedName]map[route.ServicePort]bool{}}
}

func (l *publishedPorts) note(port route.ServicePort, published bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	ports := l.ports[port.Service]
	switch {
	case published && ports == nil:
		l.ports[port.Service] = map[route.ServicePort]bool{port: true}
	case published:
		ports[port] = true
	default:
		delete(ports, port)
		if len(ports) == 0 {
			shrink.Delete(&l.ports, port.Service)
		}
	}
}

// of returns the published ports of the Service.
func (l *publishedPorts) of(service types.NamespacedName) []route.ServicePort {
	l.mu.Lock()
	defer l.mu.Unlock()
	var ports []route.ServicePort
	for port := range l.ports[service] {
		ports = append(ports, port)
	}
	return ports
}
