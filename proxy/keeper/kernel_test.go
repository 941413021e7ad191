package keeper_test

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"sort"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/fairwaynet/fairway/proxy/nft"
	"github.com/fairwaynet/fairway/proxy/service"
	"github.com/fairwaynet/fairway/test/netns"
)

// own is the node of the tests.
var own = service.Node{Name: "n1", Zone: "a", ExternalIPs: true}

// random makes Services that differ in all that counts.
type random struct{ *rand.Rand }

func (r random) one(percent int) bool { return r.IntN(100) < percent }

func pointer[T any](v T) *T { return &v }

// service makes the Service of a number, which no other has in its addresses.
func (r random) service(number int) (*corev1.Service, []*discoveryv1.EndpointSlice) {
	name := fmt.Sprintf("s%d", number)
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name}}
	four, six := fmt.Sprintf("10.96.0.%d", number+1), fmt.Sprintf("fd00:96::%x", number+1)
	s.Spec.ClusterIPs = [][]string{{four}, {six}, {four, six}}[r.IntN(3)]
	s.Spec.ClusterIP = s.Spec.ClusterIPs[0]
	s.Spec.Type = []corev1.ServiceType{corev1.ServiceTypeClusterIP, corev1.ServiceTypeNodePort, corev1.ServiceTypeLoadBalancer}[r.IntN(3)]
	for i := range 1 + r.IntN(2) {
		port := corev1.ServicePort{
			Name: fmt.Sprintf("p%d", i), Port: int32(80 + i), Protocol: []corev1.Protocol{corev1.ProtocolTCP, corev1.ProtocolUDP}[r.IntN(2)],
		}
		if s.Spec.Type != corev1.ServiceTypeClusterIP && r.one(80) {
			port.NodePort = int32(30000 + 10*number + i)
		}
		s.Spec.Ports = append(s.Spec.Ports, port)
	}
	if r.one(30) {
		s.Spec.InternalTrafficPolicy = pointer(corev1.ServiceInternalTrafficPolicyLocal)
	}
	if s.Spec.Type != corev1.ServiceTypeClusterIP && r.one(50) {
		s.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal
	}
	if s.Spec.Type == corev1.ServiceTypeLoadBalancer {
		for _, ip := range []string{fmt.Sprintf("203.0.113.%d", number+1), fmt.Sprintf("2001:db8:f::%x", number+1)} {
			ingress := corev1.LoadBalancerIngress{IP: ip}
			if r.one(20) {
				ingress.IPMode = pointer(corev1.LoadBalancerIPModeProxy)
			}
			s.Status.LoadBalancer.Ingress = append(s.Status.LoadBalancer.Ingress, ingress)
		}
		if r.one(40) {
			s.Spec.LoadBalancerSourceRanges = [][]string{
				{"198.51.100.0/24", "2001:db8:1::/64"}, {"8.8.8.0/24", "2001:4860::/32"}, {" 10.244.0.0/16", "fd00:244::/32"},
			}[r.IntN(3)]
		}
	}
	if r.one(20) {
		s.Spec.ExternalIPs = []string{fmt.Sprintf("192.168.7.%d", number+1), fmt.Sprintf("2001:db8:e::%x", number+1)}
	}
	if r.one(30) {
		s.Spec.SessionAffinity = corev1.ServiceAffinityClientIP
	}
	return s, r.slices(s)
}

// slices makes the endpoints of a Service: pods of this node and of the other.
func (r random) slices(s *corev1.Service) []*discoveryv1.EndpointSlice {
	hinted := r.one(30)
	var all []*discoveryv1.EndpointSlice
	for _, ipv6 := range []bool{false, true} {
		slice := &discoveryv1.EndpointSlice{
			ObjectMeta:  metav1.ObjectMeta{Namespace: s.Namespace, Name: fmt.Sprintf("%s-%t", s.Name, ipv6)},
			AddressType: map[bool]discoveryv1.AddressType{false: discoveryv1.AddressTypeIPv4, true: discoveryv1.AddressTypeIPv6}[ipv6],
		}
		for i := range s.Spec.Ports {
			slice.Ports = append(slice.Ports, discoveryv1.EndpointPort{
				Name: &s.Spec.Ports[i].Name, Protocol: &s.Spec.Ports[i].Protocol, Port: pointer(int32(endpointPorts[i])),
			})
		}
		for i := range podsOfNode + podsOfPeer {
			if r.one(40) {
				continue
			}
			node := "n1"
			if i >= podsOfNode {
				node = "n2"
			}
			e := discoveryv1.Endpoint{Addresses: []string{pod(i, ipv6)}, NodeName: &node}
			ready := r.one(60)
			e.Conditions = discoveryv1.EndpointConditions{Ready: &ready, Serving: pointer(ready || r.one(50)), Terminating: pointer(!ready && r.one(60))}
			if hinted {
				e.Hints = &discoveryv1.EndpointHints{ForZones: []discoveryv1.ForZone{{Name: []string{"a", "b"}[r.IntN(2)]}}}
			}
			slice.Endpoints = append(slice.Endpoints, e)
		}
		all = append(all, slice)
	}
	return all
}

