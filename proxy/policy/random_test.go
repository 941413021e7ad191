package policy_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	policyv1 "sigs.k8s.io/network-policy-api/apis/v1beta1"

	"github.com/fairwaynet/fairway/proxy/nft"
	"github.com/fairwaynet/fairway/proxy/policy"
)

// random makes clusters of few words, so that policies concern many pods.
type random struct{ *rand.Rand }

func newRandom(t *testing.T) random {
	t.Helper()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	return random{rand.New(rand.NewPCG(seed, 1))}
}

func (r random) one(percent int) bool { return r.IntN(100) < percent }

func pick[T any](r random, all ...T) T { return all[r.IntN(len(all))] }

func spaces() []string { return []string{"shop", "pay", "ops"} }

func (r random) labels(keys ...string) map[string]string {
	all := map[string]string{}
	for _, key := range keys {
		if r.one(75) {
			all[key] = pick(r, "a", "b")
		}
	}
	return all
}

func (r random) namespace(name string) *corev1.Namespace {
	has := r.labels("team", "stage")
	has[corev1.LabelMetadataName] = name
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: has}}
}

// ports are those that random pods serve and policies speak of.
var ports = []int32{8080, 8081, 9090}

// pod is a random pod that has addresses by its number.
func (r random) pod(number int, node string) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
		Namespace: pick(r, spaces()...), Name: fmt.Sprint("p", number), Labels: r.labels("app", "tier"),
	}}
	p.UID = types.UID(fmt.Sprintf("uid-%d-%x", number, r.Uint64())) // no two pods ever have the same
	p.Spec.NodeName = node
	p.Status.PodIPs = []corev1.PodIP{{IP: address(number, false)}, {IP: address(number, true)}}
	p.Status.Phase = corev1.PodRunning
	container := func() corev1.Container {
		var c corev1.Container
		for _, name := range []string{"web", "dns"} {
			if r.one(60) {
				c.Ports = append(c.Ports, corev1.ContainerPort{Name: name, ContainerPort: pick(r, ports...), Protocol: pick(r, corev1.ProtocolTCP, corev1.ProtocolUDP)})
			}
		}
		return c
	}
	p.Spec.Containers = []corev1.Container{container(), container()}
	sidecar, plain := container(), container()
	always := corev1.ContainerRestartPolicyAlways
	sidecar.RestartPolicy = &always
	p.Spec.InitContainers = []corev1.Container{plain, sidecar}
	return p
}

func address(number int, ipv6 bool) string {
	if ipv6 {
		return fmt.Sprintf("fd00:244::%d", number+1)
	}
	return fmt.Sprintf("10.244.0.%d", number+1)
}

func (r random) selector(keys ...string) *metav1.LabelSelector {
	s := &metav1.LabelSelector{}
	for _, key := range keys {
		switch r.IntN(5) {
		case 0:
			s.MatchLabels = map[string]string{key: pick(r, "a", "b")}
		case 1:
			s.MatchExpressions = append(s.MatchExpressions, metav1.LabelSelectorRequirement{Key: key, Operator: metav1.LabelSelectorOpNotIn, Values: []string{pick(r, "a", "b")}})
		case 2:
			s.MatchExpressions = append(s.MatchExpressions, metav1.LabelSelectorRequirement{Key: key, Operator: metav1.LabelSelectorOpExists})
		}
	}
	return s
}

func (r random) peer() networkingv1.NetworkPolicyPeer {
	switch r.IntN(4) {
	case 0:
		return networkingv1.NetworkPolicyPeer{PodSelector: r.selector("app", "tier")}
	case 1:
		return networkingv1.NetworkPolicyPeer{NamespaceSelector: r.selector("team", "stage")}
	case 2:
		return networkingv1.NetworkPolicyPeer{NamespaceSelector: r.selector("team"), PodSelector: r.selector("app")}
	default:
		four := networkingv1.IPBlock{CIDR: pick(r, "0.0.0.0/0", "10.244.0.0/29", "10.244.0.0/16", "198.51.100.0/24", "10.244.0.3/32", "10.244.0.4/31")}
		if r.one(50) {
			four.Except = []string{"10.244.0.2/32", "10.244.0.4/31"}[:1+r.IntN(2)]
		}
		six := networkingv1.IPBlock{CIDR: pick(r, "::/0", "fd00:244::/125", "2001:db8:1::/64", "fd00:244::3/128")}
		if six.CIDR == "::/0" && r.one(50) {
			six.Except = []string{"fd00:244::/126", "fd00:244::5/128"}
		}
		return networkingv1.NetworkPolicyPeer{IPBlock: pick(r, &four, &six)}
	}
}

func (r random) port() networkingv1.NetworkPolicyPort {
	protocol := pick(r, corev1.ProtocolTCP, corev1.ProtocolUDP)
	p := networkingv1.NetworkPolicyPort{Protocol: &protocol}
	switch r.IntN(5) {
	case 0:
		return p
	case 1:
		name := intstr.FromString(pick(r, "web", "dns", "none"))
		p.Port = &name
	case 2:
		first, last := intstr.FromInt32(8080), int32(8081)
		p.Port, p.EndPort = &first, &last
	default:
		number := intstr.FromInt32(pick(r, ports...))
		p.Port = &number
	}
	return p
}

