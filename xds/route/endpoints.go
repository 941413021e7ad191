package route

import (
	"cmp"
	"fmt"
	"math"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/fairwaynet/fairway/api/problem"
)

// BuildBackend returns the endpoints of a Service port, nil if there is nothing
// to publish: the Service does not exist (nil), has no such port, or is an
// ExternalName, which Envoy resolves. Slices of other Services are ignored.
//
// Traffic goes to ready endpoints. If there is none, it goes to those that still serve
// while they terminate. Of a Service with two address families, the second gets traffic
// only if the first has no endpoint. LocalPrefixes get traffic only if local allows it.
func BuildBackend(
	port ServicePort, service *corev1.Service, endpointSlices []*discoveryv1.EndpointSlice, local bool,
) (*Backend, []problem.Problem) {
	if service == nil || service.Spec.Type == corev1.ServiceTypeExternalName {
		return nil, nil
	}
	servicePort, ok := tcpPort(service, port.Port)
	if !ok {
		return nil, nil
	}
	gathered := gather(service, servicePort.Name, endpointSlices, local)
	return &Backend{
		Port:      port,
		Endpoints: chosen(gathered, prefersIPv6(service)),
	}, problem.Sort(gathered.problems)
}

// gathered are the endpoints of a Service port by their condition.
type gathered struct {
	ready, draining []Endpoint
	problems        []problem.Problem
	local           bool // LocalPrefixes are among them
}

// gather reads the slices of a Service. A port of the Service and one of a slice
// belong together by their name.
func gather(service *corev1.Service, portName string, endpointSlices []*discoveryv1.EndpointSlice, local bool) gathered {
	found := gathered{local: local}
	endpoints, ports := 0, 0
	for _, slice := range endpointSlices {
		if slice.Namespace != service.Namespace || slice.Labels[discoveryv1.LabelServiceName] != service.Name {
			continue
		}
		endpoints += len(slice.Endpoints)
		for i, port := range slice.Ports {
			if valueOf(port.Name, "") == portName && isTCP(valueOf(port.Protocol, "")) && port.Port != nil {
				ports++
				found.add(slice, i)
			}
		}
	}
	if endpoints > 0 && ports == 0 {
		found.report(service, "Service", fault{"spec.ports", ReasonNoEndpointPort, fmt.Sprintf(
			"the Service has endpoints, but none of its EndpointSlices has a TCP port named %q; requests are answered 503", portName)})
	}
	return found
}

// add takes the endpoints of slice at one of its ports.
func (g *gathered) add(slice *discoveryv1.EndpointSlice, port int) {
	number := *slice.Ports[port].Port
	if number < 1 || number > math.MaxUint16 {
		g.report(slice, "EndpointSlice", invalid(fmt.Sprintf("ports[%d].port", port),
			fmt.Sprintf("port %d is not between 1 and 65535", number)))
		return
	}
	for i := range slice.Endpoints {
		endpoint := &slice.Endpoints[i]
		ready, draining := usesOf(endpoint.Conditions)
		if !ready && !draining {
			continue
		}
		addr, wrong := addressOf(endpoint, g.local)
		if wrong.reason != "" {
			wrong.field = fmt.Sprintf("endpoints[%d].addresses", i)
			g.report(slice, "EndpointSlice", wrong)
			continue
		}
		at := Endpoint{Address: netip.AddrPortFrom(addr, uint16(number)), Zone: valueOf(endpoint.Zone, "")}
		if ready {
			g.ready = append(g.ready, at)
		} else {
			g.draining = append(g.draining, at)
		}
	}
}

func (g *gathered) report(object metav1.Object, kind string, found fault) {
	name := types.NamespacedName{Namespace: object.GetNamespace(), Name: object.GetName()}
	g.problems = append(g.problems, found.in(problem.Object{Kind: kind, Name: name}, ""))
}

