package connection_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	policyv1 "sigs.k8s.io/network-policy-api/apis/v1beta1"

	"github.com/fairwaynet/fairway/controllers/inspect/connection"
	"github.com/fairwaynet/fairway/proxy/policy"
)

// random makes clusters of few words, so that policies concern many pods.
type random struct{ *rand.Rand }

func (r random) one(percent int) bool { return r.IntN(100) < percent }

func pick[T any](r random, all ...T) T { return all[r.IntN(len(all))] }

func some[T any](r random, most int, one func() T) (all []T) {
	for range r.IntN(most + 1) {
		all = append(all, one())
	}
	return all
}

func spaces() []string { return []string{"shop", "pay"} }

func (r random) labels(keys ...string) map[string]string {
	all := map[string]string{}
	for _, key := range keys {
		if r.one(75) {
			all[key] = pick(r, "a", "b")
		}
	}
	return all
}

func address(number int, ipv6 bool) netip.Addr {
	if ipv6 {
		return netip.MustParseAddr(fmt.Sprintf("fd00:244::%d", number+1))
	}
	return netip.MustParseAddr(fmt.Sprintf("10.244.0.%d", number+1))
}

func (r random) pod(number int) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
		Namespace: pick(r, spaces()...), Name: fmt.Sprint("p", number), UID: types.UID(fmt.Sprint("uid-", number)), Labels: r.labels("app", "tier"),
	}}
	p.Spec.NodeName = pick(r, "n1", "n2")
	p.Status.PodIPs = []corev1.PodIP{{IP: address(number, false).String()}, {IP: address(number, true).String()}}
	p.Spec.Containers = []corev1.Container{{Ports: []corev1.ContainerPort{
		{Name: "web", ContainerPort: pick[int32](r, 8080, 8081), Protocol: pick(r, corev1.ProtocolTCP, corev1.ProtocolUDP, "")},
	}}}
	return p
}

func (r random) selector(keys ...string) *metav1.LabelSelector {
	s := &metav1.LabelSelector{}
	for _, key := range keys {
		switch r.IntN(4) {
		case 0:
			s.MatchLabels = map[string]string{key: pick(r, "a", "b")}
		case 1:
			s.MatchExpressions = append(s.MatchExpressions, metav1.LabelSelectorRequirement{Key: key, Operator: metav1.LabelSelectorOpNotIn, Values: []string{pick(r, "a", "b")}})
		}
	}
	return s
}

func (r random) peer() networkingv1.NetworkPolicyPeer {
	switch r.IntN(3) {
	case 0:
		return networkingv1.NetworkPolicyPeer{PodSelector: r.selector("app", "tier")}
	case 1:
		return networkingv1.NetworkPolicyPeer{NamespaceSelector: r.selector("team"), PodSelector: pick(r, nil, r.selector("app"))}
	default:
		// Addresses of Services are among them, and mean nothing there.
		cidr := pick(r, "0.0.0.0/0", "10.244.0.0/30", "10.96.0.0/16", "198.51.100.0/24", "::/0", "fd00:244::/126", "fd00:96::/64")
		return networkingv1.NetworkPolicyPeer{IPBlock: &networkingv1.IPBlock{CIDR: cidr}}
	}
}

func (r random) port() networkingv1.NetworkPolicyPort {
	protocol := pick(r, corev1.ProtocolTCP, corev1.ProtocolUDP)
	p := networkingv1.NetworkPolicyPort{Protocol: &protocol}
	switch r.IntN(4) {
	case 0:
	case 1:
		name := intstr.FromString(pick(r, "web", "none"))
		p.Port = &name
	default:
		number := intstr.FromInt32(pick[int32](r, 80, 8080, 8081)) // that of Services, too, which means nothing
		p.Port = &number
	}
	return p
}

