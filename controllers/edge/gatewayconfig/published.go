package gatewayconfig

import (
	"context"
	"sync"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/fairwaynet/fairway/xds/route"
)

// Everyone stands for the gateways that have no Service of their own to publish
// them.
const Everyone route.Gateway = ""

// PublishedServices are the Services that publish gateways. It knows their ports,
// which are the ones that clients use. A nil one knows none.
type PublishedServices struct {
	Log logr.Logger

	mu       sync.Mutex
	ports    map[route.Gateway][]corev1.ServicePort
	expected map[route.Gateway]struct{} // not heard of yet
	all      chan struct{}              // closed when there are none of these
	wake     func(route.Gateway)        // nil: the first pass will look
}

// NewPublishedServices makes a PublishedServices that expects to hear of the given
// gateways.
func NewPublishedServices(log logr.Logger, expected []route.Gateway) *PublishedServices {
	p := &PublishedServices{
		Log: log, ports: map[route.Gateway][]corev1.ServicePort{}, expected: map[route.Gateway]struct{}{}, all: make(chan struct{}),
	}
	for _, gateway := range expected {
		p.expected[gateway] = struct{}{}
	}
	p.checkAll()
	return p
}

// Set makes service the one that publishes a gateway, or Everyone. With nil the
// gateway has none, even if Everyone has one.
func (p *PublishedServices) Set(gateway route.Gateway, service *corev1.Service) {
	var ports []corev1.ServicePort
	if service != nil {
		ports = service.Spec.Ports
	}
	p.mu.Lock()
	before, known := p.ports[gateway]
	p.ports[gateway] = ports
	if _, expected := p.expected[gateway]; expected {
		delete(p.expected, gateway)
		p.checkAll()
	}
	wake := p.wake
	p.mu.Unlock()
	if wake != nil && (!known || !equality.Semantic.DeepEqual(before, ports)) {
		wake(gateway)
	}
}

func (p *PublishedServices) checkAll() {
	if len(p.expected) == 0 {
		close(p.all)
	}
}

// Of returns the ports of the Service that publishes a gateway: its own, if Set
// was ever called for it, or else that of Everyone. The caller must not change
// them.
func (p *PublishedServices) Of(gateway route.Gateway) []corev1.ServicePort {
	if p == nil {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if ports, own := p.ports[gateway]; own {
		return ports
	}
	return p.ports[Everyone]
}

// Wait returns when all expected Services were heard of, or after most: a gateway
// whose Service cannot be read is served all the same.
func (p *PublishedServices) Wait(ctx context.Context, most time.Duration) {
	if p == nil {
		return
	}
	timer := time.NewTimer(most)
	defer timer.Stop()
	select {
	case <-p.all:
	case <-ctx.Done():
	case <-timer.C:
		p.Log.Error(nil, "a Service of --publish-service cannot be read yet; until then gateways take their own ports for those that clients use")
	}
}

// Source wakes the gateways whose Service has got other ports. If it is the
// Service of Everyone, it wakes all gateways that keys returns.
func (p *PublishedServices) Source(keys func(context.Context) ([]route.Gateway, error)) source.TypedSource[route.Gateway] {
	return source.TypedFunc[route.Gateway](func(ctx context.Context, queue workqueue.TypedRateLimitingInterface[route.Gateway]) error {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.wake = func(gateway route.Gateway) {
			gateways := []route.Gateway{gateway}
			if gateway == Everyone {
				var err error
				if gateways, err = keys(ctx); err != nil {
					p.Log.Error(err, "cannot tell which gateways a Service publishes")
				}
			}
			for _, gateway := range gateways {
				queue.Add(gateway)
			}
		}
		return nil
	})
}
