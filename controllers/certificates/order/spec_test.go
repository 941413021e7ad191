package order

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/fairwaynet/fairway/api/problem"
	"github.com/fairwaynet/fairway/controllers/objects/index"
	"github.com/fairwaynet/fairway/controllers/objects/secretstore"
	"github.com/fairwaynet/fairway/test/golden"
	"github.com/fairwaynet/fairway/test/indexed"
)

// TestSpecs: a case is a sentence, the objects that exist, and what is to be
// ordered for them, whatever the objects' order.
func TestSpecs(t *testing.T) {
	golden.Run(t, "testdata", func(t *testing.T, files []txtar.File) []txtar.File {
		objects := decode(t, string(files[0].Data))
		wanted := wishes(t, objects)
		slices.Reverse(objects)
		if diff := gocmp.Diff(wanted, wishes(t, objects)); diff != "" {
			t.Errorf("in another order of the objects (-got +other):\n%s", diff)
		}
		return append(files[:1:1], wanted...)
	})
}

func decode(t *testing.T, manifests string) []client.Object {
	t.Helper()
	scheme, err := index.Scheme()
	if err != nil {
		t.Fatal(err)
	}
	return golden.Objects(t, scheme, manifests)
}

// clusterOf is what index and secrets read.
func clusterOf(t *testing.T, objects []client.Object) client.WithWatch {
	t.Helper()
	scheme, err := index.Scheme()
	if err != nil {
		t.Fatal(err)
	}
	builder := fake.NewClientBuilder().WithScheme(scheme)
	indexed.Register(t, builder)
	for _, object := range objects {
		builder.WithObjects(object.DeepCopyObject().(client.Object))
	}
	return builder.Build()
}

// wishes returns the Spec of every Secret that an Ingress names.
func wishes(t *testing.T, objects []client.Object) []txtar.File {
	t.Helper()
	cluster := clusterOf(t, objects)
	from := index.Objects{Cluster: cluster}
	keys := map[Key]bool{}
	for _, object := range objects {
		if ing, ok := runtime.Object(object).(*networkingv1.Ingress); ok {
			for _, key := range secretsOf(ing) {
				keys[key] = true
			}
		}
	}
	var out strings.Builder
	var problems []problem.Problem
	for _, key := range slices.SortedFunc(maps.Keys(keys), func(a, b Key) int { return cmp.Compare(a.String(), b.String()) }) {
		gathered, err := gather(t.Context(), from, key)
		if err != nil {
			t.Fatal(err)
		}
		have, err := certificateSecrets{from, secretstore.Cluster{Live: cluster}}.read(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		gathered.Foreign, gathered.MadeBy = have.foreign, have.madeBy
		spec, wrong := Wanted(key, gathered)
		problems = append(problems, wrong...)
		if spec == nil {
			fmt.Fprintf(&out, "%s: nothing\n", key)
			continue
		}
		fmt.Fprintf(&out, "%s: from %s for %s, asked by %v\n", key, spec.Issuer, strings.Join(spec.Names, " "), spec.Ingresses)
		if spec.Blocked != "" {
			fmt.Fprintf(&out, "  blocked: %s\n", spec.Blocked)
		}
	}
	var told strings.Builder
	for _, p := range problem.Sort(problems) {
		fmt.Fprintln(&told, p)
	}
	return []txtar.File{{Name: "wishes", Data: []byte(out.String())}, {Name: "problems", Data: []byte(told.String())}}
}
