package service

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/fairwaynet/fairway/api/problem"
)

// Reasons of the Problems that Build finds.
const (
	// ReasonAddressReserved says that a Service wants an address of the cluster itself.
	ReasonAddressReserved problem.Reason = "AddressReserved"
	// ReasonExternalIPs says that spec.externalIPs is not served.
	ReasonExternalIPs problem.Reason = "ExternalIPsNotServed"
	// ReasonEndpointUnusable says that an EndpointSlice has what is no endpoint.
	ReasonEndpointUnusable problem.Reason = "EndpointUnusable"
	// ReasonTooManyEndpoints says that some endpoints get no connections.
	ReasonTooManyEndpoints problem.Reason = "TooManyEndpoints"
	// ReasonSourceRange says that a range of loadBalancerSourceRanges cannot be read.
	ReasonSourceRange problem.Reason = "SourceRangeInvalid"
)

// Protocols by the names that Kubernetes has for them.
var protocols = map[corev1.Protocol]uint8{
	corev1.ProtocolTCP: unix.IPPROTO_TCP, corev1.ProtocolUDP: unix.IPPROTO_UDP, corev1.ProtocolSCTP: unix.IPPROTO_SCTP,
}

// Build returns what a Service is on the node, and what is wrong with it. It returns nil for
// a Service that has no addresses here: one without a cluster IP, a name of something
// outside, or another proxy's.
func Build(service *corev1.Service, slices []*discoveryv1.EndpointSlice, node Node) (*Service, []problem.Problem) {
	if service == nil || !Ours(service) {
		return nil, nil
	}
	b := &builder{
		service: service, node: node,
		name:   types.NamespacedName{Namespace: service.Namespace, Name: service.Name},
		slices: slices, clusterIPs: clusterIPs(service), taken: map[FrontKey]bool{},
	}
	built := &Service{
		Name: b.name, Created: service.CreationTimestamp.Time, Triggered: triggered(slices), Health: Health{Port: b.healthPort()},
	}
	for _, clusterIP := range b.clusterIPs {
		here := map[netip.Addr]bool{}
		for i := range service.Spec.Ports {
			if port, ok := b.port(clusterIP, &service.Spec.Ports[i], here); ok {
				built.Ports = append(built.Ports, port)
			}
		}
		if built.Health.Port != 0 {
			built.Health.Local = max(built.Health.Local, len(here))
		}
	}
	return built, problem.Sort(b.problems)
}

// triggered is when the last change began of those that EndpointSlices tell of.
func triggered(slices []*discoveryv1.EndpointSlice) time.Time {
	var last time.Time
	for _, slice := range slices {
		if at, err := time.Parse(time.RFC3339Nano, slice.Annotations[corev1.EndpointsLastChangeTriggerTime]); err == nil && at.After(last) {
			last = at
		}
	}
	return last
}

// ProxyNameLabel gives a Service to another proxy than the cluster's.
const ProxyNameLabel = "service.kubernetes.io/service-proxy-name"

// Ours says whether a Service has cluster IPs and is not another proxy's.
func Ours(service *corev1.Service) bool {
	return service.Spec.Type != corev1.ServiceTypeExternalName &&
		service.Spec.ClusterIP != "" && service.Spec.ClusterIP != corev1.ClusterIPNone &&
		service.Labels[ProxyNameLabel] == ""
}

// builder gathers what is wrong.
type builder struct {
	service    *corev1.Service
	slices     []*discoveryv1.EndpointSlice
	node       Node
	name       types.NamespacedName
	clusterIPs []netip.Addr
	taken      map[FrontKey]bool
	problems   []problem.Problem
}

func (b *builder) say(reason problem.Reason, field, format string, values ...any) {
	object := problem.Object{Kind: "Service", Name: b.name}
	b.problems = append(b.problems, problem.Problem{Object: object, Reason: reason, Field: field, Message: fmt.Sprintf(format, values...)})
}

// clusterIPs returns one or two addresses, of different families.
func clusterIPs(service *corev1.Service) []netip.Addr {
	texts := service.Spec.ClusterIPs
	if len(texts) == 0 {
		texts = []string{service.Spec.ClusterIP}
	}
	var all []netip.Addr
	for _, text := range texts {
		if a, err := parse(text); err == nil { // the API server has checked it
			all = append(all, a)
		}
	}
	return all
}

