package overview_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/fairwaynet/fairway/api/problem"
	"github.com/fairwaynet/fairway/controllers/inspect/overview"
	"github.com/fairwaynet/fairway/controllers/inspect/snapshot"
	"github.com/fairwaynet/fairway/controllers/objects/index"
	"github.com/fairwaynet/fairway/test/golden"
)

// now is the moment of every case.
var now = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// TestGolden: a case is a sentence, the objects that there are, and what is said
// of them.
func TestGolden(t *testing.T) {
	golden.Run(t, "testdata", func(t *testing.T, files []txtar.File) []txtar.File {
		seen := look(t, string(files[0].Data))
		asJSON, err := json.MarshalIndent(seen, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		return []txtar.File{
			files[0],
			{Name: "text", Data: []byte(seen.Text())},
			{Name: "json", Data: append(asJSON, '\n')},
		}
	})
}

// look is the overview of a cluster that holds the manifests.
func look(t *testing.T, manifests string) *overview.Overview {
	t.Helper()
	scheme, err := index.Scheme()
	if err != nil {
		t.Fatal(err)
	}
	reader := snapshot.Reader{Reader: clusterOf(scheme, golden.Objects(t, scheme, manifests)...).Build()}
	seen, err := overview.Of(t.Context(), reader, overview.Choice{}, now)
	if err != nil {
		t.Fatal(err)
	}
	return seen
}

// clusterOf is a cluster that can select events, as the API server does.
func clusterOf(scheme *runtime.Scheme, objects ...client.Object) *fake.ClientBuilder {
	by := func(of func(*corev1.Event) string) client.IndexerFunc {
		return func(o client.Object) []string { return []string{of(o.(*corev1.Event))} }
	}
	return fake.NewClientBuilder().WithScheme(scheme).WithObjects(objects...).
		WithIndex(&corev1.Event{}, "type", by(func(e *corev1.Event) string { return e.Type })).
		WithIndex(&corev1.Event{}, "source", by(func(e *corev1.Event) string { return e.Source.Component }))
}

// What only the controllers can find is in their Leases, for as long as they are
// alive.
func TestProblemsOfControllers(t *testing.T) {
	lease := func(identity, renewed string) string {
		return `
apiVersion: coordination.k8s.io/v1
kind: Lease
metadata:
  namespace: fairway-system
  name: fairway-controller-` + identity + `
  labels: {fairway.dev/replica: "true"}
  annotations:
    fairway.dev/watermark: "1"
    fairway.dev/held-up: "[]"
    fairway.dev/gateways: "{}"
    fairway.dev/problems: |
      [{"kind": "ConfigMap", "namespace": "fairway-system", "name": "declared", "field": "data[a.yaml]", "reason": "ManifestRefused", "message": "` + identity + `"}]
spec: {holderIdentity: ` + identity + `, leaseDurationSeconds: 15, renewTime: "` + renewed + `"}
`
	}
	seen := look(t, lease("alive", "2026-11-23T11:59:57.000000Z")+"\n---\n"+lease("dead", "2026-11-23T11:00:00.000000Z"))
	want := []problem.Problem{{
		Object: problem.Object{Kind: "ConfigMap", Name: types.NamespacedName{Namespace: "fairway-system", Name: "declared"}},
		Field:  "data[a.yaml]", Reason: "ManifestRefused", Message: "alive",
	}}
	if diff := cmp.Diff(want, seen.Problems); diff != "" || seen.Healthy() {
		t.Errorf("healthy: %t (-want +got):\n%s", seen.Healthy(), diff)
	}
}
