package service_test

import (
	"fmt"
	"net/netip"
	"strings"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/fairwaynet/fairway/proxy/service"
)

// The node of the tests, and what the cluster has for itself.
func node() service.Node {
	return service.Node{
		Name: "n1", Zone: "a", ExternalIPs: true,
		Reserved: service.Reserved{
			Nodes:    map[netip.Addr]string{netip.MustParseAddr("198.51.100.1"): "n1", netip.MustParseAddr("2001:db8:1::1"): "n1"},
			Pods:     []netip.Prefix{netip.MustParsePrefix("10.244.0.0/16"), netip.MustParsePrefix("fd00:244::/32")},
			Services: []netip.Prefix{netip.MustParsePrefix("10.96.0.0/16"), netip.MustParsePrefix("fd00:96::/112")},
		},
	}
}

func pointer[T any](v T) *T { return &v }

// change changes a Service.
type change func(*corev1.Service)

// object is Service shop/web with port 80, changed.
func object(changes ...change) *corev1.Service {
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web"}}
	s.Spec.Type = corev1.ServiceTypeClusterIP
	s.Spec.ClusterIP, s.Spec.ClusterIPs = "10.96.0.1", []string{"10.96.0.1"}
	s.Spec.Ports = []corev1.ServicePort{{Port: 80, Protocol: corev1.ProtocolTCP}}
	for _, change := range changes {
		change(s)
	}
	return s
}

func dual(s *corev1.Service) { s.Spec.ClusterIPs = []string{"10.96.0.1", "fd00:96::1"} }

func nodePort(s *corev1.Service) {
	s.Spec.Type, s.Spec.Ports[0].NodePort = corev1.ServiceTypeNodePort, 30080
}

// balancer gives the Service addresses of a load balancer, and no node port.
func balancer(addresses ...string) change {
	return func(s *corev1.Service) {
		s.Spec.Type, s.Spec.AllocateLoadBalancerNodePorts = corev1.ServiceTypeLoadBalancer, pointer(false)
		for _, a := range addresses {
			s.Status.LoadBalancer.Ingress = append(s.Status.LoadBalancer.Ingress, corev1.LoadBalancerIngress{IP: a})
		}
	}
}

func externalIPs(addresses ...string) change {
	return func(s *corev1.Service) { s.Spec.ExternalIPs = addresses }
}

func sourceRanges(texts ...string) change {
	return func(s *corev1.Service) { s.Spec.LoadBalancerSourceRanges = texts }
}

func internalLocal(s *corev1.Service) {
	s.Spec.InternalTrafficPolicy = pointer(corev1.ServiceInternalTrafficPolicyLocal)
}

func externalLocal(s *corev1.Service) {
	s.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal
}

func clientIP(s *corev1.Service) { s.Spec.SessionAffinity = corev1.ServiceAffinityClientIP }

// endpoint reads "10.244.1.1 n1 ready zone=a node=n1 pod=x": address, node, state and the
// rest, which may lack. An endpoint is ready, or
//
//	leaving  terminating, and serving
//	gone     terminating, and not serving
//	unready  neither
func endpoint(text string) discoveryv1.Endpoint {
	words := strings.Fields(text)
	e := discoveryv1.Endpoint{Addresses: words[:1]}
	is := func(ready, serving, terminating bool) {
		e.Conditions = discoveryv1.EndpointConditions{Ready: &ready, Serving: &serving, Terminating: &terminating}
	}
	hints := func() *discoveryv1.EndpointHints {
		if e.Hints == nil {
			e.Hints = &discoveryv1.EndpointHints{}
		}
		return e.Hints
	}
	for _, word := range words[1:] {
		key, value, _ := strings.Cut(word, "=")
		switch key {
		case "ready":
			is(true, true, false)
		case "leaving":
			is(false, true, true)
		case "gone":
			is(false, false, true)
		case "unready":
			is(false, false, false)
		case "published": // though it is terminating
			is(true, false, true)
		case "zone":
			hints().ForZones = append(hints().ForZones, discoveryv1.ForZone{Name: value})
		case "node":
			hints().ForNodes = append(hints().ForNodes, discoveryv1.ForNode{Name: value})
		case "pod":
			e.TargetRef = &corev1.ObjectReference{Kind: "Pod", UID: types.UID(value)}
		default:
			e.NodeName = &key
		}
	}
	return e
}

// slice is an EndpointSlice of port 8080 and a version.
func slice(version int, endpoints ...string) *discoveryv1.EndpointSlice {
	s := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: "shop", Name: fmt.Sprint("web-", version), ResourceVersion: fmt.Sprint(version)},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Name: pointer(""), Protocol: pointer(corev1.ProtocolTCP), Port: pointer(int32(8080))}},
	}
	for _, text := range endpoints {
		s.Endpoints = append(s.Endpoints, endpoint(text))
		if strings.Contains(strings.Fields(text)[0], ":") {
			s.AddressType = discoveryv1.AddressTypeIPv6
		}
	}
	return s
}

// say says what a Service is, a line for each port and, indented, each front of it:
//
//	tcp all 10.244.1.1:8080* 10.244.2.1:8080 local 10.244.1.1:8080*
//	  10.96.0.1:80/tcp all
//	  node port 30080/tcp inside all, outside local, masquerades the node
//
// The star is for endpoints of this node. Unless a front says otherwise, it masquerades all
// but pods.
func say(s *service.Service) string {
	if s == nil {
		return "nothing\n"
	}
	var b strings.Builder
	for _, p := range s.Ports {
		b.WriteString(map[uint8]string{unix.IPPROTO_TCP: "tcp", unix.IPPROTO_UDP: "udp", unix.IPPROTO_SCTP: "sctp"}[p.Protocol])
		list(&b, " all", p.All)
		list(&b, " local", p.Local)
		if p.Affinity > 0 {
			fmt.Fprintf(&b, " affinity %s", p.Affinity)
		}
		b.WriteString("\n")
		for _, f := range p.Fronts {
			fmt.Fprintf(&b, "  %s %s", service.FrontKey{Address: f.Address, IPv6: p.IPv6, Protocol: p.Protocol, Port: f.Port}, choice(f))
			if f.Masquerade == service.OfNode {
				b.WriteString(", masquerades the node")
			}
			if f.Sources != nil {
				fmt.Fprintf(&b, ", from %v", f.Sources)
			}
			b.WriteString("\n")
		}
	}
	if s.Health.Port != 0 {
		fmt.Fprintf(&b, "health %d: %d\n", s.Health.Port, s.Health.Local)
	}
	return b.String()
}

func list(b *strings.Builder, name string, endpoints []service.Endpoint) {
	if len(endpoints) > 0 {
		b.WriteString(name)
	}
	for _, e := range endpoints {
		fmt.Fprintf(b, " %s", e.AddrPort)
		if e.Here {
			b.WriteString("*")
		}
	}
}

func choice(f service.Front) string {
	words := map[service.Choice]string{service.Refuse: "refuse", service.Drop: "drop", service.ToAll: "all", service.ToLocal: "local"}
	if f.Inside == f.Outside {
		return words[f.Inside]
	}
	return fmt.Sprintf("inside %s, outside %s", words[f.Inside], words[f.Outside])
}

// lines are the lines of a text without what comes before the first word of the first.
func lines(text string) string {
	if text == "" {
		return ""
	}
	all := strings.Split(strings.Trim(text, "\n\t "), "\n")
	for i := range all {
		all[i] = strings.TrimPrefix(strings.TrimLeft(all[i], "\t"), "\t")
	}
	return strings.Join(all, "\n") + "\n"
}
