package chart

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/fairwaynet/fairway/test/cluster"
)

// change is a patch of a Node, and a part of what the one who makes it hears; "" is that it is
// allowed.
type change struct {
	name, node string
	kind       types.PatchType // by default strategic
	part       string          // a subresource
	patch      string
	refused    string
}

// ownNode are changes by the agent of the node "one".
var ownNode = []change{
	{name: "its annotation", patch: `{"metadata": {"annotations": {"fairway.dev/network": "a"}}}`},
	{name: "its annotation again", kind: types.MergePatchType, patch: `{"metadata": {"annotations": {"fairway.dev/network": "b"}}}`},
	{name: "its annotation by server-side apply", kind: types.ApplyPatchType, patch: `{"apiVersion": "v1", "kind": "Node", "metadata": {"annotations": {"fairway.dev/more": "c"}}}`},
	{name: "its annotation by a list of operations", kind: types.JSONPatchType, patch: `[{"op": "add", "path": "/metadata/annotations/fairway.dev~1network", "value": "d"}]`},
	{name: "its annotation removed", kind: types.MergePatchType, patch: `{"metadata": {"annotations": {"fairway.dev/network": null}}}`},
	{name: "nothing", patch: `{}`},
	{name: "the network's condition", part: "status", patch: `{"status": {"conditions": [{"type": "NetworkUnavailable", "status": "False", "reason": "FairwayIsUp"}]}}`},
	{name: "the network's condition again", part: "status", patch: `{"status": {"conditions": [{"type": "NetworkUnavailable", "status": "True", "reason": "FairwayIsDown"}]}}`},
	{name: "the network's condition and its annotation", part: "status", patch: `{"metadata": {"annotations": {"fairway.dev/network": "e"}}, "status": {"conditions": [{"type": "NetworkUnavailable", "status": "False"}]}}`},

	{name: "a new annotation of others", patch: `{"metadata": {"annotations": {"example.com/a": "b"}}}`, refused: "begin with fairway.dev/"},
	{name: "an annotation that only looks like one of ours", patch: `{"metadata": {"annotations": {"fairway.device/a": "b"}}}`, refused: "begin with fairway.dev/"},
	{name: "an annotation of others changed", patch: `{"metadata": {"annotations": {"example.com/kept": "b"}}}`, refused: "begin with fairway.dev/"},
	{name: "an annotation of others removed", kind: types.MergePatchType, patch: `{"metadata": {"annotations": {"example.com/kept": null}}}`, refused: "begin with fairway.dev/"},
	{name: "all annotations removed", kind: types.MergePatchType, patch: `{"metadata": {"annotations": null}}`, refused: "begin with fairway.dev/"},
	{name: "a label", patch: `{"metadata": {"labels": {"fairway.dev/a": "b"}}}`, refused: "changes no labels"},
	{name: "a label changed", patch: `{"metadata": {"labels": {"zone": "b"}}}`, refused: "changes no labels"},
	{name: "all labels removed", kind: types.MergePatchType, patch: `{"metadata": {"labels": null}}`, refused: "changes no labels"},
	{name: "a label beside its annotation", patch: `{"metadata": {"labels": {"a": "b"}, "annotations": {"fairway.dev/network": "f"}}}`, refused: "changes no labels"},
	{name: "a finalizer", patch: `{"metadata": {"finalizers": ["fairway.dev/node"]}}`, refused: "nothing else of its metadata"},
	{name: "an owner", patch: `{"metadata": {"ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": "two", "uid": "1"}]}}`, refused: "nothing else of its metadata"},
	{name: "a taint", patch: `{"spec": {"taints": [{"key": "a", "effect": "NoExecute"}]}}`, refused: "changes no taints"},
	{name: "its taint removed", kind: types.MergePatchType, patch: `{"spec": {"taints": null}}`, refused: "changes no taints"},
	{name: "cordoned", patch: `{"spec": {"unschedulable": true}}`, refused: "changes no taints"},
	{name: "its range of pods", patch: `{"spec": {"podCIDR": "10.0.0.0/24", "podCIDRs": ["10.0.0.0/24"]}}`, refused: "changes no taints"},
	{name: "the kubelet's condition", part: "status", patch: `{"status": {"conditions": [{"type": "Ready", "status": "False"}]}}`, refused: "only the condition NetworkUnavailable"},
	{name: "a new condition", part: "status", patch: `{"status": {"conditions": [{"type": "Fairway", "status": "True"}]}}`, refused: "only the condition NetworkUnavailable"},
	{name: "the kubelet's condition removed", part: "status", patch: `{"status": {"conditions": [{"type": "Ready", "$patch": "delete"}]}}`, refused: "only the condition NetworkUnavailable"},
	{name: "its capacity", part: "status", patch: `{"status": {"capacity": {"cpu": "100"}}}`, refused: "nothing of its Node's status but a condition"},
	{name: "its addresses", part: "status", patch: `{"status": {"addresses": [{"type": "InternalIP", "address": "192.0.2.9"}]}}`, refused: "nothing of its Node's status but a condition"},
	{name: "its addresses removed", part: "status", kind: types.MergePatchType, patch: `{"status": {"addresses": null}}`, refused: "nothing of its Node's status but a condition"},
	{name: "its kernel", part: "status", patch: `{"status": {"nodeInfo": {"kernelVersion": "7"}}}`, refused: "nothing of its Node's status but a condition"},
	{name: "a label by way of the status", part: "status", patch: `{"metadata": {"labels": {"a": "b"}}}`, refused: "changes no labels"},
	{name: "an annotation of others by way of the status", part: "status", patch: `{"metadata": {"annotations": {"a": "b"}}}`, refused: "begin with fairway.dev/"},

	{name: "another's annotation", node: "two", patch: `{"metadata": {"annotations": {"fairway.dev/network": "a"}}}`, refused: "only the Node of its pod: one, not two"},
	{name: "another's condition", node: "two", part: "status", patch: `{"status": {"conditions": [{"type": "NetworkUnavailable", "status": "True"}]}}`, refused: "only the Node of its pod: one, not two"},
}

