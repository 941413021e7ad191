package main

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/fairwaynet/fairway/test/cluster"
)

const binding = `apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: documented}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: fairway-reader}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: documented}]
`

// The role that docs/explain.md shows is enough. A user without it hears which rights are missing.
func TestExplainConnection(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/explain.md")
	if err != nil {
		t.Fatal(err)
	}
	role := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindSubmatch(page)
	c := cluster.Start(t, cluster.Options{})
	c.Kubectl(t, guarded+"---\n"+string(role[1])+"---\n"+binding, "apply", "-f", "-")
	c.Kubectl(t, "", "patch", "pod", "web", "-n", "shop", "--subresource=status", "-p", `{"status":{"podIP":"10.244.0.1","podIPs":[{"ip":"10.244.0.1"}]}}`)
	c.Kubectl(t, `apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {namespace: shop, name: out}
spec: {podSelector: {}, policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: 198.51.100.0/24}}]}]}
`, "apply", "-f", "-")
	defineClusterPolicies(t, c)
	documented, nobody := kubeconfigOf(t, c, c.User("documented")), kubeconfigOf(t, c, c.User("nobody"))
	for _, test := range []struct {
		user, to string
		want     said
	}{
		{documented, "198.51.100.7:53/udp", said{Out: "pod shop/web to 198.51.100.7:53/udp, UDP\n" +
			"  from     10.244.0.1, node n1\n" +
			"  to       198.51.100.7:53\n" +
			"  egress   allowed: NetworkPolicy shop/out allows it\n" +
			"  ingress  allowed: no pod has the address\n" +
			"  end      Allowed.\n"}},
		{documented, "192.0.2.7:53", said{Code: 1, Out: "pod shop/web to 192.0.2.7:53, TCP\n" +
			"  from     10.244.0.1, node n1\n" +
			"  to       192.0.2.7:53\n" +
			"  egress   denied: NetworkPolicy shop/out isolates the pod, and no rule of it allows it\n" +
			"  ingress  allowed: no pod has the address\n" +
			"  end      Denied, by the sender's policies.\n"}},
		{documented, "169.254.169.254:80", said{Code: 1, Out: "pod shop/web to 169.254.169.254:80, TCP\n" +
			"  from     10.244.0.1, node n1\n" +
			"  to       169.254.169.254:80\n" +
			"  egress   denied: ClusterNetworkPolicy guard (tier Admin, rule \"no metadata\") denies it\n" +
			"  ingress  allowed: no pod has the address\n" +
			"  end      Denied, by the sender's policies.\n"}},
		{documented, "kubernetes.default:1", said{Code: 1, Out: "pod shop/web to kubernetes.default:1, TCP\n" +
			"  from     10.244.0.1, node n1\n" +
			"  service  default/kubernetes: policies judge what is behind it\n" +
			"  end      Service default/kubernetes has no TCP port 1, and refuses the connection.\n"}},
		{documented, "shop/gone:80", said{Code: 2, Err: "fairway: there is no pod shop/gone\n"}},
		{nobody, "kubernetes.default:1", said{Code: 2, Err: "fairway: you need the permission to list pods in all namespaces\n" +
			"you need the permission to list namespaces in all namespaces\n" +
			"you need the permission to list networkpolicies.networking.k8s.io in all namespaces\n" +
			"you need the permission to list clusternetworkpolicies.policy.networking.k8s.io in all namespaces\n" +
			"you need the permission to get services in namespace default\n"}},
	} {
		if got := ran(t, "", "explain", "--kubeconfig", test.user, "--from", "shop/web", "--to", test.to); got != test.want {
			t.Errorf("%s: %+v, want %+v", test.to, got, test.want)
		}
	}
	if got := ran(t, "", "status", "policy", "shop/web", "--kubeconfig", documented); got.Code != 0 || strings.Contains(got.Out, "Not known") ||
		!strings.Contains(got.Out, "  guard, priority 10  denies what goes to 169.254.169.254/32, at any port (rule \"no metadata\")\n") {
		t.Errorf("status policy with the role of the docs: %+v", got)
	}
}

func TestExplainConnectionUsage(t *testing.T) {
	for _, test := range []struct {
		args []string
		err  string
	}{
		{[]string{"--from", "shop/web"}, "--from and --to belong together: say which pod connects to what"},
		{[]string{"--to", "web:80"}, "--from and --to belong together: say which pod connects to what"},
		{[]string{"--from", "shop/web", "--to", "web:80", "http://shop.test"}, "give a URL, or --from and --to"},
		{[]string{"--from", "shop/web", "--to", "web:80", "-f", "."}, "--filename is for URLs: leave it out with --from and --to"},
		{[]string{"--from", "web", "--to", "web", "-o", "yaml"}, "--from: say in which namespace pod \"web\" is: NAMESPACE/POD\n" +
			"--to: \"web\" has no port: write HOST:PORT\n--output: \"yaml\" is neither text nor json"},
		{nil, "give one URL, not 0"},
	} {
		want := said{Code: 2, Err: "fairway: " + test.err + "\nSee 'fairway explain --help'.\n"}
		if got := ran(t, "", append([]string{"explain"}, test.args...)...); got != want {
			t.Errorf("%v: %+v, want %+v", test.args, got, want)
		}
	}
}
