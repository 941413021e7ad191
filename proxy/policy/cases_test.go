package policy_test

import (
	"fmt"
	"net/netip"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	policyv1 "sigs.k8s.io/network-policy-api/apis/v1beta1"

	"github.com/fairwaynet/fairway/proxy/policy"
)

// running is a pod of n1 with an address by its number.
func running(number int, labels map[string]string, changes ...func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: fmt.Sprint("p", number), UID: types.UID(fmt.Sprint("uid-", number)), Labels: labels}}
	p.Spec.NodeName = "n1"
	p.Status.Phase, p.Status.PodIPs = corev1.PodRunning, []corev1.PodIP{{IP: address(number, false)}}
	for _, change := range changes {
		change(p)
	}
	return p
}

func labelled(value string) map[string]string { return map[string]string{"app": value} }

// ingress is a policy of pods with app=web that lets peers in.
func ingress(name string, ports []networkingv1.NetworkPolicyPort, peers ...networkingv1.NetworkPolicyPeer) *networkingv1.NetworkPolicy {
	p := &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name}}
	p.Spec.PodSelector.MatchLabels = labelled("web")
	p.Spec.Ingress = []networkingv1.NetworkPolicyIngressRule{{From: peers, Ports: ports}}
	return p
}

func block(cidr string, except ...string) networkingv1.NetworkPolicyPeer {
	return networkingv1.NetworkPolicyPeer{IPBlock: &networkingv1.IPBlock{CIDR: cidr, Except: except}}
}

func pods(app string) networkingv1.NetworkPolicyPeer {
	return networkingv1.NetworkPolicyPeer{PodSelector: &metav1.LabelSelector{MatchLabels: labelled(app)}}
}

func allowed(b *told, from, to string, port uint16) bool {
	return !b.Judge(policy.Flow{From: netip.MustParseAddr(from), To: netip.MustParseAddr(to), Protocol: unix.IPPROTO_TCP, Port: port}).Denied
}

// An except belongs to its own block alone, whatever comes first.
func TestAnExceptIsNoDenial(t *testing.T) {
	policies := []*networkingv1.NetworkPolicy{
		ingress("wide", nil, block("0.0.0.0/0", "10.0.0.0/8")), ingress("narrow", nil, block("10.1.2.3/32")),
		ingress("nested", nil, block("10.2.0.0/16", "10.2.1.0/24"), block("10.2.1.128/25", "10.2.1.200/32")),
	}
	for i := range 6 {
		b := newTold("n1")
		b.setPod(running(0, labelled("web")))
		for j := range policies {
			b.setPolicy(t, policies[(i+j*(1+i/3))%3])
		}
		b.setPolicy(t, policies[0])
		b.setPolicy(t, policies[1])
		b.setPolicy(t, policies[2])
		for from, want := range map[string]bool{
			"192.0.2.1": true, "10.1.2.3": true, "10.1.2.4": false, "10.2.0.1": true, "10.2.1.1": false, "10.2.1.129": true, "10.2.1.200": false,
		} {
			if got := allowed(b, from, address(0, false), 80); got != want {
				t.Errorf("order %d: from %s: %t, want %t", i, from, got, want)
			}
		}
	}
}