// A ValidatingAdmissionPolicy holds each agent to its own Node, and there to what is Fairway's. The
// tokens are those that kubelets ask for.
func TestAnAgentChangesOnlyWhatIsItsOwn(t *testing.T) {
	n := startNodes(t, network(""))
	agent := n.agent(t, "one")
	n.awaitPolicy(t, agent)
	for _, c := range ownNode {
		t.Run(c.name, func(t *testing.T) { n.try(t, agent, c) })
	}
	t.Run("the node of its own pod", func(t *testing.T) {
		n.try(t, n.agent(t, "two"), change{node: "two", patch: `{"metadata": {"annotations": {"fairway.dev/network": "a"}}}`})
	})
	t.Run("without a pod", func(t *testing.T) {
		n.try(t, n.token(t, nil), change{patch: `{"metadata": {"annotations": {"fairway.dev/network": "a"}}}`, refused: "the token belongs to no pod of a node"})
	})
	t.Run("others are not held", func(t *testing.T) {
		kubelet := n.user(t, n.cluster.User("system:node:one", "system:nodes"))
		for _, c := range ownNode {
			if c.refused == "" || c.kind == types.JSONPatchType || strings.Contains(c.patch, "ownerReferences") { // a new owner has to exist
				continue
			}
			c.refused = ""
			n.try(t, kubelet, c)
			n.try(t, n.admin, c)
		}
	})
	t.Run("with another account", func(t *testing.T) {
		n.cluster.Kubectl(t, render(t, network(`serviceAccount: {name: net}, namespace: fairway-system`)), "apply", "--server-side", "-f", "-")
		c := change{patch: `{"metadata": {"annotations": {"fairway.dev/network": "g"}}}`, refused: "the token belongs to no pod of a node"}
		n.namespace, n.account = "fairway-system", "net"
		n.awaitPolicy(t, n.agent(t, "one"))
		n.try(t, n.token(t, nil), c)
	})
}