// invalid is the fault of a part of an EndpointSlice.
func invalid(field, what string) fault {
	return fault{field, ReasonInvalidEndpoint, what + "; it gets no requests"}
}

// usesOf says whether an endpoint is ready, or serves while it terminates, with the
// API's meaning of nil.
func usesOf(conditions discoveryv1.EndpointConditions) (ready, draining bool) {
	if valueOf(conditions.Ready, true) {
		return true, false
	}
	return false, valueOf(conditions.Serving, true) && valueOf(conditions.Terminating, false)
}

// addressOf returns the first address of an endpoint, as kube-proxy does: the others
// are the same endpoint once more. The API server refuses most local addresses. Others
// that it allows, and those that it has not validated, are refused here.
func addressOf(endpoint *discoveryv1.Endpoint, local bool) (addr netip.Addr, wrong fault) {
	if len(endpoint.Addresses) == 0 {
		return netip.Addr{}, invalid("", "the endpoint has no address")
	}
	text := endpoint.Addresses[0]
	addr, err := netip.ParseAddr(text)
	addr = addr.Unmap()
	switch {
	case err != nil || addr.Zone() != "" || addr.IsUnspecified() || addr.IsMulticast():
		return netip.Addr{}, invalid("", fmt.Sprintf("%q is not an IP address that can be connected to", text))
	case !local && isLocal(addr):
		return netip.Addr{}, fault{"", ReasonBackendNotAllowed, fmt.Sprintf("%q %s; it gets no requests", text, notAllowed)}
	}
	return addr, fault{}
}

// chosen are the endpoints that get traffic, sorted and unique.
func chosen(found gathered, ipv6First bool) []Endpoint {
	for _, endpoints := range [][]Endpoint{found.ready, found.draining} {
		for _, wantIPv6 := range []bool{ipv6First, !ipv6First} {
			if family := ofFamily(endpoints, wantIPv6); len(family) > 0 {
				return unique(family)
			}
		}
	}
	return nil
}

func ofFamily(endpoints []Endpoint, ipv6 bool) []Endpoint {
	var family []Endpoint
	for _, endpoint := range endpoints {
		if endpoint.Address.Addr().Is6() == ipv6 {
			family = append(family, endpoint)
		}
	}
	return family
}

// unique sorts the endpoints and removes duplicates. An endpoint that is in two
// slices, as happens while slices are rearranged, keeps a zone if either has it.
func unique(endpoints []Endpoint) []Endpoint {
	slices.SortFunc(endpoints, func(a, b Endpoint) int {
		return cmp.Or(a.Address.Compare(b.Address), cmp.Compare(b.Zone, a.Zone))
	})
	return slices.CompactFunc(endpoints, func(a, b Endpoint) bool { return a.Address == b.Address })
}

// prefersIPv6 reports whether a Service's primary family is IPv6.
func prefersIPv6(service *corev1.Service) bool {
	if families := service.Spec.IPFamilies; len(families) > 0 {
		return families[0] == corev1.IPv6Protocol
	}
	addr, err := netip.ParseAddr(service.Spec.ClusterIP)
	return err == nil && addr.Is6()
}

// tcpPort finds the TCP port of a Service with this number.
func tcpPort(service *corev1.Service, number int32) (corev1.ServicePort, bool) {
	at := slices.IndexFunc(service.Spec.Ports, func(port corev1.ServicePort) bool {
		return port.Port == number && isTCP(port.Protocol)
	})
	if at < 0 {
		return corev1.ServicePort{}, false
	}
	return service.Spec.Ports[at], true
}

// isTCP reports whether a protocol is TCP, which is the default.
func isTCP(protocol corev1.Protocol) bool {
	return protocol == corev1.ProtocolTCP || protocol == ""
}

// valueOf is *pointer, or the given value for nil.
func valueOf[T any](pointer *T, unset T) T {
	if pointer == nil {
		return unset
	}
	return *pointer
}
