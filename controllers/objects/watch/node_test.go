package watch_test

import (
	"context"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairwaynet/fairway/api/nodelinks"
	"github.com/fairwaynet/fairway/controllers/objects/watch"
)

func node(edit func(*corev1.Node)) *corev1.Node {
	n := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{
			Name: "n1", UID: "u", ResourceVersion: "1", Labels: map[string]string{"a": "b"},
			Annotations: map[string]string{nodelinks.Annotation: "{}", "other": "text"},
		},
		Spec:   corev1.NodeSpec{Unschedulable: true, PodCIDRs: []string{"10.244.0.0/24"}, ProviderID: "p"},
		Status: corev1.NodeStatus{Images: []corev1.ContainerImage{{SizeBytes: 1}}},
	}
	if edit != nil {
		edit(n)
	}
	return n
}

// trim keeps the ranges of pods.
func trim(t *testing.T, n *corev1.Node) *corev1.Node {
	t.Helper()
	trimmed, err := watch.TrimNode(func(whole, trimmed *corev1.Node) { trimmed.Spec.PodCIDRs = whole.Spec.PodCIDRs })(n)
	if err != nil {
		t.Fatal(err)
	}
	return trimmed.(*corev1.Node)
}

func TestWhatIsKeptOfANode(t *testing.T) {
	want := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{
			Name: "n1", UID: "u", ResourceVersion: "1", Labels: map[string]string{"a": "b"},
			Annotations: map[string]string{nodelinks.Annotation: "{}"},
		},
		Spec: corev1.NodeSpec{Unschedulable: true, PodCIDRs: []string{"10.244.0.0/24"}},
	}
	if diff := cmp.Diff(want, trim(t, node(nil))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := trim(t, node(func(n *corev1.Node) { n.Annotations = nil })); got.Annotations != nil {
		t.Errorf("annotations from nowhere: %v", got.Annotations)
	}
}

func TestWhichUpdatesOfANodeChangeNothing(t *testing.T) {
	tests := []struct {
		name string
		edit func(*corev1.Node)
		want bool
	}{
		{"its version and its images", func(n *corev1.Node) { n.ResourceVersion, n.Status.Images = "2", nil }, true},
		{"another's annotation", func(n *corev1.Node) { n.Annotations["other"] = "changed" }, true},
		{"a label", func(n *corev1.Node) { n.Labels = nil }, false},
		{"its links", func(n *corev1.Node) { n.Annotations[nodelinks.Annotation] = "" }, false},
		{"it is cordoned no more", func(n *corev1.Node) { n.Spec.Unschedulable = false }, false},
		{"what is kept on top", func(n *corev1.Node) { n.Spec.PodCIDRs = nil }, false},
	}
	for _, test := range tests {
		if got := watch.IsSameNode(trim(t, node(nil)), trim(t, node(test.edit))); got != test.want {
			t.Errorf("%s: same is %v", test.name, got)
		}
	}
	if watch.IsSameNode(&corev1.Service{}, &corev1.Service{}) {
		t.Error("a Service is a Node")
	}
}

func TestWhatFailsAfterTheEndIsNoError(t *testing.T) {
	ctx, end := context.WithCancel(t.Context())
	failed := errors.New("failed")
	if err := watch.UnlessEnded(ctx, failed); !errors.Is(err, failed) {
		t.Errorf("before the end: %v", err)
	}
	end()
	if err := watch.UnlessEnded(ctx, failed); err != nil {
		t.Errorf("after it: %v", err)
	}
}