// A pod that has ended has no address, and of two pods with one address the living, younger one has it.
func TestWhoHasAnAddress(t *testing.T) {
	shared := func(p *corev1.Pod) { p.Status.PodIPs = []corev1.PodIP{{IP: address(0, false)}} }
	ended := func(phase corev1.PodPhase) func(*corev1.Pod) { return func(p *corev1.Pod) { p.Status.Phase = phase } }
	leaving := func(p *corev1.Pod) { p.DeletionTimestamp = &metav1.Time{} }
	made := func(seconds int64) func(*corev1.Pod) {
		return func(p *corev1.Pod) { p.CreationTimestamp = metav1.Unix(seconds, 0) }
	}
	for _, c := range []struct {
		name       string
		old, young *corev1.Pod
	}{
		{"completed", running(1, labelled("job"), shared, ended(corev1.PodSucceeded), made(1)), running(2, labelled("client"), shared, made(2))},
		{"failed", running(1, labelled("job"), shared, ended(corev1.PodFailed), made(9)), running(2, labelled("client"), shared, made(2))},
		{"leaving", running(1, labelled("job"), shared, leaving, made(9)), running(2, labelled("client"), shared, made(2))},
		{"older", running(1, labelled("job"), shared, made(1)), running(2, labelled("client"), shared, made(2))},
	} {
		for _, order := range [][]*corev1.Pod{{c.old, c.young}, {c.young, c.old}} {
			b := newTold("n1")
			b.setPod(running(5, labelled("web")))
			b.setPolicy(t, ingress("clients", nil, pods("client")))
			deny := ingress("jobs", nil)
			deny.Spec.PodSelector.MatchLabels, deny.Spec.Ingress = labelled("job"), nil
			b.setPolicy(t, deny)
			for _, p := range order {
				b.setPod(p)
			}
			if !allowed(b, address(0, false), address(5, false), 80) || !allowed(b, "192.0.2.1", address(0, false), 80) {
				t.Errorf("%s, %s first: the address is that of a pod that is gone", c.name, order[0].Name)
			}
			b.SetPod(types.NamespacedName{Namespace: "shop", Name: c.old.Name}, nil)
			if !allowed(b, address(0, false), address(5, false), 80) {
				t.Errorf("%s: the old pod takes the address along", c.name)
			}
		}
	}
	host := running(1, labelled("client"), func(p *corev1.Pod) { p.Spec.HostNetwork = true })
	if policy.PodOf(host) != nil {
		t.Error("a pod of the host's network counts")
	}
}

// Names of ports are those of containers and of sidecars, not of containers that have ended; the first of a
// name counts.
func TestNamesOfPorts(t *testing.T) {
	always := corev1.ContainerRestartPolicyAlways
	named := func(name string, number int32, protocol corev1.Protocol) corev1.Container {
		return corev1.Container{Ports: []corev1.ContainerPort{{Name: name, ContainerPort: number, Protocol: protocol}}}
	}
	sidecar := named("metrics", 9100, corev1.ProtocolTCP)
	sidecar.RestartPolicy = &always
	b := newTold("n1")
	b.setPod(running(0, labelled("web"), func(p *corev1.Pod) {
		p.Spec.Containers = []corev1.Container{named("http", 8080, ""), named("http", 8081, corev1.ProtocolTCP), named("http", 8082, corev1.ProtocolUDP)}
		p.Spec.InitContainers = []corev1.Container{named("setup", 7000, corev1.ProtocolTCP), sidecar, named("http", 8083, corev1.ProtocolTCP)}
	}))
	var all []networkingv1.NetworkPolicyPort
	for _, name := range []string{"http", "metrics", "setup"} {
		port := intstr.FromString(name)
		all = append(all, networkingv1.NetworkPolicyPort{Port: &port})
	}
	b.setPolicy(t, ingress("ports", all))
	for port, want := range map[uint16]bool{8080: true, 8081: false, 8082: false, 8083: false, 9100: true, 7000: false} {
		if got := allowed(b, "192.0.2.1", address(0, false), port); got != want {
			t.Errorf("port %d: %t, want %t", port, got, want)
		}
	}
}

