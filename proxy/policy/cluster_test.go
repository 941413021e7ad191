package policy_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	policyv1 "sigs.k8s.io/network-policy-api/apis/v1beta1"

	"github.com/fairwaynet/fairway/proxy/policy"
)

// everyPod is the peer of a policy of the cluster that all pods are.
func everyPod() policyv1.ClusterNetworkPolicyIngressPeer {
	return policyv1.ClusterNetworkPolicyIngressPeer{Namespaces: &metav1.LabelSelector{}}
}

// admit is a policy of the cluster about what reaches any pod, with a rule of each action for TCP 80.
func admit(name string, tier policyv1.Tier, priority int32, actions ...policyv1.ClusterNetworkPolicyRuleAction) *policyv1.ClusterNetworkPolicy {
	p := &policyv1.ClusterNetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: name}}
	p.Spec.Tier, p.Spec.Priority, p.Spec.Subject.Namespaces = tier, priority, &metav1.LabelSelector{}
	port := policyv1.ClusterNetworkPolicyProtocol{TCP: &policyv1.ClusterNetworkPolicyProtocolTCP{DestinationPort: &policyv1.Port{Number: 80}}}
	for _, action := range actions {
		p.Spec.Ingress = append(p.Spec.Ingress, policyv1.ClusterNetworkPolicyIngressRule{
			Action: action, From: []policyv1.ClusterNetworkPolicyIngressPeer{everyPod()}, Protocols: []policyv1.ClusterNetworkPolicyProtocol{port},
		})
	}
	return p
}

// A verdict says which policies of the cluster were asked, in order, and which rule of each matched.
func TestAVerdictNamesTheRulesThatDecide(t *testing.T) {
	const accept, deny, pass = policyv1.ClusterNetworkPolicyRuleActionAccept, policyv1.ClusterNetworkPolicyRuleActionDeny, policyv1.ClusterNetworkPolicyRuleActionPass
	isolating := ingress("np", nil, pods("client"))
	for name, c := range map[string]struct {
		cluster  []*policyv1.ClusterNetworkPolicy
		isolated bool
		port     uint16
		want     string // those that were asked, with the rule; then what comes of it
	}{
		"none":                           {nil, false, 80, "allowed"},
		"the first rule decides":         {[]*policyv1.ClusterNetworkPolicy{admit("a", "Admin", 1, deny, accept)}, true, 80, "a[0] denied"},
		"by priority, then by name":      {[]*policyv1.ClusterNetworkPolicy{admit("c", "Admin", 1), admit("b", "Admin", 1, accept), admit("a", "Admin", 1, deny), admit("z", "Admin", 0, pass)}, false, 80, "z[0] allowed"},
		"equal priorities":               {[]*policyv1.ClusterNetworkPolicy{admit("b", "Admin", 1, accept), admit("a", "Admin", 1, deny)}, false, 80, "a[0] denied"},
		"no rule matches":                {[]*policyv1.ClusterNetworkPolicy{admit("a", "Admin", 1, deny), admit("b", "Baseline", 1, deny)}, false, 81, "a[-1] b[-1] allowed"},
		"passed on to a policy":          {[]*policyv1.ClusterNetworkPolicy{admit("a", "Admin", 1, pass), admit("b", "Baseline", 1, deny)}, true, 80, "a[0] allowed by shop/np"},
		"passed on to the other tier":    {[]*policyv1.ClusterNetworkPolicy{admit("a", "Admin", 1, pass), admit("b", "Baseline", 1, deny)}, false, 80, "a[0] b[0] denied"},
		"accepted by the last tier":      {[]*policyv1.ClusterNetworkPolicy{admit("b", "Baseline", 1, accept)}, false, 80, "b[0] allowed"},
		"passed on by both tiers":        {[]*policyv1.ClusterNetworkPolicy{admit("a", "Admin", 1, pass), admit("b", "Baseline", 1, pass, deny)}, false, 80, "a[0] b[0] allowed"},
		"one without rules is not asked": {[]*policyv1.ClusterNetworkPolicy{admit("a", "Admin", 1), admit("b", "Admin", 2, accept)}, false, 80, "b[0] allowed"},
		"a policy that isolates decides": {[]*policyv1.ClusterNetworkPolicy{admit("b", "Baseline", 1, deny)}, true, 80, "allowed by shop/np"},
	} {
		b := newTold("n1")
		b.setPod(running(0, labelled("web")))
		b.setPod(running(1, labelled("client")))
		if c.isolated {
			b.setPolicy(t, isolating)
		}
		for _, p := range c.cluster {
			parsed, problems := policy.ParseCluster(p)
			if len(problems) > 0 {
				t.Fatal(problems)
			}
			b.SetCluster(p.Name, parsed)
		}
		v := b.Judge(policy.Flow{From: netip.MustParseAddr(address(1, false)), To: netip.MustParseAddr(address(0, false)), Protocol: policy.TCP, Port: c.port})
		var got []string
		for _, asked := range v.Cluster[policy.Ingress] {
			got = append(got, fmt.Sprintf("%s[%d]", asked.Name, asked.Rule))
		}
		switch by := v.Allowed[policy.Ingress]; {
		case v.Denied:
			got = append(got, "denied")
		case by != types.NamespacedName{}:
			got = append(got, "allowed by", by.String())
		default:
			got = append(got, "allowed")
		}
		if text := strings.Join(got, " "); text != c.want {
			t.Errorf("%s: %s, want %s", name, text, c.want)
		}
	}
}

