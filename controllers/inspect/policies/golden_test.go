package policies_test

import (
	"encoding/json"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/fairwaynet/fairway/controllers/inspect/policies"
	"github.com/fairwaynet/fairway/controllers/inspect/snapshot"
	"github.com/fairwaynet/fairway/controllers/objects/index"
	"github.com/fairwaynet/fairway/test/golden"
)

// readerOf reads a cluster that holds the manifests.
func readerOf(t *testing.T, manifests string) snapshot.Reader {
	t.Helper()
	scheme, err := index.Scheme()
	if err != nil {
		t.Fatal(err)
	}
	return snapshot.Reader{Reader: fake.NewClientBuilder().WithScheme(scheme).WithObjects(golden.Objects(t, scheme, manifests)...).Build()}
}

// TestGolden: a case is a sentence, the objects that there are, and what is said of each of the pods
// of namespace shop that it names.
func TestGolden(t *testing.T) {
	golden.Run(t, "testdata", func(t *testing.T, files []txtar.File) []txtar.File {
		reader := readerOf(t, string(files[0].Data))
		got := files[:2:2]
		for _, name := range strings.Fields(string(files[1].Data)) {
			pod, err := policies.OfPod(t.Context(), reader, types.NamespacedName{Namespace: "shop", Name: name})
			if err != nil {
				t.Fatal(err)
			}
			asJSON, err := json.MarshalIndent(pod, "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, txtar.File{Name: name + ".text", Data: []byte(pod.Text())}, txtar.File{Name: name + ".json", Data: append(asJSON, '\n')})
		}
		return got
	})
}
