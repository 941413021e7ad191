package node

import (
	"net/netip"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/fairwaynet/fairway/api/podnetwork"
	"github.com/fairwaynet/fairway/api/problem"
	"github.com/fairwaynet/fairway/cni/ipam"
)

// A status is written at once, and again when it differs and enough time has passed: more,
// the more nodes there are.
func TestTheStatusIsWrittenRarely(t *testing.T) {
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1", Annotations: map[string]string{"example.com/other": "stays"}}}
	cluster := fake.NewClientBuilder().WithObjects(node).Build()
	now := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	s := newStatusWriter("n1", cluster, func() time.Time { return now }, logr.Discard())
	usage := func(used uint64) []ipam.Usage {
		return []ipam.Usage{{Range: netip.MustParsePrefix("10.244.1.0/24"), Used: used, Size: 255}}
	}
	written := func(when string, used uint64, problems ...string) {
		t.Helper()
		if err := s.write(t.Context()); err != nil {
			t.Fatal(err)
		}
		var is corev1.Node
		if err := cluster.Get(t.Context(), types.NamespacedName{Name: "n1"}, &is); err != nil {
			t.Fatal(err)
		}
		status, _, err := podnetwork.ReadStatus(is.Annotations)
		if err != nil || len(status.Ranges) != 1 || status.Ranges[0].Used != used || status.Version != "v1" || is.Annotations["example.com/other"] == "" {
			t.Errorf("%s the Node has %v, %v; want %d used", when, is.Annotations, err, used)
		}
		told := status.Problems
		for _, p := range status.PeerProblems {
			told = append(told, p.Node+": "+p.Message)
		}
		if diff := cmp.Diff(problems, told); diff != "" {
			t.Errorf("%s (-want +got):\n%s", when, diff)
		}
	}
	s.describe(podnetwork.Status{Version: "v1", Peers: podnetwork.Peers{Link: 10}})
	s.passed(usage(1), nil)
	written("at first", 1)
	s.passed(usage(100), nil)
	written("at once", 1)
	now = now.Add(leastPause)
	written("after half a minute", 100)
	now = now.Add(time.Hour)
	s.passed(usage(101), nil)
	written("with a pod more", 100)
	problems := []problem.Problem{
		{Object: problem.Object{Kind: "Node", Name: types.NamespacedName{Name: "n0"}}, Message: "far"},
		{Object: problem.Object{Kind: "Node", Name: types.NamespacedName{Name: "n1"}}, Message: "near"},
	}
	s.passed(usage(101), problems)
	written("with problems", 101, "near", "n0: far")

	s.describe(podnetwork.Status{Version: "v1", Peers: podnetwork.Peers{Link: 10, Overlay: 4980, Unreached: 10}})
	s.passed(usage(200), problems)
	now = now.Add(8 * time.Minute)
	written("of 5,000 nodes", 101, "near", "n0: far")
	now = now.Add(time.Minute)
	written("of 5,000 nodes, later", 200, "near", "n0: far")
}

func TestANodeThatIsNotRegisteredYet(t *testing.T) {
	cluster := fake.NewClientBuilder().Build()
	s := newStatusWriter("n1", cluster, time.Now, logr.Discard())
	s.passed(nil, nil)
	if err := s.write(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := cluster.Create(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}}); err != nil {
		t.Fatal(err)
	}
	if err := s.write(t.Context()); err != nil {
		t.Fatal(err)
	}
	var is corev1.Node
	if err := cluster.Get(t.Context(), types.NamespacedName{Name: "n1"}, &is); err != nil || is.Annotations[podnetwork.StatusAnnotation] == "" {
		t.Errorf("once it is, it has %v, %v", is.Annotations, err)
	}
}