func (r random) policy(number int) *networkingv1.NetworkPolicy {
	p := &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: pick(r, spaces()...), Name: fmt.Sprint("np", number)}}
	p.Spec.PodSelector = *r.selector("app")
	p.Spec.PolicyTypes = pick(r, nil, []networkingv1.PolicyType{"Ingress"}, []networkingv1.PolicyType{"Egress"}, []networkingv1.PolicyType{"Ingress", "Egress"})
	p.Spec.Ingress = some(r, 2, func() networkingv1.NetworkPolicyIngressRule {
		return networkingv1.NetworkPolicyIngressRule{From: some(r, 2, r.peer), Ports: some(r, 2, r.port)}
	})
	p.Spec.Egress = some(r, 2, func() networkingv1.NetworkPolicyEgressRule {
		return networkingv1.NetworkPolicyEgressRule{To: some(r, 2, r.peer), Ports: some(r, 2, r.port)}
	})
	return p
}

// cluster is a policy of the cluster.
func (r random) cluster(number int) *policyv1.ClusterNetworkPolicy {
	p := &policyv1.ClusterNetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("cnp", number)}}
	p.Spec.Tier, p.Spec.Priority = pick(r, policyv1.AdminTier, policyv1.BaselineTier), pick[int32](r, 1, 2)
	pods := func() (*metav1.LabelSelector, *policyv1.NamespacedPod) {
		if r.one(50) {
			return r.selector("team"), nil
		}
		return nil, &policyv1.NamespacedPod{NamespaceSelector: *r.selector("team"), PodSelector: *r.selector("app", "tier")}
	}
	p.Spec.Subject.Namespaces, p.Spec.Subject.Pods = pods()
	action := func() policyv1.ClusterNetworkPolicyRuleAction {
		return pick(r, policyv1.ClusterNetworkPolicyRuleActionAccept, policyv1.ClusterNetworkPolicyRuleActionDeny, policyv1.ClusterNetworkPolicyRuleActionPass)
	}
	protocol := func() policyv1.ClusterNetworkPolicyProtocol {
		port := pick(r, nil, &policyv1.Port{Number: pick[int32](r, 80, 8080, 8081)}, &policyv1.Port{Range: &policyv1.PortRange{Start: 8080, End: 8081}})
		return pick(r, policyv1.ClusterNetworkPolicyProtocol{DestinationNamedPort: pick(r, "web", "none")},
			policyv1.ClusterNetworkPolicyProtocol{TCP: &policyv1.ClusterNetworkPolicyProtocolTCP{DestinationPort: port}},
			policyv1.ClusterNetworkPolicyProtocol{UDP: &policyv1.ClusterNetworkPolicyProtocolUDP{DestinationPort: port}})
	}
	p.Spec.Ingress = some(r, 2, func() policyv1.ClusterNetworkPolicyIngressRule {
		var from policyv1.ClusterNetworkPolicyIngressPeer
		from.Namespaces, from.Pods = pods()
		return policyv1.ClusterNetworkPolicyIngressRule{Action: action(), From: []policyv1.ClusterNetworkPolicyIngressPeer{from}, Protocols: some(r, 2, protocol)}
	})
	p.Spec.Egress = some(r, 2, func() policyv1.ClusterNetworkPolicyEgressRule {
		var to policyv1.ClusterNetworkPolicyEgressPeer
		if r.one(40) {
			to.Networks = []policyv1.CIDR{pick[policyv1.CIDR](r, "0.0.0.0/0", "10.244.0.0/30", "10.96.0.0/16", "198.51.100.0/24"), pick[policyv1.CIDR](r, "::/0", "fd00:244::/126")}
		} else {
			to.Namespaces, to.Pods = pods()
		}
		return policyv1.ClusterNetworkPolicyEgressRule{Action: action(), To: []policyv1.ClusterNetworkPolicyEgressPeer{to}, Protocols: some(r, 2, protocol)}
	})
	return p
}

