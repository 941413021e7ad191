package status

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
	"k8s.io/client-go/tools/cache"
)

// Address is one that users can reach: of an IP address or of a host's name.
func Address(text string) networkingv1.IngressLoadBalancerIngress {
	if _, err := netip.ParseAddr(text); err == nil {
		return networkingv1.IngressLoadBalancerIngress{IP: text}
	}
	return networkingv1.IngressLoadBalancerIngress{Hostname: text}
}

// Addresses are those at which the gateways are reached. The zero value has
// none.
type Addresses struct {
	// Changed hears of new ones; may be nil, must not block.
	Changed func()

	mu   sync.Mutex
	list []networkingv1.IngressLoadBalancerIngress
}

// List is the addresses, which must not be changed.
func (a *Addresses) List() []networkingv1.IngressLoadBalancerIngress {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.list
}

// Set makes list the addresses.
func (a *Addresses) Set(list []networkingv1.IngressLoadBalancerIngress) {
	a.mu.Lock()
	changed := !same(a.list, list)
	a.list = list
	a.mu.Unlock()
	if changed && a.Changed != nil {
		a.Changed()
	}
}

// Follow makes the addresses those of a Service until ctx ends. No other
// Service is read.
func (a *Addresses) Follow(ctx context.Context, services typedv1.CoreV1Interface, name types.NamespacedName) error {
	source := cache.NewFilteredListWatchFromClient(services.RESTClient(), "services", name.Namespace,
		func(options *metav1.ListOptions) {
			options.FieldSelector = fields.OneTermEqualSelector(metav1.ObjectNameField, name.Name).String()
		})
	informer := cache.NewSharedInformer(source, &corev1.Service{}, 0)
	_, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(object any) { a.Set(addressesOf(object.(*corev1.Service))) },
		UpdateFunc: func(_, object any) { a.Set(addressesOf(object.(*corev1.Service))) },
		DeleteFunc: func(any) { a.Set(nil) },
	})
	if err != nil {
		return fmt.Errorf("watch service %s: %w", name, err)
	}
	informer.RunWithContext(ctx)
	return nil
}

// addressesOf is where a Service is reached from outside: what its load balancer
// has given it, else its external IPs, else the name that it stands for.
func addressesOf(service *corev1.Service) []networkingv1.IngressLoadBalancerIngress {
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