// otherNode are changes by the agent of the node "one" where Fairway gives nodes their ranges. Each
// range is given once.
var otherNode = []change{
	{name: "another's range", node: "two", kind: types.MergePatchType, patch: `{"spec": {"podCIDR": "10.0.2.0/24", "podCIDRs": ["10.0.2.0/24", "fd00:0:0:2::/64"]}}`},
	{name: "another's range that is there", node: "two", kind: types.MergePatchType, patch: `{"spec": {"podCIDR": "10.0.3.0/24", "podCIDRs": ["10.0.3.0/24"]}}`, refused: "may not change podCIDR"},
	{name: "another's range removed", node: "two", kind: types.MergePatchType, patch: `{"spec": {"podCIDR": null, "podCIDRs": null}}`, refused: "may not change podCIDR"},
	{name: "another's taint beside its range", node: "three", kind: types.MergePatchType, patch: `{"spec": {"podCIDR": "10.0.3.0/24", "podCIDRs": ["10.0.3.0/24"], "taints": null}}`, refused: "nothing else of its spec but a range"},
	{name: "another cordoned beside its range", node: "three", kind: types.MergePatchType, patch: `{"spec": {"podCIDR": "10.0.3.0/24", "podCIDRs": ["10.0.3.0/24"], "unschedulable": true}}`, refused: "nothing else of its spec but a range"},
	{name: "another's annotation beside its range", node: "three", kind: types.MergePatchType, patch: `{"metadata": {"annotations": {"fairway.dev/network": "a"}}, "spec": {"podCIDR": "10.0.3.0/24", "podCIDRs": ["10.0.3.0/24"]}}`, refused: "gives others a range of pods"},
	{name: "another's label beside its range", node: "three", kind: types.MergePatchType, patch: `{"metadata": {"labels": {"a": "b"}}, "spec": {"podCIDR": "10.0.3.0/24", "podCIDRs": ["10.0.3.0/24"]}}`, refused: "changes no labels"},
	{name: "another's condition", node: "three", part: "status", patch: `{"status": {"conditions": [{"type": "NetworkUnavailable", "status": "True"}]}}`, refused: "only the Node of its pod"},
	{name: "its own range beside its annotation", kind: types.MergePatchType, patch: `{"metadata": {"annotations": {"fairway.dev/network": "z"}}, "spec": {"podCIDR": "10.0.1.0/24", "podCIDRs": ["10.0.1.0/24"]}}`},
}

// Where Fairway gives nodes their ranges, an agent may set the range of any Node that has none, and
// still nothing else; and it may write two Leases.
func TestAnAgentGivesOthersOnlyARange(t *testing.T) {
	n := startNodes(t, network(""))
	agent := n.agent(t, "one")
	n.awaitPolicy(t, agent)
	lease := func(name string) error {
		_, err := agent.CoordinationV1().Leases("kube-system").Get(t.Context(), name, metav1.GetOptions{})
		return err
	}
	if err := lease("fairway-node"); !apierrors.IsForbidden(err) {
		t.Errorf("an agent that gives no ranges reads Leases: %v", err)
	}
	n.try(t, agent, change{name: "a range", node: "two", patch: otherNode[0].patch, refused: "only the Node of its pod: one, not two"})

	n.cluster.Kubectl(t, render(t, network("allocatePodCIDRs: true")), "apply", "--server-side", "-f", "-")
	if _, err := n.admin.CoreV1().Nodes().Create(t.Context(), large("three"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	n.awaitPolicyThat(t, agent, "gives others a range of pods")
	for _, c := range slices.Concat(ownNode, otherNode) {
		if c.name != "its range of pods" {
			t.Run(c.name, func(t *testing.T) { n.try(t, agent, c) })
		}
	}
	t.Run("without a pod", func(t *testing.T) {
		n.try(t, n.token(t, nil), change{node: "three", patch: `{"spec": {"podCIDR": "10.0.3.0/24", "podCIDRs": ["10.0.3.0/24"]}}`, refused: "the token belongs to no pod of a node"})
	})
	for name, allowed := range map[string]bool{"fairway-node": true, "fairway-node-ranges": true, "fairway-controller": false} {
		if err := lease(name); apierrors.IsForbidden(err) == allowed {
			t.Errorf("an agent reads Lease %s: %v", name, err)
		}
	}
	made := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: "fairway-node"}}
	if _, err := agent.CoordinationV1().Leases("kube-system").Create(t.Context(), made, metav1.CreateOptions{}); err != nil {
		t.Error(err)
	}
}