func some[T any](r random, most int, one func() T) (all []T) {
	for range r.IntN(most + 1) {
		all = append(all, one())
	}
	return all
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

// told is a Book and what it renders, by key.
type told struct {
	*policy.Book

	parts map[nft.Key]map[nft.Family]nft.Part
}

func newTold(node string) *told {
	return &told{policy.NewBook(node), map[nft.Key]map[nft.Family]nft.Part{}}
}

func (b *told) take() policy.Changes {
	c := b.Take()
	maps.Copy(b.parts, c.Parts)
	return c
}

func (b *told) setPod(p *corev1.Pod) {
	b.SetPod(types.NamespacedName{Namespace: p.Namespace, Name: p.Name}, policy.PodOf(p))
}

func (b *told) setPolicy(t *testing.T, np *networkingv1.NetworkPolicy) {
	t.Helper()
	parsed, problems := policy.Parse(np)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	b.SetPolicy(parsed.Name, parsed)
}

func (b *told) setNamespace(n *corev1.Namespace) { b.SetNamespace(n.Name, labels.Set(n.Labels)) }

// tell tells all objects in some order.
func (b *told) tell(t *testing.T, r random, w policy.World) {
	t.Helper()
	var all []func()
	for _, n := range w.Namespaces {
		all = append(all, func() { b.setNamespace(n) })
	}
	for _, p := range w.Pods {
		all = append(all, func() { b.setPod(p) })
	}
	for _, p := range w.Policies {
		all = append(all, func() { b.setPolicy(t, p) })
	}
	for _, p := range w.Cluster {
		parsed, problems := policy.ParseCluster(p)
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		all = append(all, func() { b.SetCluster(p.Name, parsed) })
	}
	r.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	for _, say := range all {
		say()
	}
}

func (r random) cluster(number int) *policyv1.ClusterNetworkPolicy {
	p := &policyv1.ClusterNetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("cnp", number)}}
	p.Spec.Tier, p.Spec.Priority = pick(r, policyv1.AdminTier, policyv1.BaselineTier), int32(r.IntN(4)) //nolint:gosec // few
	pods := func() (*metav1.LabelSelector, *policyv1.NamespacedPod) {
		if r.one(50) {
			return r.selector("team", "stage"), nil
		}
		return nil, &policyv1.NamespacedPod{NamespaceSelector: *r.selector("team"), PodSelector: *r.selector("app", "tier")}
	}
	p.Spec.Subject.Namespaces, p.Spec.Subject.Pods = pods()
	action := func() policyv1.ClusterNetworkPolicyRuleAction {
		return pick(r, policyv1.ClusterNetworkPolicyRuleActionAccept, policyv1.ClusterNetworkPolicyRuleActionDeny, policyv1.ClusterNetworkPolicyRuleActionPass)
	}
	protocol := func() policyv1.ClusterNetworkPolicyProtocol {
		port := pick(r, nil, &policyv1.Port{Number: pick(r, ports...)}, &policyv1.Port{Range: &policyv1.PortRange{Start: 8080, End: 8081}})
		return pick(r, policyv1.ClusterNetworkPolicyProtocol{DestinationNamedPort: pick(r, "web", "dns")},
			policyv1.ClusterNetworkPolicyProtocol{TCP: &policyv1.ClusterNetworkPolicyProtocolTCP{DestinationPort: port}},
			policyv1.ClusterNetworkPolicyProtocol{UDP: &policyv1.ClusterNetworkPolicyProtocolUDP{DestinationPort: port}})
	}
	for range r.IntN(3) {
		rule := policyv1.ClusterNetworkPolicyIngressRule{Action: action(), Protocols: some(r, 2, protocol)}
		for range 1 + r.IntN(2) {
			var peer policyv1.ClusterNetworkPolicyIngressPeer
			peer.Namespaces, peer.Pods = pods()
			rule.From = append(rule.From, peer)
		}
		p.Spec.Ingress = append(p.Spec.Ingress, rule)
	}
	for range r.IntN(3) {
		rule := policyv1.ClusterNetworkPolicyEgressRule{Action: action(), Protocols: some(r, 2, protocol)}
		for range 1 + r.IntN(2) {
			var peer policyv1.ClusterNetworkPolicyEgressPeer
			if r.one(40) {
				peer.Networks = []policyv1.CIDR{pick[policyv1.CIDR](r, "0.0.0.0/0", "10.244.0.0/30", "198.51.100.0/24"), pick[policyv1.CIDR](r, "::/0", "fd00:244::/126")}
			} else {
				peer.Namespaces, peer.Pods = pods()
			}
			rule.To = append(rule.To, peer)
		}
		p.Spec.Egress = append(p.Spec.Egress, rule)
	}
	return p
}