// A rule behind one that covers it never matches.
func TestARuleThatIsCoveredNeverMatches(t *testing.T) {
	r := newRandom(t)
	covered := 0
	for range 200 {
		w := r.world(6, 1)
		w.Policies, w.Cluster = nil, []*policyv1.ClusterNetworkPolicy{r.cluster(0)}
		spec := &w.Cluster[0].Spec
		if len(spec.Egress) > 0 && r.one(30) {
			spec.Egress[0].Protocols, spec.Egress[0].To[0] = nil, policyv1.ClusterNetworkPolicyEgressPeer{Networks: []policyv1.CIDR{"0.0.0.0/0", "::/0"}}
		}
		b := newTold("n1")
		b.tell(t, r, w)
		parsed, _ := policy.ParseCluster(w.Cluster[0])
		never := map[policy.Direction]map[int]bool{policy.Ingress: {}, policy.Egress: {}}
		for d := range never {
			for i, rule := range parsed.Rules[d] {
				for _, before := range parsed.Rules[d][:i] {
					if before.Covers(rule.Rule) {
						never[d][i] = true
						covered++
					}
				}
			}
		}
		ends := []string{"198.51.100.7", address(0, true), address(3, true)}
		for i := range w.Pods {
			ends = append(ends, address(i, false))
		}
		for _, from := range ends {
			for _, to := range ends {
				f := policy.Flow{From: netip.MustParseAddr(from), To: netip.MustParseAddr(to), Protocol: protocolOf(pick(r, corev1.ProtocolTCP, corev1.ProtocolUDP, "")), Port: 8080}
				v := b.Judge(f)
				for d := range never {
					for _, asked := range v.Cluster[d] {
						if never[d][asked.Rule] {
							t.Fatalf("%s: rule %d matches %+v: %+v", d, asked.Rule, f, *spec)
						}
					}
				}
			}
		}
	}
	if covered < 10 {
		t.Errorf("%d rules are covered: the policies are dull", covered)
	}
}

// A Problem of a policy of the cluster names the field, so that its line can be found. Of a peer that is not
// understood nothing counts.
func TestProblemsOfTheClusterNameTheirField(t *testing.T) {
	p := admit("a", "Middle", 1, policyv1.ClusterNetworkPolicyRuleActionAccept)
	broken := metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "app", Operator: "Like"}}}
	p.Spec.Subject.Namespaces = &broken
	p.Spec.Ingress[0].From = append(p.Spec.Ingress[0].From, policyv1.ClusterNetworkPolicyIngressPeer{Pods: &policyv1.NamespacedPod{PodSelector: broken}})
	p.Spec.Egress = []policyv1.ClusterNetworkPolicyEgressRule{{
		Action: policyv1.ClusterNetworkPolicyRuleActionAccept, To: []policyv1.ClusterNetworkPolicyEgressPeer{
			{Networks: []policyv1.CIDR{"192.0.2.0/24", "here"}}, {Networks: []policyv1.CIDR{"192.0.2.0/24"}, Namespaces: &metav1.LabelSelector{}},
		},
	}}
	parsed, problems := policy.ParseCluster(p)
	var fields []string
	for _, problem := range problems {
		fields = append(fields, problem.Field)
	}
	const want = "spec.tier spec.subject.namespaces spec.subject spec.ingress[0].from[1].pods.podSelector spec.egress[0].to[0].networks[1] spec.egress[0].to[1]"
	if got := strings.Join(fields, " "); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if rule := parsed.Rules[policy.Egress][0]; len(rule.Blocks)+len(rule.Peers) > 0 {
		t.Errorf("a peer that is not understood counts: %+v", rule)
	}
}