// service leads port 80 to some pods, each family by a slice of its own.
func (r random) service(pods []*corev1.Pod) (*corev1.Service, []*discoveryv1.EndpointSlice, []int) {
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: pick(r, spaces()...), Name: "front"}}
	s.Spec.ClusterIP, s.Spec.ClusterIPs = "10.96.0.1", []string{"10.96.0.1", "fd00:96::1"}
	protocol, port, name := pick(r, corev1.ProtocolTCP, corev1.ProtocolUDP), pick[int32](r, 8080, 8081), "p"
	s.Spec.Ports = []corev1.ServicePort{{Name: name, Port: 80, Protocol: protocol}}
	four := &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Namespace: s.Namespace, Labels: map[string]string{discoveryv1.LabelServiceName: s.Name}}}
	four.AddressType, four.Ports = discoveryv1.AddressTypeIPv4, []discoveryv1.EndpointPort{{Name: &name, Protocol: &protocol, Port: &port}}
	six := four.DeepCopy()
	six.AddressType = discoveryv1.AddressTypeIPv6
	var behind []int
	for i := range pods {
		if r.one(40) {
			behind = append(behind, i)
			four.Endpoints = append(four.Endpoints, discoveryv1.Endpoint{Addresses: []string{address(i, false).String()}})
			six.Endpoints = append(six.Endpoints, discoveryv1.Endpoint{Addresses: []string{address(i, true).String()}})
		}
	}
	return s, []*discoveryv1.EndpointSlice{four, six}, behind
}

// What is explained of each pair is what the API's words say, in each direction: to pods, to addresses, and
// behind Services.
func TestExplanationsSayWhatTheAPISays(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := random{rand.New(rand.NewPCG(seed, 1))}
	seen := map[connection.End]int{}
	decided := map[string]int{} // by an action of a policy of the cluster
	for range 150 {
		var w policy.World
		for _, name := range spaces() {
			w.Namespaces = append(w.Namespaces, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: r.labels("team")}})
		}
		for i := range 6 {
			w.Pods = append(w.Pods, r.pod(i))
		}
		for i := range r.IntN(6) {
			w.Policies = append(w.Policies, r.policy(i))
		}
		for i := range r.IntN(4) {
			w.Cluster = append(w.Cluster, r.cluster(i))
		}
		service, slices, behind := r.service(w.Pods)
		o := connection.Objects{Pods: w.Pods, Namespaces: w.Namespaces, Policies: w.Policies, Cluster: w.Cluster, Services: []*corev1.Service{service}, Slices: slices}
		outside := netip.MustParseAddr("198.51.100.7")
		for i, from := range w.Pods {
			ask := func(text string, ends map[netip.AddrPort]policy.End, protocol corev1.Protocol) {
				to, err := connection.ParseTarget(text)
				if err != nil {
					t.Fatal(err)
				}
				x, err := connection.Explain(o, connection.Question{From: types.NamespacedName{Namespace: from.Namespace, Name: from.Name}, To: to})
				if err != nil {
					t.Fatal(err)
				}
				seen[x.End]++
				compare(t, w, x, i, ends, protocol)
				count(decided, x)
			}
			for _, protocol := range []corev1.Protocol{"tcp", "udp"} {
				upper := map[corev1.Protocol]corev1.Protocol{"tcp": corev1.ProtocolTCP, "udp": corev1.ProtocolUDP}[protocol]
				for k, to := range w.Pods {
					ends := map[netip.AddrPort]policy.End{}
					for _, ipv6 := range []bool{false, true} {
						ends[netip.AddrPortFrom(address(k, ipv6), 8080)] = policy.End{Pod: to, Address: address(k, ipv6)}
					}
					ask(fmt.Sprintf("%s/%s:8080/%s", to.Namespace, to.Name, protocol), ends, upper)
				}
				ask(fmt.Sprintf("%s:8081/%s", outside, protocol), map[netip.AddrPort]policy.End{netip.AddrPortFrom(outside, 8081): {Address: outside}}, upper)
			}
			all, four := map[netip.AddrPort]policy.End{}, map[netip.AddrPort]policy.End{}
			for _, k := range behind {
				for _, ipv6 := range []bool{false, true} {
					at := netip.AddrPortFrom(address(k, ipv6), uint16(*slices[0].Ports[0].Port)) //nolint:gosec // few
					all[at] = policy.End{Pod: w.Pods[k], Address: address(k, ipv6)}
					if !ipv6 {
						four[at] = all[at]
					}
				}
			}
			protocol := service.Spec.Ports[0].Protocol
			ask(fmt.Sprintf("front.%s.svc.cluster.local:80/%s", service.Namespace, protocol), all, protocol)
			ask(fmt.Sprintf("10.96.0.1:80/%s", protocol), four, protocol)
		}
	}
	for _, end := range []connection.End{connection.Allowed, connection.Denied, connection.Partly, connection.NoEndpoint} {
		if seen[end] < 10 {
			t.Errorf("%d ended as %s: the clusters are dull (%v)", seen[end], end, seen)
		}
	}
	for _, action := range []string{"Accept", "Deny", "Pass"} {
		if decided[action] < 10 {
			t.Errorf("%d rules say %s: the policies of the clusters are dull (%v)", decided[action], action, decided)
		}
	}
}