func (r random) world(pods int, policies int) policy.World {
	var w policy.World
	for _, name := range spaces() {
		w.Namespaces = append(w.Namespaces, r.namespace(name))
	}
	for i := range pods {
		w.Pods = append(w.Pods, r.pod(i, []string{"n1", "n2"}[i*2/pods]))
	}
	for i := range r.IntN(policies) + 1 {
		w.Policies = append(w.Policies, r.policy(i))
	}
	if r.one(60) {
		for i := range r.IntN(4) {
			w.Cluster = append(w.Cluster, r.cluster(i))
		}
	}
	return w
}

func protocolOf(p corev1.Protocol) uint8 {
	return map[corev1.Protocol]uint8{corev1.ProtocolTCP: unix.IPPROTO_TCP, corev1.ProtocolUDP: unix.IPPROTO_UDP, "": unix.IPPROTO_ICMP}[p]
}

// What the nodes' books say of each pair, both together, is what the API's words say.
func TestBooksSayWhatTheAPISays(t *testing.T) {
	r := newRandom(t)
	denied, allowed := 0, 0
	for range 300 {
		w := r.world(8, 6)
		books := []*told{newTold("n1"), newTold("n2")}
		for _, b := range books {
			b.tell(t, r, w)
		}
		for _, ipv6 := range []bool{false, true} {
			var ends []policy.End
			for i, p := range w.Pods {
				ends = append(ends, policy.End{Pod: p, Address: netip.MustParseAddr(address(i, ipv6))})
			}
			outside := map[bool]string{false: "198.51.100.7", true: "2001:db8:1::7"}[ipv6]
			ends = append(ends, policy.End{Address: netip.MustParseAddr(outside)})
			for _, from := range ends {
				for _, to := range ends {
					for _, at := range []policy.Target{
						{Protocol: corev1.ProtocolTCP, Port: 8080}, {Protocol: corev1.ProtocolTCP, Port: 8081}, {Protocol: corev1.ProtocolTCP, Port: 9090},
						{Protocol: corev1.ProtocolUDP, Port: 8080}, {Protocol: corev1.ProtocolUDP, Port: 7}, {},
					} {
						want := w.Allows(from, to, at)
						flow := policy.Flow{From: from.Address, To: to.Address, Protocol: protocolOf(at.Protocol), Port: uint16(at.Port)} //nolint:gosec // as above
						got := !slices.ContainsFunc(books, func(b *told) bool { return b.Judge(flow).Denied })
						if got != want {
							t.Fatalf("%+v: got %t, want %t\n%v", flow, got, want, w.Policies)
						}
						if want {
							allowed++
						} else {
							denied++
						}
					}
				}
			}
		}
	}
	if denied < 1000 || allowed < 1000 {
		t.Errorf("%d denied, %d allowed: the worlds are dull", denied, allowed)
	}
}

// Whatever came before, a book renders what one renders that was told the end alone.
func TestHistoriesLeaveNoTrace(t *testing.T) {
	r := newRandom(t)
	for range 200 {
		w := r.world(8, 8)
		old := newTold("n1")
		for range 3 {
			before := r.world(8, 8)
			old.tell(t, r, before)
			if r.one(70) {
				old.take()
			}
			for _, p := range before.Pods {
				if r.one(50) || !slices.ContainsFunc(w.Pods, func(x *corev1.Pod) bool { return x.Name == p.Name && x.Namespace == p.Namespace }) {
					old.SetPod(types.NamespacedName{Namespace: p.Namespace, Name: p.Name}, nil)
				}
			}
			for _, p := range before.Policies {
				old.SetPolicy(types.NamespacedName{Namespace: p.Namespace, Name: p.Name}, nil)
			}
			for _, p := range before.Cluster {
				old.SetCluster(p.Name, nil)
			}
			if r.one(50) {
				old.SetNamespace(pick(r, spaces()...), nil)
			}
		}
		old.tell(t, r, w)
		old.take()
		fresh := newTold("n1")
		fresh.tell(t, r, w)
		fresh.take()
		if diff := cmp.Diff(text(fresh.parts), text(old.parts)); diff != "" {
			t.Fatalf("-fresh +old:\n%s", diff)
		}
	}
}

// text is what parts say, in order.
func text(parts map[nft.Key]map[nft.Family]nft.Part) map[string]string {
	all := map[string]string{}
	for key, families := range parts {
		for f, part := range families {
			var lines []string
			for _, s := range part.Sets {
				lines = append(lines, fmt.Sprintf("set %+v", s))
			}
			for _, c := range part.Chains {
				lines = append(lines, fmt.Sprintf("chain %+v", c))
			}
			for set, elements := range part.Elements {
				for _, e := range elements {
					lines = append(lines, fmt.Sprintf("element %s %+v", set, e))
				}
			}
			slices.Sort(lines)
			if len(lines) > 0 {
				all[fmt.Sprint(key, " ", f)] = fmt.Sprint(lines)
			}
		}
	}
	return all
}