// nodes is a cluster with two nodes, as large as nodes become, and the chart with a network.
type nodes struct {
	cluster            *cluster.Cluster
	admin              kubernetes.Interface
	namespace, account string
}

func startNodes(t *testing.T, values string) *nodes {
	t.Helper()
	c := cluster.Start(t, cluster.Options{})
	n := &nodes{cluster: c, namespace: "kube-system", account: "fairway-node"}
	n.admin = n.user(t, c.Config)
	c.Kubectl(t, "{apiVersion: v1, kind: Namespace, metadata: {name: fairway-system}}", "apply", "-f", "-")
	c.Kubectl(t, render(t, values), "apply", "--server-side", "-f", "-")
	for _, name := range []string{"one", "two"} {
		if _, err := n.admin.CoreV1().Nodes().Create(t.Context(), large(name), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "kubelets"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "system:node"},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "Group", Name: "system:nodes"}},
	}
	if _, err := n.admin.RbacV1().ClusterRoleBindings().Create(t.Context(), binding, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	return n
}

// render is what "helm template" prints.
func render(t *testing.T, values string) string {
	t.Helper()
	text, err := release{values: values}.try(t)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// large is a Node with as much in it as one finds: what the policy's expressions may cost is limited.
func large(name string) *corev1.Node {
	node := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"zone": "a"}, Annotations: map[string]string{"example.com/kept": "a"}},
		Spec:       corev1.NodeSpec{Taints: []corev1.Taint{{Key: "dedicated", Effect: corev1.TaintEffectNoSchedule}}},
		Status: corev1.NodeStatus{
			Addresses:  []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "192.0.2.1"}, {Type: corev1.NodeHostName, Address: name}},
			Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue, LastHeartbeatTime: metav1.Now()}},
			NodeInfo:   corev1.NodeSystemInfo{KernelVersion: "6.12", BootID: "b"},
		},
	}
	for i := range 50 {
		long := fmt.Sprintf("%d-%s", i, strings.Repeat("x", 60))
		node.Labels["example.com/"+long[:60]] = long[:60]
		node.Annotations["example.com/"+long[:60]] = strings.Repeat("y", 2000)
		node.Status.Images = append(node.Status.Images, corev1.ContainerImage{Names: []string{"r.test/" + long, "r.test/" + long + "@sha256:" + strings.Repeat("0", 64)}, SizeBytes: 1})
		node.Status.Conditions = append(node.Status.Conditions, corev1.NodeCondition{Type: corev1.NodeConditionType("Own" + fmt.Sprint(i)), Status: corev1.ConditionFalse, Message: long})
	}
	return node
}