// parse reads an address. Old objects may have zeros before a number: the API server took
// them, and kube-proxy reads them as decimal. An address with a zone means something on one
// node only.
func parse(text string) (netip.Addr, error) {
	if a, err := netip.ParseAddr(text); err == nil {
		if a.Zone() != "" {
			return netip.Addr{}, fmt.Errorf("address %s has a zone", text)
		}
		return a.Unmap(), nil
	}
	parts := strings.Split(text, ".")
	for i, part := range parts {
		if trimmed := strings.TrimLeft(part, "0"); trimmed != "" {
			parts[i] = trimmed
		} else if part != "" {
			parts[i] = "0"
		}
	}
	a, err := netip.ParseAddr(strings.Join(parts, "."))
	return a.Unmap(), err
}

// port builds one port in the family of a cluster IP. It adds the addresses of this node's
// ready endpoints to here.
func (b *builder) port(clusterIP netip.Addr, port *corev1.ServicePort, here map[netip.Addr]bool) (Port, bool) {
	protocol, known := protocols[port.Protocol]
	if port.Protocol == "" {
		protocol, known = unix.IPPROTO_TCP, true
	}
	if !known || !isPort(port.Port) {
		return Port{}, false // the API server takes no such thing
	}
	p := Port{Name: port.Name, Protocol: protocol, IPv6: clusterIP.Is6(), Affinity: affinity(b.service)}
	found := b.endpoints(p.IPv6, port)
	for _, e := range found.pick(candidate.readyHere) {
		here[e.Addr()] = true
	}
	external := b.external(p.IPv6)
	reachable := len(external) > 0 || isPort(port.NodePort)
	internalLocal, externalLocal := internalLocal(b.service), externalLocal(b.service)
	p.Serving = found.serving()
	if !internalLocal || reachable {
		p.All = found.usable(b.node)
	}
	if internalLocal || externalLocal && reachable {
		p.Local = found.local()
	}
	choose := func(local bool) Choice {
		switch {
		case local && len(p.Local) > 0:
			return ToLocal
		case local && found.any():
			return Drop
		case !local && len(p.All) > 0:
			return ToAll
		default:
			return Refuse
		}
	}
	inside := choose(internalLocal)
	p.Fronts = []Front{{ClusterIP: true, Address: clusterIP, Port: uint16(port.Port), Inside: inside, Outside: inside, Masquerade: OfAllButPods}}
	front := Front{Port: uint16(port.Port), Inside: choose(false), Outside: choose(externalLocal), Masquerade: OfAllButPods}
	if externalLocal {
		front.Masquerade = OfNode
	}
	for _, at := range external {
		front.Address, front.Sources = at.address, at.sources
		p.Fronts = append(p.Fronts, front)
	}
	if isPort(port.NodePort) {
		front.Address, front.Sources, front.Port = netip.Addr{}, nil, uint16(port.NodePort)
		p.Fronts = append(p.Fronts, front)
	}
	p.Fronts = slices.DeleteFunc(p.Fronts, func(f Front) bool { return !b.take(p.key(f)) })
	p.All, p.Local = b.bound(p.All, p.Affinity > 0), b.bound(p.Local, p.Affinity > 0)
	return p, len(p.Fronts) > 0
}

// take says whether no earlier port of the Service has a front. The API server takes no
// Service with two equal ports.
func (b *builder) take(key FrontKey) bool {
	if b.taken[key] {
		return false
	}
	b.taken[key] = true
	return true
}

func isPort(n int32) bool { return n > 0 && n < 1<<16 }

// bound keeps as many endpoints as a port can have slots.
func (b *builder) bound(endpoints []Endpoint, sticky bool) []Endpoint {
	most, how := mostEndpoints, ""
	if sticky {
		most, how = mostSticky, " with session affinity"
	}
	if len(endpoints) <= most {
		return endpoints
	}
	b.say(ReasonTooManyEndpoints, "", "it has %d endpoints, of which %d get connections%s: split the Service", len(endpoints), most, how)
	return endpoints[:most]
}