// expected is what may be heard at a front: from one of the endpoints, or silence. The
// sources are those that an endpoint may see.
type expected struct {
	endpoints []string
	silence   string
	of        *corev1.Service
	own       bool // the source is the client's own address; otherwise it is one of the node
}

// caller is somebody who connects.
type caller struct {
	name      string
	from      *netns.Namespace
	addresses map[bool]string
	inside    bool
}

// oracle says what the documentation of Kubernetes says, without any table.
func oracle(s *corev1.Service, slices []*discoveryv1.EndpointSlice, port int, c caller, front string, ipv6 bool) expected {
	clusterIP := front == "cluster"
	local := s.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal && !c.inside
	if clusterIP {
		local = s.Spec.InternalTrafficPolicy != nil && *s.Spec.InternalTrafficPolicy == corev1.ServiceInternalTrafficPolicyLocal
	}
	if front == "balancer" && len(s.Spec.LoadBalancerSourceRanges) > 0 && !admitted(s.Spec.LoadBalancerSourceRanges, c.addresses[ipv6]) {
		return expected{silence: dropped}
	}
	slice := slices[0]
	if ipv6 {
		slice = slices[1]
	}
	leaving := func(e discoveryv1.Endpoint) bool { return *e.Conditions.Serving && *e.Conditions.Terminating }
	ready := func(e discoveryv1.Endpoint) bool { return *e.Conditions.Ready }
	here := func(e discoveryv1.Endpoint) bool { return *e.NodeName == "n1" }
	pick := func(conditions ...func(discoveryv1.Endpoint) bool) (all []string) {
	next:
		for _, e := range slice.Endpoints {
			for _, condition := range conditions {
				if !condition(e) {
					continue next
				}
			}
			all = append(all, net.JoinHostPort(e.Addresses[0], fmt.Sprint(endpointPorts[port])))
		}
		return all
	}
	var list []string
	if local {
		if list = pick(here, ready); list == nil {
			list = pick(here, leaving)
		}
	} else {
		near := func(e discoveryv1.Endpoint) bool { return e.Hints == nil || e.Hints.ForZones[0].Name == "a" }
		if list = pick(ready, near); list == nil {
			if list = pick(ready); list == nil {
				list = pick(leaving)
			}
		}
	}
	if list == nil && local && (pick(ready) != nil || pick(leaving) != nil) {
		return expected{silence: dropped}
	}
	if list == nil {
		return expected{silence: refused}
	}
	own := strings.HasPrefix(c.addresses[ipv6], "10.244.1.") || strings.HasPrefix(c.addresses[ipv6], "fd00:244:1:") ||
		c.name != "node" && !c.inside && !clusterIP && s.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal
	return expected{endpoints: list, own: own}
}

func admitted(ranges []string, source string) bool {
	return slices.ContainsFunc(ranges, func(text string) bool {
		return netip.MustParsePrefix(strings.TrimSpace(text)).Contains(netip.MustParseAddr(source))
	})
}

// fronts are where a port of a Service is reached in a family, by kind.
func fronts(s *corev1.Service, port corev1.ServicePort, ipv6 bool) map[string]string {
	all := map[string]string{}
	add := func(kind, address string, number int32) {
		if strings.Contains(address, ":") == ipv6 {
			all[kind] = net.JoinHostPort(address, fmt.Sprint(number))
		}
	}
	served := false
	for _, address := range s.Spec.ClusterIPs {
		served = served || strings.Contains(address, ":") == ipv6
		add("cluster", address, port.Port)
	}
	if !served {
		return nil
	}
	if port.NodePort != 0 {
		add("node", nodeAddress[ipv6], port.NodePort)
	}
	for _, ingress := range s.Status.LoadBalancer.Ingress {
		if ingress.IPMode == nil {
			add("balancer", ingress.IP, port.Port)
		}
	}
	for _, address := range s.Spec.ExternalIPs {
		add("external", address, port.Port)
	}
	return all
}

func (w *world) callers() []caller {
	all := []caller{
		{"node", nil, nodeAddress, true},
		{"client", w.client, clientAddress, false},
		{"pod of the other node", w.peer, map[bool]string{false: pod(podsOfNode, false), true: pod(podsOfNode, true)}, false},
	}
	for i, n := range w.pods {
		all = append(all, caller{fmt.Sprintf("pod %d", i), n, map[bool]string{false: pod(i, false), true: pod(i, true)}, true})
	}
	return all
}

