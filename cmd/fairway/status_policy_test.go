package main

import (
	"strings"
	"testing"

	"k8s.io/client-go/rest"

	"github.com/fairwaynet/fairway/test/cluster"
	"github.com/fairwaynet/fairway/test/clusterpolicy"
)

// guarded is a pod with a policy.
const guarded = `apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: default, namespace: shop}
---
apiVersion: v1
kind: Pod
metadata: {namespace: shop, name: web, labels: {app: web}}
spec: {nodeName: n1, containers: [{name: web, image: web, ports: [{name: http, containerPort: 8080}]}]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {namespace: shop, name: web}
spec: {podSelector: {matchLabels: {app: web}}, ingress: [{ports: [{port: http}]}]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: pods}
rules: [{apiGroups: [""], resources: [pods], verbs: [get]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: all}
rules: [{apiGroups: ["", networking.k8s.io], resources: [pods, networkpolicies], verbs: [get, list]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {namespace: shop, name: half}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: pods}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: half}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {namespace: shop, name: reader}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: all}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: reader}]
`

// guardOfCluster is a policy of the cluster, in the older version.
const guardOfCluster = `apiVersion: policy.networking.k8s.io/v1alpha2
kind: ClusterNetworkPolicy
metadata: {name: guard}
spec:
  tier: Admin
  priority: 10
  subject: {namespaces: {matchLabels: {kubernetes.io/metadata.name: shop}}}
  egress: [{name: no metadata, action: Deny, to: [{networks: [169.254.169.254/32]}]}]
`

// defineClusterPolicies gives a cluster the definition of ClusterNetworkPolicies, and one of them.
func defineClusterPolicies(t *testing.T, c *cluster.Cluster) {
	t.Helper()
	clusterpolicy.Define(t, c, clusterpolicy.Standard)
	c.Kubectl(t, guardOfCluster, "apply", "-f", "-")
}

func kubeconfigOf(t *testing.T, c *cluster.Cluster, user *rest.Config) string {
	t.Helper()
	path, err := c.WriteKubeconfig(user)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// A user hears what he may read, from rights in one namespace alone, and which right is missing.
func TestStatusPolicy(t *testing.T) {
	t.Parallel()
	c := cluster.Start(t, cluster.Options{})
	c.Kubectl(t, guarded, "apply", "-f", "-")
	reader, half, nobody := kubeconfigOf(t, c, c.User("reader")), kubeconfigOf(t, c, c.User("half")), kubeconfigOf(t, c, c.User("nobody"))
	for _, test := range []struct {
		user string
		args []string
		want said
	}{
		{reader, []string{"shop/web"}, said{Out: "pod shop/web, node n1\n" +
			"Ingress: isolated. Only what these policies allow reaches the pod:\n" +
			"  web  from anybody, at the TCP port named http (8080)\n" +
			"Egress: not isolated. The pod may call everybody.\n" +
			"Not known: the pod has no address yet, which policies with networks may be about.\n"}},
		{reader, []string{"gone", "-n", "shop"}, said{Code: 2, Err: "fairway: there is no pod shop/gone\n"}},
		{half, []string{"shop/web"}, said{Code: 2, Err: "fairway: you need the permission to list networkpolicies.networking.k8s.io in namespace shop\n"}},
		{nobody, []string{"shop/web"}, said{Code: 2, Err: "fairway: you need the permission to get pods in namespace shop\n"}},
	} {
		if got := ran(t, "", append([]string{"status", "policy", "--kubeconfig", test.user}, test.args...)...); got != test.want {
			t.Errorf("%v: %+v, want %+v", test.args, got, test.want)
		}
	}
	defineClusterPolicies(t, c)
	const unknown = "Not known: which ClusterNetworkPolicies select the pod: you need the permission to list clusternetworkpolicies.policy.networking.k8s.io in all namespaces.\n"
	if got := ran(t, "", "status", "policy", "shop/web", "--kubeconfig", reader); got.Code != 0 || !strings.HasSuffix(got.Out, unknown) {
		t.Errorf("without the right to list ClusterNetworkPolicies: %+v", got)
	}
	if got := ran(t, "", "status", "policy", "web", "-n", "shop", "-o", "json", "--kubeconfig", reader); got.Code != 0 || !strings.HasPrefix(got.Out, "{\n  \"version\": 1,\n") {
		t.Errorf("in JSON: %+v", got)
	}
}

func TestStatusPolicyUsage(t *testing.T) {
	for _, test := range []struct {
		args []string
		err  string
	}{
		{nil, "give one pod, not 0"},
		{[]string{"web"}, `say in which namespace pod "web" is: NAMESPACE/POD`},
		{[]string{"shop/web", "-n", "pay"}, `the pod is in namespace "shop" or "pay": leave one out`},
		{[]string{"a/b/c"}, `"a/b/c" is not NAMESPACE/POD`},
		{[]string{"/web"}, `"/web" is not NAMESPACE/POD`},
		{[]string{"shop/web", "-o", "yaml"}, `--output: "yaml" is neither text nor json`},
	} {
		want := said{Code: 2, Err: "fairway: " + test.err + "\nSee 'fairway status policy --help'.\n"}
		if got := ran(t, "", append([]string{"status", "policy"}, test.args...)...); got != want {
			t.Errorf("%v: %+v, want %+v", test.args, got, want)
		}
	}
	if got := ran(t, "", "status", "polcy"); got.Code != 2 || !strings.Contains(got.Err, `unknown command "polcy" for "fairway status"`) {
		t.Errorf("a misspelt word: %+v", got)
	}
}
