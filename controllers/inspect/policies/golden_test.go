package policies_test

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/fairwaynet/fairway/controllers/inspect/policies"
	"github.com/fairwaynet/fairway/controllers/inspect/snapshot"
	"github.com/fairwaynet/fairway/controllers/objects/index"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// readerOf reads a cluster that holds the manifests.
func readerOf(t *testing.T, manifests string) snapshot.Reader {
	t.Helper()
	scheme, err := index.Scheme()
	if err != nil {
		t.Fatal(err)
	}
	decoder := serializer.NewCodecFactory(scheme).UniversalDeserializer()
	var objects []client.Object
	for text := range strings.SplitSeq(manifests, "---\n") {
		decoded, _, err := decoder.Decode([]byte(text), nil, nil)
		if err != nil {
			t.Fatalf("%v in:\n%s", err, text)
		}
		objects = append(objects, decoded.(client.Object))
	}
	return snapshot.Reader{Reader: fake.NewClientBuilder().WithScheme(scheme).WithObjects(objects...).Build()}
}

// TestGolden: a case is a sentence, the objects that there are, and what is said of each of the pods
// of namespace shop that it names.
func TestGolden(t *testing.T) {
	cases, err := filepath.Glob("testdata/*.txtar")
	if err != nil || cases == nil {
		t.Fatalf("no cases: %v", err)
	}
	for _, path := range cases {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(path)
			if err != nil {
				t.Fatal(err)
			}
			reader := readerOf(t, string(archive.Files[0].Data))
			got := archive.Files[:2:2]
			for _, name := range strings.Fields(string(archive.Files[1].Data)) {
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
			if *update {
				archive.Files = got
				if err := os.WriteFile(path, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(archive.Files, got); diff != "" {
				t.Errorf("run with -update if this is meant (-want +got):\n%s", diff)
			}
		})
	}
}
