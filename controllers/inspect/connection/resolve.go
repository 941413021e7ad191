package connection

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/fairwaynet/fairway/controllers/inspect/policies"
	"github.com/fairwaynet/fairway/proxy/policy"
)

// destination is where connections to a target can end.
type destination struct {
	service *Service
	at      []netip.AddrPort
	end     End // if that is nowhere
	why     string
}

// resolve finds where connections to a target can end. Its errors say that there is no such target.
func (o Objects) resolve(from *corev1.Pod, t Target) (destination, error) {
	switch {
	case t.Address.IsValid():
		if service := o.serviceAt(t.Address); service != nil {
			return o.behind(service, from, t)
		}
		return destination{at: []netip.AddrPort{netip.AddrPortFrom(t.Address, t.Port)}}, nil
	case t.Pod.Name != "":
		return o.pod(t)
	default:
		name := t.Service
		name.Namespace = cmp.Or(name.Namespace, from.Namespace)
		for _, service := range o.Services {
			if service.Namespace == name.Namespace && service.Name == name.Name {
				return o.behind(service, from, t)
			}
		}
		return destination{}, fmt.Errorf("there is no service %s", name)
	}
}

func (o Objects) pod(t Target) (destination, error) {
	i := slices.IndexFunc(o.Pods, func(p *corev1.Pod) bool { return nameOf(p) == t.Pod })
	if i < 0 {
		return destination{}, fmt.Errorf("there is no pod %s", t.Pod)
	}
	pod := o.Pods[i]
	if exempt := policies.Exempt(pod); exempt != "" && !pod.Spec.HostNetwork {
		return destination{}, fmt.Errorf("nobody connects to pod %s: %s", t.Pod, exempt)
	}
	var d destination
	for _, a := range policy.Addresses(pod) {
		d.at = append(d.at, netip.AddrPortFrom(a, t.Port))
	}
	if len(d.at) == 0 {
		return d, fmt.Errorf("pod %s has no address yet", t.Pod)
	}
	return d, nil
}

// serviceAt returns the Service that has an address.
func (o Objects) serviceAt(a netip.Addr) *corev1.Service {
	for _, service := range o.Services {
		all := slices.Concat(service.Spec.ClusterIPs, []string{service.Spec.ClusterIP}, service.Spec.ExternalIPs)
		for _, ingress := range service.Status.LoadBalancer.Ingress {
			if ingress.IPMode == nil || *ingress.IPMode == corev1.LoadBalancerIPModeVIP {
				all = append(all, ingress.IP)
			}
		}
		if slices.ContainsFunc(all, func(text string) bool {
			its, err := netip.ParseAddr(text)
			return err == nil && its.Unmap() == a
		}) {
			return service
		}
	}
	return nil
}

// behind finds the endpoints of a Service.
func (o Objects) behind(service *corev1.Service, from *corev1.Pod, t Target) (destination, error) {
	d := destination{service: &Service{Namespace: service.Namespace, Name: service.Name, Headless: service.Spec.ClusterIP == corev1.ClusterIPNone}}
	if service.Spec.Type == corev1.ServiceTypeExternalName {
		return d, fmt.Errorf("service %s/%s is another name of %s: give one of the addresses of that name",
			service.Namespace, service.Name, service.Spec.ExternalName)
	}
	var port *corev1.ServicePort
	for i, p := range service.Spec.Ports {
		if p.Port == int32(t.Port) && cmp.Or(p.Protocol, corev1.ProtocolTCP) == t.Protocol {
			port = &service.Spec.Ports[i]
		}
	}
	if port == nil && !d.service.Headless {
		d.end, d.why = NoPort, fmt.Sprintf("Service %s/%s has no %s port %d, and refuses the connection", service.Namespace, service.Name, t.Protocol, t.Port)
		return d, nil
	}
	e := endpoints{from: from, local: value(service.Spec.InternalTrafficPolicy) == corev1.ServiceInternalTrafficPolicyLocal}
	for _, slice := range o.Slices {
		mine := slice.Namespace == service.Namespace && slice.Labels[discoveryv1.LabelServiceName] == service.Name
		if !mine || t.Address.IsValid() && t.Address.Is6() != (slice.AddressType == discoveryv1.AddressTypeIPv6) {
			continue
		}
		if d.service.Headless { // no translation: clients find the addresses in DNS
			e.add(slice, t.Port)
			continue
		}
		for _, number := range numbers(slice, port.Name, t.Protocol) {
			e.add(slice, number)
		}
	}
	if d.at = e.usable(); len(d.at) == 0 {
		d.end, d.why = NoEndpoint, fmt.Sprintf("No endpoint of Service %s/%s is ready for connections%s", service.Namespace, service.Name, e.where())
	}
	return d, nil
}

// numbers are those of the ports of a slice that are a port of its Service.
func numbers(slice *discoveryv1.EndpointSlice, name string, protocol corev1.Protocol) []uint16 {
	var all []uint16
	for _, p := range slice.Ports {
		if p.Port != nil && value(p.Name) == name && cmp.Or(value(p.Protocol), corev1.ProtocolTCP) == protocol {
			all = append(all, uint16(*p.Port)) //nolint:gosec // the API server has checked it
		}
	}
	return all
}

func value[T any](p *T) T {
	if p == nil {
		return *new(T)
	}
	return *p
}

// endpoints are those of a port of a Service that connections of a pod may be given to.
type endpoints struct {
	from           *corev1.Pod
	local          bool // only those of the pod's node
	ready, leaving []netip.AddrPort
}

func (e *endpoints) add(slice *discoveryv1.EndpointSlice, port uint16) {
	for _, each := range slice.Endpoints {
		if e.local && value(each.NodeName) != e.from.Spec.NodeName || len(each.Addresses) == 0 {
			continue
		}
		a, err := netip.ParseAddr(each.Addresses[0]) // all of an endpoint's are the same endpoint
		if err != nil {
			continue // of a name
		}
		at := netip.AddrPortFrom(a.Unmap(), port)
		switch c := each.Conditions; {
		case c.Ready == nil || *c.Ready:
			e.ready = append(e.ready, at)
		case value(c.Serving) && value(c.Terminating):
			e.leaving = append(e.leaving, at)
		}
	}
}

// usable are the ready ones, else those that are leaving and still answer.
func (e *endpoints) usable() []netip.AddrPort {
	all := e.ready
	if len(all) == 0 {
		all = e.leaving
	}
	slices.SortFunc(all, netip.AddrPort.Compare)
	return slices.Compact(all)
}

func (e *endpoints) where() string {
	if e.local {
		return " on the sender's node, and it leads nowhere else"
	}
	return ""
}
