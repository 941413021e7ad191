package overview_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/fairwaynet/fairway/api/podnetwork"
	"github.com/fairwaynet/fairway/controllers/inspect/overview"
	"github.com/fairwaynet/fairway/controllers/inspect/snapshot"
	"github.com/fairwaynet/fairway/controllers/objects/index"
)

// nodes are nodes with agents, two of a hundred of which are not as the others: one has no agent that is ready.
func nodes(count int) []client.Object {
	var all []client.Object
	for i := range count {
		name := fmt.Sprintf("n%03d", i)
		status := podnetwork.Status{
			Version: "v1", Mode: "auto", MTU: 1450, Peers: podnetwork.Peers{Link: count - 1},
			Ranges: []podnetwork.Usage{{Range: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 244, byte(i), 0}), 24), Used: 5, Size: 255}},
		}
		if i%50 == 49 {
			status.MTU = 8950
		}
		node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{
			podnetwork.FactsAnnotation: podnetwork.Facts{MTU: 1500}.Text(), podnetwork.StatusAnnotation: status.Text(),
		}}}
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
			Namespace: "kube-system", Name: "fairway-node-" + name,
			Labels: map[string]string{"app.kubernetes.io/name": "fairway", "app.kubernetes.io/component": "node"},
		}}
		pod.Spec.NodeName = name
		if i%100 != 70 {
			pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
		}
		all = append(all, node, pod)
	}
	return all
}

// overviewOf is the overview of a user who may not list a resource.
func overviewOf(t *testing.T, forbidden string, objects ...client.Object) *overview.Overview {
	t.Helper()
	scheme, err := index.Scheme()
	if err != nil {
		t.Fatal(err)
	}
	refuse := interceptor.Funcs{List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, options ...client.ListOption) error {
		if strings.HasSuffix(fmt.Sprintf("%T", list), "."+forbidden+"List") {
			return apierrors.NewForbidden(schema.GroupResource{Resource: forbidden}, "", errors.New("no"))
		}
		return c.List(ctx, list, options...)
	}}
	reader := clusterOf(scheme, objects...).WithInterceptorFuncs(refuse).Build()
	seen, err := overview.Of(t.Context(), snapshot.Reader{Reader: reader}, overview.Choice{}, now)
	if err != nil {
		t.Fatal(err)
	}
	return seen
}

// Of a large cluster only the nodes that are wrong have a line each.
func TestManyNodes(t *testing.T) {
	text := overviewOf(t, "nothing", nodes(200)...).Text()
	_, text, _ = strings.Cut(text, "\nNODE")
	want := `  AGENT      VERSION  ADDRESSES              MTU   PEERS
n070  not ready  v1       10.244.70.0/24 5/255   1450  199 by link, 0 by overlay
n170  not ready  v1       10.244.170.0/24 5/255  1450  199 by link, 0 by overlay
node n070: its agent is not ready
node n170: its agent is not ready
198 nodes without problems: version v1; MTU 1450 (194), 8950 (4)
`
	if text != want {
		t.Errorf("it says\n%s\nwant\n%s", text, want)
	}
}

// A user who may not read nodes or pods hears so in one line each, and gets the rest.
func TestNodesThatNobodyMayRead(t *testing.T) {
	for _, test := range []struct {
		forbidden, says string
		nodes           int
	}{
		{"Node", "unknown: the pod network of the nodes: you need the permission to list nodes in all namespaces\n", 0},
		{"Pod", "unknown: whether the agents of nodes run: you need the permission to list pods in all namespaces\n", 3},
	} {
		seen := overviewOf(t, test.forbidden, nodes(3)...)
		if text := seen.Text(); strings.Count(text, test.says) != 1 || len(seen.Nodes) != test.nodes {
			t.Errorf("without %s there are %d nodes, and it says\n%s", test.forbidden, len(seen.Nodes), text)
		}
	}
}

// A cluster that never had an agent has nothing to say of nodes.
func TestNodesWithoutANetwork(t *testing.T) {
	for _, forbidden := range []string{"nothing", "Pod"} {
		seen := overviewOf(t, forbidden, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}})
		if text := seen.Text(); len(seen.Nodes) > 0 || strings.Contains(text, "NODE") || strings.Contains(text, "agents") {
			t.Errorf("it says\n%s", text)
		}
	}
}
