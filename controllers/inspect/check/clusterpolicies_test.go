package check_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// clusterPolicy is one of a tier with a priority; what it selects and its rules are in flow style.
func clusterPolicy(name, tier string, priority int, subject, rules string) string {
	return fmt.Sprintf("apiVersion: policy.networking.k8s.io/v1beta1\nkind: ClusterNetworkPolicy\nmetadata: {name: %s}\n"+
		"spec: {tier: %s, priority: %d, subject: {%s}, %s}\n---\n", name, tier, priority, subject, rules)
}

// What is wrong with a ClusterNetworkPolicy has its line, in either version, and a field that does not exist is a
// mistake.
func TestClusterNetworkPoliciesInFiles(t *testing.T) {
	t.Parallel()
	const broken = `apiVersion: policy.networking.k8s.io/%s
kind: ClusterNetworkPolicy
metadata: {name: guard}
spec:
  tier: Middle
  priority: 1
  subject:
    namespaces: {}
  egress:
  - action: Deny
    to:
    - networks:
      - 10.0.0.0/8
      - here
  - action: Accept
    to:
    - domainNames: [shop.test]
    protocols:
    - tcp: {destinationPort: {}}
  ingress:
  - action: Deny
    from:
    - pods:
        namespaceSelector: {}
        podSelector: {matchExpressions: [{key: a, operator: Like}]}
`
	for _, version := range []string{"v1beta1", "v1alpha2"} {
		want := []string{
			`a.yaml:5: ClusterNetworkPolicy guard: spec.tier: PolicyNotUnderstood: "Middle" is not known: say Admin or Baseline; it is Admin now`,
			`a.yaml:14: ClusterNetworkPolicy guard: spec.egress[0].to[0].networks[1]: PolicyNotUnderstood: "here" is no network such as 10.1.0.0/16`,
			"a.yaml:17: ClusterNetworkPolicy guard: spec.egress[1].to[0].domainNames: PolicyNotUnderstood: it is not supported: name addresses as networks",
			"a.yaml:19: ClusterNetworkPolicy guard: spec.egress[1].protocols[0].tcp.destinationPort: PolicyNotUnderstood: it has neither number nor range that this version knows",
			`a.yaml:25: ClusterNetworkPolicy guard: spec.ingress[0].from[0].pods.podSelector: PolicyNotUnderstood: "Like" is not a valid label selector operator`,
		}
		found := find(t, put(t, "-- a.yaml --\n"+fmt.Sprintf(broken, version)))
		if diff := cmp.Diff(want, lines(found)); diff != "" || len(found.Over) > 0 || len(found.Hints) > 0 {
			t.Errorf("%s: passed over %v, hints %v (-want +got):\n%s", version, found.Over, found.Hints, diff)
		}
	}
	good := clusterPolicy("guard", "Admin", 1, "namespaces: {}", "ingress: []")
	for name, test := range map[string]struct{ files, want string }{
		"a good one":          {good, ""},
		"an unknown field":    {strings.Replace(good, "tier:", "tear: a, tier:", 1), `a.yaml:4: InvalidField: ClusterNetworkPolicy guard: unknown field "spec.tear"; it does not count`},
		"another type":        {strings.Replace(good, "priority: 1", "priority: high", 1), `a.yaml:4: InvalidField: ClusterNetworkPolicy guard: field "spec.priority" holds a string and wants a whole number; it does not count`},
		"a version to come":   {strings.Replace(good, "v1beta1", "v2", 1), "a.yaml:1: UnsupportedVersion: ClusterNetworkPolicy guard: ClusterNetworkPolicy is read as policy.networking.k8s.io/v1beta1, not as policy.networking.k8s.io/v2; it does not count"},
		"one in two versions": {good + strings.Replace(good, "v1beta1", "v1alpha2", 1), "a.yaml:6: DuplicateObject: ClusterNetworkPolicy guard is declared already in "},
		"somebody else's":     {strings.Replace(good, "policy.networking.k8s.io/v1beta1", "crd.antrea.io/v1beta1", 1), ""},
	} {
		if got := strings.Join(lines(find(t, put(t, "-- a.yaml --\n"+test.files))), "\n"); !strings.HasPrefix(got, test.want) || test.want == "" && got != "" {
			t.Errorf("%s: %s, want %s", name, got, test.want)
		}
	}
}

