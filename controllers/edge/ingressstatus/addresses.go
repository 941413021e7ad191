package ingressstatus

import (
	"context"
	"fmt"
	"net/netip"
	"sync"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	typedv1 "k8s.io/client-go/kubernetes/typed/core/v1"
	toolscache "k8s.io/client-go/tools/cache"

	"github.com/fairwaynet/fairway/api/problem"
	"github.com/fairwaynet/fairway/xds/route"
)

// Address makes an address that users can reach from an IP address or a host name.
func Address(text string) networkingv1.IngressLoadBalancerIngress {
	if _, err := netip.ParseAddr(text); err == nil {
		return networkingv1.IngressLoadBalancerIngress{IP: text}
	}
	return networkingv1.IngressLoadBalancerIngress{Hostname: text}
}

// Others stands for the gateways that have no addresses of their own.
const Others route.Gateway = ""

// Addresses holds the addresses at which gateways are reached. The zero value
// holds none.
type Addresses struct {
	// Changed is called when addresses change; may be nil, must not block.
	Changed func()
	// Heard is called with the Service that a gateway's addresses follow, nil
	// while it does not exist. It may be nil, and must not block.
	Heard func(route.Gateway, *corev1.Service)

	mu   sync.Mutex
	each map[route.Gateway][]networkingv1.IngressLoadBalancerIngress
}

// Of returns the addresses of a gateway: its own, if Set was ever called for it,
// or else those of Others. The caller must not change them.
func (a *Addresses) Of(gateway route.Gateway) []networkingv1.IngressLoadBalancerIngress {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.each[a.owner(gateway)]
}

func (a *Addresses) owner(gateway route.Gateway) route.Gateway {
	if _, own := a.each[gateway]; own {
		return gateway
	}
	return Others
}

// elsewhere reports whether list is the addresses of another gateway and not of
// this one.
func (a *Addresses) elsewhere(list []networkingv1.IngressLoadBalancerIngress, gateway route.Gateway) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if same(list, a.each[a.owner(gateway)]) {
		return false
	}
	for _, other := range a.each {
		if len(other) > 0 && same(list, other) {
			return true
		}
	}
	return false
}

// Set makes list the addresses of a gateway, or of Others.
func (a *Addresses) Set(gateway route.Gateway, list []networkingv1.IngressLoadBalancerIngress) {
	a.mu.Lock()
	before, own := a.each[gateway]
	if a.each == nil {
		a.each = map[route.Gateway][]networkingv1.IngressLoadBalancerIngress{}
	}
	a.each[gateway] = list
	a.mu.Unlock()
	if (!own || !same(before, list)) && a.Changed != nil {
		a.Changed()
	}
}

// NoAddress is the reason of the Problem on a Service that is to give Ingresses
// its addresses but has none.
const NoAddress problem.Reason = "NoAddress"

// unaddressed is the Reporter's key of such a Service.
type unaddressed struct {
	gateway route.Gateway
	service types.NamespacedName
}

// Follow makes the addresses of a gateway those of a Service until ctx ends. While
// the Service has none, it reports that. It reads no other Service.
func (a *Addresses) Follow(
	ctx context.Context, services typedv1.CoreV1Interface, gateway route.Gateway, name types.NamespacedName, reporter Reporter,
) error {
	source := toolscache.NewFilteredListWatchFromClient(services.RESTClient(), "services", name.Namespace,
		func(options *metav1.ListOptions) {
			options.FieldSelector = fields.OneTermEqualSelector(metav1.ObjectNameField, name.Name).String()
		})
	informer := toolscache.NewSharedInformer(source, &corev1.Service{}, 0)
	take := func(service *corev1.Service) {
		a.Set(gateway, addressesOf(service))
		if a.Heard != nil {
			a.Heard(gateway, service)
		}
		reporter.Report(ctx, unaddressed{gateway, name}, checkPublished(gateway, name, service))
	}
	var first sync.Once // the first Add, or else the absence of the Service
	heard, err := informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
		AddFunc:    func(object any) { first.Do(func() {}); take(object.(*corev1.Service)) },
		UpdateFunc: func(_, object any) { take(object.(*corev1.Service)) },
		DeleteFunc: func(any) { take(nil) },
	})
	if err != nil {
		return fmt.Errorf("watch service %s: %w", name, err)
	}
	var running sync.WaitGroup
	running.Go(func() { informer.RunWithContext(ctx) })
	if toolscache.WaitForCacheSync(ctx.Done(), heard.HasSynced) {
		first.Do(func() { take(nil) }) // it does not exist
	}
	running.Wait()
	return nil
}

// checkPublished returns the Problem with the Service that gives the Ingresses of
// a gateway their addresses. service is nil if it does not exist.
func checkPublished(gateway route.Gateway, name types.NamespacedName, service *corev1.Service) []problem.Problem {
	var what string
	switch {
	case service == nil:
		what = "it does not exist"
	case len(addressesOf(service)) == 0:
		what = "it has none yet"
	default:
		return nil
	}
	whose := "Ingresses"
	if gateway != Others {
		whose = fmt.Sprintf("the Ingresses of gateway %q", gateway)
	}
	return []problem.Problem{{
		Object:  problem.Object{Kind: "Service", Name: name},
		Reason:  NoAddress,
		Message: fmt.Sprintf("%s are to be given the addresses of this Service, but %s; until then none of them is given any", whose, what),
	}}
}

// addressesOf returns the addresses at which a Service is reached from outside:
// those of its load balancer, else its external IPs, else its external name. A nil
// Service has none.
func addressesOf(service *corev1.Service) []networkingv1.IngressLoadBalancerIngress {
	if service == nil {
		return nil
	}
	var list []networkingv1.IngressLoadBalancerIngress
	for _, i := range service.Status.LoadBalancer.Ingress {
		if i.IP != "" || i.Hostname != "" {
			list = append(list, networkingv1.IngressLoadBalancerIngress{IP: i.IP, Hostname: i.Hostname})
		}
	}
	if list == nil {
		for _, ip := range service.Spec.ExternalIPs {
			list = append(list, networkingv1.IngressLoadBalancerIngress{IP: ip})
		}
	}
	if list == nil && service.Spec.Type == corev1.ServiceTypeExternalName {
		list = append(list, networkingv1.IngressLoadBalancerIngress{Hostname: service.Spec.ExternalName})
	}
	return list
}