// What cannot be understood allows nothing, is told, and costs nothing else.
func TestWhatIsNotUnderstood(t *testing.T) {
	number, name, end, protocol := intstr.FromInt32(80), intstr.FromString("http"), int32(90), corev1.Protocol("QUIC")
	bad := func(change func(*networkingv1.NetworkPolicy)) *networkingv1.NetworkPolicy {
		p := ingress("bad", nil, block("192.0.2.0/24"))
		change(p)
		return p
	}
	for _, c := range []struct {
		says   string
		policy *networkingv1.NetworkPolicy
		passes bool // from 192.0.2.1 to port 80
	}{
		{`spec.policyTypes[1]: "Sideways"`, bad(func(p *networkingv1.NetworkPolicy) {
			p.Spec.PolicyTypes = []networkingv1.PolicyType{"Ingress", "Sideways"}
		}), true},
		{"spec.podSelector", bad(func(p *networkingv1.NetworkPolicy) {
			p.Spec.PodSelector.MatchExpressions = []metav1.LabelSelectorRequirement{{Key: "app", Operator: "Near"}}
			p.Spec.Ingress = nil
		}), false},
		{"spec.ingress[0].from[1].ipBlock.cidr", bad(func(p *networkingv1.NetworkPolicy) {
			p.Spec.Ingress[0].From = append(p.Spec.Ingress[0].From, block("nonsense"))
		}), true},
		{"spec.ingress[0].from[0].ipBlock.except[0]", bad(func(p *networkingv1.NetworkPolicy) { p.Spec.Ingress[0].From[0] = block("192.0.2.0/24", "192.0.2") }), false},
		{"spec.ingress[0].from[0]: it has none", bad(func(p *networkingv1.NetworkPolicy) { p.Spec.Ingress[0].From[0] = networkingv1.NetworkPolicyPeer{} }), false},
		{"spec.ingress[0].ports[0].protocol", bad(func(p *networkingv1.NetworkPolicy) {
			p.Spec.Ingress[0].Ports = []networkingv1.NetworkPolicyPort{{Protocol: &protocol, Port: &number}}
		}), false},
		{"spec.ingress[0].ports[0].endPort", bad(func(p *networkingv1.NetworkPolicy) {
			p.Spec.Ingress[0].Ports = []networkingv1.NetworkPolicyPort{{Port: &name, EndPort: &end}, {Port: &number}}
		}), true},
		{"spec.ingress[0].ports[0].endPort: it needs a port", bad(func(p *networkingv1.NetworkPolicy) {
			p.Spec.Ingress[0].Ports = []networkingv1.NetworkPolicyPort{{EndPort: &end}}
		}), false},
	} {
		parsed, problems := policy.Parse(c.policy)
		if len(problems) != 1 || !strings.Contains(problems[0].Field+": "+problems[0].Message, c.says) {
			t.Errorf("want %s, got %v", c.says, problems)
		}
		b := newTold("n1")
		b.setPod(running(0, labelled("web")))
		b.SetPolicy(parsed.Name, parsed)
		if got := allowed(b, "192.0.2.1", address(0, false), 80); got != c.passes {
			t.Errorf("%s: passes %t, want %t", c.says, got, c.passes)
		}
		b.take()
	}
	for text, want := range map[string]string{"10.1.2.3/8": "10.0.0.0-10.255.255.255", "010.000.0.0/8": "10.0.0.0-10.255.255.255", "::ffff:10.1.0.0/112": "10.1.0.0-10.1.255.255"} {
		parsed, problems := policy.Parse(ingress("odd", nil, block(text)))
		got := parsed.Rules[policy.Ingress][0].Blocks
		if len(problems) > 0 || len(got) != 1 || fmt.Sprintf("%s-%s", got[0].First, got[0].Last) != want {
			t.Errorf("%s: %v %v, want %s", text, got, problems, want)
		}
	}
}

// A cluster's policy keeps closed what it cannot understand.
func TestWhatIsNotUnderstoodOfTheCluster(t *testing.T) {
	nodes := policyv1.ClusterNetworkPolicyEgressPeer{Nodes: &metav1.LabelSelector{}}
	names := policyv1.ClusterNetworkPolicyEgressPeer{DomainNames: []policyv1.DomainName{"example.org"}}
	for _, c := range []struct {
		name   string
		action policyv1.ClusterNetworkPolicyRuleAction
		peer   policyv1.ClusterNetworkPolicyEgressPeer
		passes bool
	}{
		{"deny nodes", policyv1.ClusterNetworkPolicyRuleActionDeny, nodes, false},
		{"deny names", policyv1.ClusterNetworkPolicyRuleActionDeny, names, false},
		{"accept names", policyv1.ClusterNetworkPolicyRuleActionAccept, names, true}, // nothing else denies
		{"an action of tomorrow", "Log", policyv1.ClusterNetworkPolicyEgressPeer{Networks: []policyv1.CIDR{"192.0.2.0/24"}}, false},
	} {
		p := &policyv1.ClusterNetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: "c"}}
		p.Spec.Tier, p.Spec.Subject.Namespaces = policyv1.AdminTier, &metav1.LabelSelector{}
		p.Spec.Egress = []policyv1.ClusterNetworkPolicyEgressRule{{Action: c.action, To: []policyv1.ClusterNetworkPolicyEgressPeer{c.peer}}}
		parsed, problems := policy.ParseCluster(p)
		if len(problems) == 0 {
			t.Errorf("%s: nothing is told", c.name)
		}
		b := newTold("n1")
		b.setPod(running(0, labelled("web")))
		b.SetCluster("c", parsed)
		if got := allowed(b, address(0, false), "192.0.2.1", 80); got != c.passes {
			t.Errorf("%s: passes %t, want %t", c.name, got, c.passes)
		}
	}
}