// Whatever Services there are, and whatever there was before, the kernel does with each
// caller's connection what the documentation of Kubernetes says.
func TestTheKernelDoesWhatKubernetesSays(t *testing.T) {
	w := newWorld(t)
	w.begin(t, nft.Options{})
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := random{rand.New(rand.NewPCG(seed, 1))}
	const kinds, rounds = 10, 3
	asked := map[string]int{}
	for round := range rounds {
		type both struct {
			object *corev1.Service
			slices []*discoveryv1.EndpointSlice
		}
		all := map[int]both{}
		for number := range kinds {
			if round > 0 && r.one(25) { // it is gone for a while
				w.keeper.Publish(types.NamespacedName{Namespace: "shop", Name: fmt.Sprintf("s%d", number)}, nil)
				continue
			}
			object, slices := r.service(number)
			all[number] = both{object, slices}
			built, problems := service.Build(object, slices, own)
			if len(problems) > 0 {
				t.Fatalf("%v", problems)
			}
			w.keeper.Publish(built.Name, built)
		}
		for written := 0; written < kinds; {
			written += len(w.done(t).Services)
		}
		for number := range kinds {
			b, exists := all[number]
			if !exists {
				b.object, b.slices = r.service(number) // what it could have been is not there
			}
			for i, port := range b.object.Spec.Ports {
				for _, ipv6 := range []bool{false, true} {
					for kind, to := range fronts(b.object, port, ipv6) {
						for _, c := range w.callers() {
							if !exists {
								w.expectNothing(t, c, kind, port.Protocol, to)
								continue
							}
							want := oracle(b.object, b.slices, i, c, kind, ipv6)
							want.of = b.object
							w.expect(t, want, c, kind, to, port.Protocol)
							asked[kind+" "+want.silence]++
						}
					}
				}
			}
		}
	}
	var counts []string
	for what, n := range asked {
		counts = append(counts, fmt.Sprintf("%s %d", what, n))
	}
	sort.Strings(counts)
	t.Log(strings.Join(counts, ", "))
}

func (w *world) expect(t *testing.T, want expected, c caller, kind, to string, protocol corev1.Protocol) {
	t.Helper()
	s, ipv6 := want.of, strings.HasPrefix(to, "[")
	wait := patience
	if want.silence == dropped {
		wait = silence
	}
	got := ask(t, c.from, strings.ToLower(string(protocol)), to, wait)
	where := fmt.Sprintf("%s from %s to %s %s/%s", s.Name, c.name, kind, to, protocol)
	if got.silence != want.silence {
		t.Errorf("%s: got %+v, want %+v\n%+v\n%+v", where, got, want, s.Spec, s.Status.LoadBalancer)
		return
	}
	if want.silence != "" {
		return
	}
	if !slices.Contains(want.endpoints, got.endpoint) {
		t.Errorf("%s: %s answers, want one of %v", where, got.endpoint, want.endpoints)
	}
	endpoint := netip.MustParseAddrPort(got.endpoint).Addr().String()
	nodes := []string{
		"198.51.100.1", "192.0.2.1", "169.254.1.1", "2001:db8:1::1", "2001:db8:2::1", "fd00:1::1",
	}
	if own := c.addresses[ipv6]; want.own && endpoint != own {
		nodes = []string{own}
	}
	if !slices.Contains(nodes, got.source) {
		t.Errorf("%s: %s sees %s, want one of %v", where, got.endpoint, got.source, nodes)
	}
	if s.Spec.SessionAffinity == corev1.ServiceAffinityClientIP {
		if again := ask(t, c.from, strings.ToLower(string(protocol)), to, patience); again.endpoint != got.endpoint {
			t.Errorf("%s: first %s answers, then %s", where, got.endpoint, again.endpoint)
		}
	}
}

// expectNothing asks at a front that no Service has.
func (w *world) expectNothing(t *testing.T, c caller, kind string, protocol corev1.Protocol, to string) {
	t.Helper()
	wait := patience
	if kind != "node" {
		wait = silence
	}
	got := ask(t, c.from, strings.ToLower(string(protocol)), to, wait)
	switch {
	case kind == "cluster" && got.silence != dropped:
		t.Errorf("nobody has %s, but %s hears %+v", to, c.name, got)
	case kind == "node" && got.silence != refused:
		t.Errorf("nobody has node port %s, but %s hears %+v", to, c.name, got)
	case got.endpoint != "":
		t.Errorf("nobody has %s, but %s hears %+v", to, c.name, got)
	}
}