// A hint to a ClusterNetworkPolicy is sure of what it says, too: labels of namespaces are known where the files
// declare them.
func TestHintsToClusterNetworkPolicies(t *testing.T) {
	t.Parallel()
	namespace := func(name, team string) string {
		return fmt.Sprintf("apiVersion: v1\nkind: Namespace\nmetadata: {name: %s, labels: {team: %s}}\n---\n", name, team)
	}
	pod := func(namespace, app, more string) string {
		return fmt.Sprintf("apiVersion: v1\nkind: Pod\nmetadata: {namespace: %s, name: %s, labels: {app: %[2]s}}\n"+
			"spec: {containers: [{name: a, ports: [{name: http, containerPort: 80}]}]%s}\n---\n", namespace, app, more)
	}
	pods := func(namespaces, app string) string {
		return fmt.Sprintf("pods: {namespaceSelector: {%s}, podSelector: {matchLabels: {app: %s}}}", namespaces, app)
	}
	const all, team, shop = "namespaces: {}", "matchLabels: {team: a}", "matchLabels: {kubernetes.io/metadata.name: shop}"
	const anybody, one = "ingress: [{action: Deny, from: [{namespaces: {}}]}]", "{action: Pass, from: [{namespaces: {matchLabels: {a: b}}}]}"
	guard := func(subject string) string { return clusterPolicy("guard", "Admin", 1, subject, anybody) }
	named := func(port string) string {
		return clusterPolicy("guard", "Admin", 1, all, "ingress: [{action: Deny, from: [{namespaces: {}}], protocols: [{destinationNamedPort: "+port+"}]}]")
	}
	const out = "egress: [{action: Deny, to: [{networks: [0.0.0.0/0]}]}, {action: Accept, to: [{networks: [10.0.0.0/8]}]}]"
	for name, test := range map[string]struct{ files, want string }{
		"no workload":                               {guard(pods("", "web")), ""},
		"all pods":                                  {guard(all) + pod("shop", "web", ""), ""},
		"no pod by its labels":                      {guard(pods("", "wbe")) + pod("shop", "web", "") + pod("pay", "web", ""), "SelectsNoPod"},
		"one pod of two":                            {guard(pods("", "web")) + pod("shop", "web", "") + pod("pay", "pay", ""), ""},
		"a namespace by name, whose pods differ":    {guard(pods(shop, "wbe")) + pod("shop", "web", ""), "SelectsNoPod"},
		"a namespace by name, which is elsewhere":   {guard("namespaces: {"+shop+"}") + pod("pay", "web", ""), ""},
		"a namespace by labels, which has them not": {guard("namespaces: {"+team+"}") + namespace("shop", "b") + pod("shop", "web", ""), "SelectsNoPod"},
		"a namespace by labels, which has them":     {guard("namespaces: {"+team+"}") + namespace("shop", "a") + pod("shop", "web", ""), ""},
		"a namespace whose labels are not known":    {guard("namespaces: {"+team+"}") + namespace("pay", "b") + pod("shop", "web", "") + pod("pay", "web", ""), ""},
		"unknown labels, and other pods":            {guard(pods(team, "wbe")) + pod("shop", "web", ""), "SelectsNoPod"},
		"a policy that is not understood":           {clusterPolicy("guard", "Middle", 1, pods("", "wbe"), anybody) + pod("shop", "web", ""), ""},
		"the host's network":                        {guard(all) + pod("shop", "web", ", hostNetwork: true"), "HostNetwork"},
		"a named port":                              {named("http") + pod("shop", "web", ""), ""},
		"a named port that nobody has":              {named("https") + pod("shop", "web", ""), "NoSuchPort"},

		"equal priorities":                    {guard(all) + clusterPolicy("other", "Admin", 1, pods("", "web"), anybody) + pod("shop", "web", ""), "other:SamePriority"},
		"three of them":                       {guard(all) + clusterPolicy("b", "Admin", 1, all, anybody) + clusterPolicy("a", "Admin", 1, all, anybody) + pod("shop", "web", ""), "guard:SamePriority b:SamePriority"},
		"equal priorities of other tiers":     {guard(all) + clusterPolicy("other", "Baseline", 1, all, anybody) + pod("shop", "web", ""), ""},
		"other priorities":                    {guard(all) + clusterPolicy("other", "Admin", 2, all, anybody) + pod("shop", "web", ""), ""},
		"equal priorities of other pods":      {guard(pods("", "pay")) + clusterPolicy("other", "Admin", 1, pods("", "web"), anybody) + pod("shop", "web", "") + pod("shop", "pay", ""), ""},
		"equal priorities, other directions":  {guard(all) + clusterPolicy("other", "Admin", 1, all, out) + pod("shop", "web", ""), ""},
		"equal priorities, no pod":            {guard(all) + clusterPolicy("other", "Admin", 1, all, anybody), ""},
		"equal priorities, unknown labels":    {guard(all) + clusterPolicy("other", "Admin", 1, "namespaces: {"+team+"}", anybody) + pod("shop", "web", ""), ""},
		"equal priorities, the host's pods":   {guard(pods("", "web")) + clusterPolicy("other", "Admin", 1, all, anybody) + pod("shop", "web", ", hostNetwork: true") + pod("shop", "pay", ""), "guard:HostNetwork"},
		"a rule behind everything":            {clusterPolicy("guard", "Admin", 1, all, "ingress: [{action: Accept, from: [{namespaces: {}}]}, "+one+"]"), "NeverMatches"},
		"everything last":                     {clusterPolicy("guard", "Admin", 1, all, "ingress: ["+one+", {action: Accept, from: [{namespaces: {}}]}]"), ""},
		"a rule behind one port of all":       {clusterPolicy("guard", "Admin", 1, all, "ingress: [{action: Accept, from: [{namespaces: {}}], protocols: [{tcp: {}}]}, "+one+"]"), ""},
		"networks behind one family":          {clusterPolicy("guard", "Admin", 1, all, out), ""},
		"networks behind both families":       {clusterPolicy("guard", "Admin", 1, all, strings.Replace(out, "0.0.0.0/0", `0.0.0.0/0, "::/0"`, 1)), "NeverMatches"},
		"networks behind all pods":            {clusterPolicy("guard", "Admin", 1, all, "egress: [{action: Accept, to: [{namespaces: {}}]}, {action: Deny, to: [{networks: [0.0.0.0/0]}]}]"), ""},
		"a rule behind all of that direction": {clusterPolicy("guard", "Admin", 1, all, anybody+", egress: [{action: Deny, to: [{namespaces: {}}]}]"), ""},
	} {
		var got []string
		for _, hint := range find(t, put(t, "-- a.yaml --\n"+test.files)).Hints {
			text := hint.Reason
			if strings.Contains(test.want, ":") {
				text = hint.Name + ":" + text
			}
			got = append(got, text)
		}
		if got := strings.Join(got, " "); got != test.want {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
	}
}

// Each hint has the line of its field, and its words say what to look at.
func TestTheWordsOfHintsToClusterNetworkPolicies(t *testing.T) {
	t.Parallel()
	const workload = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {namespace: shop, name: web}\nspec: {template: {metadata: {labels: {app: web}}}}\n---\n"
	rules := "ingress: [{action: Accept, from: [{namespaces: {}}]},\n  {action: Deny, from: [{namespaces: {}}]}]"
	found := find(t, put(t, "-- a.yaml --\n"+workload+clusterPolicy("b", "Admin", 7, "namespaces: {}", rules)+
		clusterPolicy("a", "Admin", 7, "namespaces: {}", "ingress: [{action: Pass, from: [{namespaces: {}}]}]")+
		clusterPolicy("c", "Admin", 7, "pods: {namespaceSelector: {}, podSelector: {matchLabels: {app: wbe}}}", "ingress: []")))
	var got []string
	for _, hint := range found.Hints {
		got = append(got, hint.String())
	}
	want := []string{
		"a.yaml:9: ClusterNetworkPolicy b: spec.priority: SamePriority: ClusterNetworkPolicy a of tier Admin has the same one, and both select the pods of Deployment shop/web: " +
			"Fairway asks a first, by its name, and other implementations need not",
		"a.yaml:10: ClusterNetworkPolicy b: spec.ingress[1]: NeverMatches: this rule never matches: spec.ingress[0], ahead of it, matches everything that it could",
		"a.yaml:20: ClusterNetworkPolicy c: spec.subject: SelectsNoPod: it selects no pod: these files have 1 workload, and it matches none",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