// Ranges that overlap, touch and nest come and go in the kernel without a refusal, and what is left is
// what is wanted.
func TestRangesInTheKernel(t *testing.T) {
	n := newNetwork(t)
	r := newRandom(t)
	n.book.setNamespace(r.namespace("shop"))
	n.book.setPod(running(0, labelled("web")))
	random := func() string {
		if r.one(50) {
			return fmt.Sprintf("10.%d.%d.%d/%d", r.IntN(2), r.IntN(2), r.IntN(256), 8+r.IntN(25))
		}
		return fmt.Sprintf("fd00:%x::%x/%d", r.IntN(2), r.IntN(256), 16+r.IntN(113))
	}
	for round := range 60 {
		for number := range 4 {
			if r.one(50) {
				continue
			}
			var peers []networkingv1.NetworkPolicyPeer
			for range r.IntN(6) {
				network := netip.MustParsePrefix(random()).Masked()
				var except []string
				for range r.IntN(3) {
					if hole := netip.MustParsePrefix(random()).Masked(); hole.Bits() > network.Bits() && network.Contains(hole.Addr()) {
						except = append(except, hole.String())
					}
				}
				peers = append(peers, block(network.String(), except...))
			}
			np := ingress(fmt.Sprint("np", number), nil, peers...)
			if len(peers) == 0 {
				n.book.SetPolicy(types.NamespacedName{Namespace: "shop", Name: np.Name}, nil)
				continue
			}
			n.book.setPolicy(t, np)
		}
		n.write(t) // which fails on a refusal
		if changes, err := n.engine.Check(t.Context()); err != nil || len(changes) > 0 {
			t.Fatalf("round %d: the kernel has something else: %v %v", round, changes, err)
		}
		if round%6 == 0 {
			n.expectRanges(t)
		}
	}
}

// expectRanges asks the kernel for the ends of each range of the book, which it has, and for what is next to
// them, which it has not: ranges are apart.
func (n *network) expectRanges(t *testing.T) {
	t.Helper()
	asked := 0
	for _, parts := range n.book.parts {
		for f, part := range parts {
			for _, set := range part.Sets {
				if !strings.HasPrefix(set.Name, "block-") {
					continue
				}
				for _, e := range part.Elements[set.Name] {
					first, _ := netip.AddrFromSlice([]byte(e.Key))
					last, _ := netip.AddrFromSlice([]byte(e.End))
					for a, want := range map[netip.Addr]bool{first: true, last: true, first.Prev(): false, last.Next(): false} {
						if !a.IsValid() {
							continue // before the first address, or behind the last
						}
						asked++
						err := exec.CommandContext(t.Context(), "/usr/sbin/nft", "get", "element", f.String(), "fairway-policy", set.Name, "{ "+a.String()+" }").Run()
						if (err == nil) != want {
							t.Errorf("%s %s has %s: %t, want %t", f, set.Name, a, err == nil, want)
						}
					}
				}
			}
		}
	}
	t.Logf("%d addresses", asked)
}

// Whatever stands in an ipBlock, reading it ends, and what it allows is in order and apart.
func FuzzBlocks(f *testing.F) {
	for _, text := range []string{"10.0.0.0/8", "::ffff:10.1.0.0/112", "::/0", "0.0.0.0/0", "::ffff:0:0/90", "010.1.1.1/09", "x"} {
		f.Add(text, "10.1.0.0/16")
	}
	f.Fuzz(func(t *testing.T, cidr, except string) {
		parsed, _ := policy.Parse(ingress("fuzz", nil, block(cidr, except)))
		for i, r := range parsed.Rules[policy.Ingress][0].Blocks {
			if r.Last.Less(r.First) || r.First.BitLen() != r.Last.BitLen() {
				t.Errorf("%s-%s", r.First, r.Last)
			}
			if before := parsed.Rules[policy.Ingress][0].Blocks[:i]; i > 0 && before[i-1].Last.BitLen() == r.First.BitLen() && !before[i-1].Last.Less(r.First) {
				t.Errorf("%s-%s is not behind %s", r.First, r.Last, before[i-1].Last)
			}
		}
	})
}
