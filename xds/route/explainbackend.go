package route

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
)

// EndpointState is an endpoint of a Service port, and its condition.
type EndpointState struct {
	Endpoint
	// Condition is that of its EndpointSlice.
	Condition EndpointCondition
	// Used says that requests go to it.
	Used bool
	// Target is the object that answers there, as "Pod cart-1"; empty when unknown.
	Target string
}

// EndpointCondition says whether an endpoint can take requests.
type EndpointCondition string

// The conditions of endpoints.
const (
	EndpointReady    EndpointCondition = "Ready"
	EndpointDraining EndpointCondition = "Draining" // it serves while it terminates
	EndpointNotReady EndpointCondition = "NotReady"
)

// ExplainBackend returns all endpoints of a Service port, those first that are used:
// the endpoints that BuildBackend publishes.
func ExplainBackend(
	port ServicePort, service *corev1.Service, endpointSlices []*discoveryv1.EndpointSlice, local bool,
) []EndpointState {
	backend, _ := BuildBackend(port, service, endpointSlices, local)
	if backend == nil {
		return nil
	}
	used := map[netip.AddrPort]bool{}
	for _, endpoint := range backend.Endpoints {
		used[endpoint.Address] = true
	}
	servicePort, _ := tcpPort(service, port.Port)
	var states []EndpointState
	for _, slice := range endpointSlices {
		if slice.Namespace != service.Namespace || slice.Labels[discoveryv1.LabelServiceName] != service.Name {
			continue
		}
		for _, port := range slice.Ports {
			if valueOf(port.Name, "") == servicePort.Name && isTCP(valueOf(port.Protocol, "")) && port.Port != nil {
				states = append(states, statesOf(slice, *port.Port, used, local)...)
			}
		}
	}
	slices.SortFunc(states, func(a, b EndpointState) int {
		return cmp.Or(boolOrder(b.Used)-boolOrder(a.Used), cmp.Compare(a.Condition, b.Condition), a.Address.Compare(b.Address))
	})
	return slices.CompactFunc(states, func(a, b EndpointState) bool { return a.Address == b.Address })
}

func statesOf(slice *discoveryv1.EndpointSlice, port int32, used map[netip.AddrPort]bool, local bool) []EndpointState {
	var states []EndpointState
	for i := range slice.Endpoints {
		endpoint := &slice.Endpoints[i]
		addr, wrong := addressOf(endpoint, local)
		if wrong.reason != "" {
			continue // a Problem says so
		}
		state := EndpointState{
			Endpoint:  Endpoint{Address: netip.AddrPortFrom(addr, uint16(port)), Zone: valueOf(endpoint.Zone, "")},
			Condition: EndpointNotReady,
		}
		switch ready, draining := usesOf(endpoint.Conditions); {
		case ready:
			state.Condition = EndpointReady
		case draining:
			state.Condition = EndpointDraining
		}
		if target := endpoint.TargetRef; target != nil {
			state.Target = target.Kind + " " + target.Name
		}
		state.Used = used[state.Address] && state.Condition != EndpointNotReady
		states = append(states, state)
	}
	return states
}

func boolOrder(b bool) int {
	if b {
		return 1
	}
	return 0
}

// FieldOf is the field of ing from which the route of match under a host comes: a path
// of one of its rules, or its default backend. It is empty if ing does not ask for such
// a route.
func FieldOf(ing *networkingv1.Ingress, host Hostname, match Match) string {
	for i := range ing.Spec.Rules {
		rule := &ing.Spec.Rules[i]
		if !host.isNamedBy(rule) || rule.HTTP == nil {
			continue
		}
		for j := range rule.HTTP.Paths {
			if its, ok, _ := matchOf(&rule.HTTP.Paths[j]); ok && its == match {
				return position{i, j}.String()
			}
		}
	}
	if ing.Spec.DefaultBackend != nil && match == (Match{Kind: Prefix, Path: "/"}) {
		return position{rule: -1}.String()
	}
	return ""
}

// Concerns reports whether a fault at a field of ing can matter to requests for
// a normalised path: not if it is in a rule's path that does not match.
func Concerns(ing *networkingv1.Ingress, field, path string) bool {
	for i := range ing.Spec.Rules {
		http := ing.Spec.Rules[i].HTTP
		if http == nil {
			continue
		}
		for j := range http.Paths {
			if strings.HasPrefix(field+".", position{i, j}.String()+".") {
				match, ok, _ := matchOf(&http.Paths[j])
				return !ok || match.Matches(path)
			}
		}
	}
	return true
}