// affinity is how long clients keep their endpoint.
func affinity(service *corev1.Service) time.Duration {
	if service.Spec.SessionAffinity != corev1.ServiceAffinityClientIP {
		return 0
	}
	seconds := corev1.DefaultClientIPServiceAffinitySeconds
	if c := service.Spec.SessionAffinityConfig; c != nil && c.ClientIP != nil && c.ClientIP.TimeoutSeconds != nil {
		seconds = *c.ClientIP.TimeoutSeconds
	}
	return time.Duration(seconds) * time.Second
}

func internalLocal(service *corev1.Service) bool {
	p := service.Spec.InternalTrafficPolicy
	return p != nil && *p == corev1.ServiceInternalTrafficPolicyLocal
}

func externalLocal(service *corev1.Service) bool {
	return service.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal
}

// healthPort is the port at which load balancers ask whether the node has endpoints.
func (b *builder) healthPort() uint16 {
	spec := b.service.Spec
	if spec.Type != corev1.ServiceTypeLoadBalancer || !externalLocal(b.service) || !isPort(spec.HealthCheckNodePort) {
		return 0
	}
	return uint16(spec.HealthCheckNodePort)
}

// outer is an address that clients outside of the cluster know.
type outer struct {
	address netip.Addr
	sources []netip.Prefix
}

// external returns the addresses of a family that are not the cluster's: those of load
// balancers that send packets as they are, and external IPs.
func (b *builder) external(ipv6 bool) []outer {
	var all []outer
	taken := map[netip.Addr]bool{}
	add := func(field, text string, sources []netip.Prefix) {
		a, err := parse(text)
		if err != nil || a.Is6() != ipv6 || taken[a] {
			return // the API server has checked it
		}
		holder := b.node.Reserved.holder(a)
		if holder == "" && slices.Contains(b.clusterIPs, a) {
			holder = "is the Service's own cluster IP"
		}
		if holder != "" {
			b.say(ReasonAddressReserved, field, "%s %s: it is not served, so that no Service takes what belongs to others", a, holder)
			return
		}
		taken[a] = true
		all = append(all, outer{a, sources})
	}
	ranges := b.sources(ipv6)
	for i, ingress := range b.service.Status.LoadBalancer.Ingress {
		if ingress.IP == "" || ingress.IPMode != nil && *ingress.IPMode != corev1.LoadBalancerIPModeVIP {
			continue
		}
		sources := ranges
		if a, err := parse(ingress.IP); err == nil && len(ranges) > 0 {
			// A node that has the address on an interface calls itself by it.
			sources = append(slices.Clone(ranges), netip.PrefixFrom(a, a.BitLen()))
		}
		add(fmt.Sprintf("status.loadBalancer.ingress[%d].ip", i), ingress.IP, sources)
	}
	if len(b.service.Spec.ExternalIPs) > 0 && !b.node.ExternalIPs {
		b.say(ReasonExternalIPs, "spec.externalIPs", "external IPs are not served: whoever may write a Service could take any address with them; --external-ips serves them")
		return all
	}
	for i, text := range b.service.Spec.ExternalIPs {
		add(fmt.Sprintf("spec.externalIPs[%d]", i), text, nil)
	}
	return all
}

// sources returns who may connect to the load balancer's addresses of a family; nil:
// everybody.
func (b *builder) sources(ipv6 bool) []netip.Prefix {
	texts := b.service.Spec.LoadBalancerSourceRanges
	if len(texts) == 0 {
		return nil
	}
	all := []netip.Prefix{} // ranges of the other family alone: nobody
	for i, text := range texts {
		prefix, err := netip.ParsePrefix(strings.TrimSpace(text)) // the API server takes spaces
		if err != nil {
			b.say(ReasonSourceRange, fmt.Sprintf("spec.loadBalancerSourceRanges[%d]", i), "%q is no network such as 192.0.2.0/24: nobody is let in by it", text)
			continue
		}
		if prefix.Bits() == 0 && prefix.Addr().Is6() == ipv6 {
			return nil
		}
		if prefix.Addr().Is6() == ipv6 {
			all = append(all, prefix.Masked())
		}
	}
	return all
}