func (n *nodes) user(t *testing.T, config *rest.Config) kubernetes.Interface {
	t.Helper()
	set, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// agent is the client of the agent of a node: it makes the pod that the DaemonSet would.
func (n *nodes) agent(t *testing.T, node string) kubernetes.Interface {
	t.Helper()
	daemons, err := n.admin.AppsV1().DaemonSets(n.namespace).Get(t.Context(), "fairway-node", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "agent-" + node, Labels: daemons.Spec.Template.Labels}, Spec: daemons.Spec.Template.Spec}
	pod.Spec.NodeName = node
	pods := n.admin.CoreV1().Pods(n.namespace)
	made, err := pods.Create(t.Context(), pod, metav1.CreateOptions{})
	if err != nil {
		if made, err = pods.Get(t.Context(), pod.Name, metav1.GetOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	if made.Spec.ServiceAccountName != n.account {
		t.Fatalf("the agent is %s, want %s", made.Spec.ServiceAccountName, n.account)
	}
	return n.token(t, &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: made.Name, UID: made.UID})
}

// token is the client of the agents' account, whose token belongs to a pod or to none.
func (n *nodes) token(t *testing.T, pod *authenticationv1.BoundObjectReference) kubernetes.Interface {
	t.Helper()
	asked := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{BoundObjectRef: pod}}
	given, err := n.admin.CoreV1().ServiceAccounts(n.namespace).CreateToken(t.Context(), n.account, asked, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	config := rest.AnonymousClientConfig(n.cluster.Config)
	config.QPS, config.BearerToken = -1, given.Status.Token
	return n.user(t, config)
}

// awaitPolicy returns when the API server has heard of the policy: when the agent of the node "one" may
// not change "two" any more.
func (n *nodes) awaitPolicy(t *testing.T, agent kubernetes.Interface) {
	t.Helper()
	n.awaitPolicyThat(t, agent, "only the Node of its pod")
}

// awaitPolicyThat is awaitPolicy for one that says some words.
func (n *nodes) awaitPolicyThat(t *testing.T, agent kubernetes.Interface, says string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for try := 0; ; try++ { // a change that changes nothing is allowed
		err := n.apply(t.Context(), agent, change{node: "two", patch: fmt.Sprintf(`{"metadata": {"annotations": {"fairway.dev/await": "%d"}}}`, try)})
		if err != nil && strings.Contains(err.Error(), says) {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("the policy does not begin to hold: %v", err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// try makes a change and compares what happens with what should.
func (n *nodes) try(t *testing.T, by kubernetes.Interface, c change) {
	t.Helper()
	err := n.apply(t.Context(), by, c)
	switch {
	case err == nil && c.refused != "":
		t.Errorf("%s: %s is allowed", c.name, c.patch)
	case err != nil && c.refused == "":
		t.Errorf("%s: %s is refused: %v", c.name, c.patch, err)
	case err != nil && !strings.Contains(err.Error(), c.refused):
		t.Errorf("%s: the error does not say %q: %v", c.name, c.refused, err)
	}
}

// apply makes a change.
func (n *nodes) apply(ctx context.Context, by kubernetes.Interface, c change) error {
	kind, name, options := or(string(c.kind), string(types.StrategicMergePatchType)), or(c.node, "one"), metav1.PatchOptions{}
	if c.kind == types.ApplyPatchType {
		options.FieldManager = "fairway"
	}
	var parts []string
	if c.part != "" {
		parts = append(parts, c.part)
	}
	_, err := by.CoreV1().Nodes().Patch(ctx, name, types.PatchType(kind), []byte(c.patch), options, parts...)
	return err
}

// Pod Security's "privileged" admits the agents, and nothing less does: docs/install.md says it.
func testAgentsNeedPrivileged(t *testing.T, i installer) {
	agents := release{helm: i.program, values: network("")}.render(t).must(t, "DaemonSet", "fairway-node")
	content, err := json.Marshal(field(agents, "spec.template.spec"))
	if err != nil {
		t.Fatal(err)
	}
	var spec corev1.PodSpec
	if err := json.Unmarshal(content, &spec); err != nil {
		t.Fatal(err)
	}
	for _, level := range []string{"privileged", "baseline"} {
		i.namespace(t, level, "pod-security.kubernetes.io/enforce: "+level)
		pod, err := json.Marshal(&corev1.Pod{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"}, ObjectMeta: metav1.ObjectMeta{Name: "agent", Namespace: level}, Spec: spec})
		if err != nil {
			t.Fatal(err)
		}
		_, err = i.TryKubectl(string(pod), "apply", "--dry-run=server", "-f", "-")
		if level == "privileged" && err != nil {
			t.Error(err)
		}
		for _, reason := range []string{"host namespaces", "hostPath volumes", "non-default capabilities"} {
			if level == "baseline" && (err == nil || !strings.Contains(err.Error(), reason)) {
				t.Errorf("baseline does not name %s: %v", reason, err)
			}
		}
	}
	capabilities := spec.Containers[0].SecurityContext.Capabilities
	if !slices.Equal(capabilities.Add, []corev1.Capability{"NET_ADMIN"}) || !slices.Equal(capabilities.Drop, []corev1.Capability{"ALL"}) {
		t.Errorf("the agents have the capabilities %v", capabilities)
	}
}

// An agent says that its own node lives, and makes no node but its own the one that answers for
// an address; what else is in Leases it leaves alone.
func TestAnAgentTakesAddressesForItsOwnNode(t *testing.T) {
	n := startNodes(t, network("services: {enabled: true}")+"\nloadBalancer: {enabled: true}")
	agent := n.agent(t, "one").CoordinationV1().Leases("kube-system")
	admin := n.admin.CoordinationV1().Leases("kube-system")
	const name = "fairway-address-192.0.2.1"
	record := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{
		Name: name, Labels: map[string]string{"fairway.dev/lease": "address"},
		Annotations: map[string]string{"fairway.dev/address": "192.0.2.1", "fairway.dev/services": `["shop/web"]`},
	}}
	if _, err := admin.Create(t.Context(), record, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	held := func(holder string) func(*coordinationv1.Lease) {
		return func(l *coordinationv1.Lease) {
			if l.Spec.HolderIdentity = nil; holder != "" {
				l.Spec.HolderIdentity = &holder
			}
		}
	}
	annotated := func(key, text string) func(*coordinationv1.Lease) {
		return func(l *coordinationv1.Lease) { l.Annotations[key] = text }
	}
	for _, c := range []struct {
		what   string
		before string // who holds it
		change func(*coordinationv1.Lease)
		ok     bool
	}{
		{"takes what nobody has", "", held("one"), true},
		{"takes what another has", "two", held("one"), true},
		{"gives up its own", "one", held(""), true},
		{"says what it has found", "one", annotated("fairway.dev/proved", "true"), true},
		{"says who answers", "one", annotated("fairway.dev/answered-by", "02:00:00:00:00:01"), true},
		{"makes another the holder", "one", held("two"), false},
		{"gives up another's", "two", held(""), false},
		{"changes whose it is", "one", annotated("fairway.dev/services", `["evil/web"]`), false},
		{"adds an annotation", "one", annotated("example.com/a", "b"), false},
		{"removes an annotation", "one", func(l *coordinationv1.Lease) { delete(l.Annotations, "fairway.dev/services") }, false},
		{"changes the kind", "one", func(l *coordinationv1.Lease) { l.Labels["fairway.dev/lease"] = "announcer" }, false},
	} {
		now, err := admin.Get(t.Context(), name, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		now.Labels, now.Annotations = record.Labels, map[string]string{"fairway.dev/address": "192.0.2.1", "fairway.dev/services": `["shop/web"]`}
		held(c.before)(now)
		if now, err = admin.Update(t.Context(), now, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		c.change(now)
		// The policy counts a moment after it was made.
		deadline := time.Now().Add(10 * time.Second)
		for {
			_, err = agent.Update(t.Context(), now, metav1.UpdateOptions{DryRun: []string{metav1.DryRunAll}})
			if (err == nil) == c.ok || time.Now().After(deadline) {
				break
			}
			time.Sleep(50 * time.Millisecond) //nolint:forbidigo // it polls
		}
		if (err == nil) != c.ok || (err != nil && !strings.Contains(err.Error(), "an agent of Fairway writes")) {
			t.Errorf("an agent %s: %v", c.what, err)
		}
	}
	for _, c := range []struct {
		name, holder string
		ok           bool
	}{
		{"fairway-announcer-one", "one", true}, {"fairway-announcer-two", "two", false}, {"fairway-announcer-one", "two", false},
		{"fairway-address-192.0.2.2", "one", false}, {"fairway-controller", "one", false}, {"fairway-node", "one", true},
	} {
		lease := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: c.name}}
		held(c.holder)(lease)
		if _, err := agent.Create(t.Context(), lease, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}}); (err == nil) != c.ok {
			t.Errorf("an agent makes %s of %s: %v", c.name, c.holder, err)
		}
	}
	if err := agent.Delete(t.Context(), name, metav1.DeleteOptions{DryRun: []string{metav1.DryRunAll}}); err == nil {
		t.Error("an agent deletes the record of an address")
	}
}