// count counts by action the rules of policies of the cluster that match.
func count(all map[string]int, x *connection.Explanation) {
	for _, e := range x.Endpoints {
		for _, rule := range slices.Concat(e.Egress.Cluster, e.Ingress.Cluster) {
			all[rule.Action]++
		}
	}
}

// compareReasons compares what a verdict says with its reasons: the last rule of a policy of the cluster decides,
// unless it passes on.
func compareReasons(t *testing.T, v connection.Verdict) {
	t.Helper()
	allowed, by := len(v.Policies) == 0, v.By
	if n := len(v.Cluster); n > 0 {
		switch last := v.Cluster[n-1]; last.Action {
		case "Deny":
			allowed = false
		case "Accept":
			by = last.Policy
		}
		if slices.ContainsFunc(v.Cluster[:n-1], func(r connection.ClusterRule) bool { return r.Action != "Pass" }) {
			t.Fatalf("a rule that decides is not the last: %+v", v)
		}
	}
	if v.Allowed != allowed || v.By != by || !v.Allowed && v.By != "" || !slices.IsSorted(v.Policies) {
		t.Fatalf("%+v", v)
	}
}

// compare compares an explanation of what pod number from connects to with the words of the API.
func compare(t *testing.T, w policy.World, x *connection.Explanation, from int, ends map[netip.AddrPort]policy.End, protocol corev1.Protocol) {
	t.Helper()
	if len(x.Endpoints) != len(ends) {
		t.Fatalf("%s leads to %v, want %v", x.To, x.Endpoints, ends)
	}
	allowed := 0
	for _, e := range x.Endpoints {
		to, known := ends[e.Address]
		if !known {
			t.Fatalf("%s leads to %s, want %v", x.To, e.Address, ends)
		}
		own := policy.End{Pod: w.Pods[from], Address: address(from, e.Address.Addr().Is6())}
		at := policy.Target{Protocol: protocol, Port: int32(e.Address.Port())}
		egress, ingress := w.AllowsIn(policy.Egress, own, to, at), w.AllowsIn(policy.Ingress, own, to, at)
		if e.Egress.Allowed != egress || e.Ingress.Allowed != ingress || e.Allowed != w.Allows(own, to, at) {
			t.Fatalf("%s/%s to %s: got %+v, want egress %t and ingress %t\n%v\n%v", x.From.Namespace, x.From.Name, x.To, e, egress, ingress, w.Policies, w.Cluster)
		}
		if e.Allowed {
			allowed++
		}
		for _, v := range []connection.Verdict{e.Egress, e.Ingress} {
			compareReasons(t, v)
		}
	}
	want := connection.Partly
	switch allowed {
	case 0:
		want = connection.Denied
	case len(ends):
		want = connection.Allowed
	}
	if len(ends) == 0 {
		want = connection.NoEndpoint
	}
	if x.End != want {
		t.Fatalf("%s ends as %s, want %s", x.To, x.End, want)
	}
}
