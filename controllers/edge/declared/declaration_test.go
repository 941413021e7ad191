package declared

import (
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/fairwaynet/fairway/api/problem"
)

func TestReasonsAreDocumented(t *testing.T) {
	page, err := os.ReadFile("../../../docs/problems.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, reason := range []problem.Reason{
		ReasonConfigMapNotFound, ReasonManifestInvalid, ReasonManifestRefused, ReasonObjectNotOurs, ReasonKindNotInstalled, ReasonOwnerNotFound,
	} {
		if !strings.Contains(string(page), "\n### "+string(reason)+"\n") {
			t.Errorf("docs/problems.md has no heading for %s", reason)
		}
	}
}

var configMap = types.NamespacedName{Namespace: "fairway-system", Name: "fairway-declared"}

func of(data map[string]string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: configMap.Namespace, Name: configMap.Name}, Data: data}
}

const head = "apiVersion: fairway.dev/v1alpha1\n"

func issuer(name string) string { return head + "kind: Issuer\nmetadata: {name: " + name + "}\n" }

// Each case is a ConfigMap. An object is wanted if it can be applied, and named if
// an object that was made earlier stays.
func TestParse(t *testing.T) {
	for _, test := range []struct {
		name       string
		data       map[string]string
		owner      string // or the word "unreadable"
		wanted     string
		named      string // besides
		unreadable bool
		wrong      map[string]string // part of the message, by entry
	}{
		{name: "nothing"},
		{
			name: "both kinds, and an owner",
			data: map[string]string{
				"owner":        "ClusterRole/fairway-controller-cluster\n",
				"a.yaml":       issuer("letsencrypt"),
				"default.yaml": head + "kind: ClusterGatewayConfig\nmetadata: {name: default, labels: {a: b}, annotations: {c: d}}\nspec: {httpPort: 8080}",
			},
			owner: "fairway-controller-cluster", wanted: "ClusterGatewayConfig default, Issuer letsencrypt",
		},
		{name: "an empty owner", data: map[string]string{"owner": "\n"}},
		{name: "comments around the manifest", data: map[string]string{"a.yaml": "# made by Helm\n---\n" + issuer("a") + "---\n# the end\n"}, wanted: "Issuer a"},
		{
			name: "another owner", data: map[string]string{"owner": "Deployment/fairway", "a.yaml": issuer("a")},
			owner: "unreadable", wanted: "Issuer a", wrong: map[string]string{"owner": `the owner is "Deployment/fairway"; write ClusterRole/NAME`},
		},
		{name: "an owner without a name", data: map[string]string{"owner": "ClusterRole/"}, owner: "unreadable", wrong: map[string]string{"owner": "write ClusterRole/NAME"}},
		{
			name: "one bad of three", data: map[string]string{"a.yaml": issuer("a"), "b.yaml": "kind: [", "c.yaml": issuer("c")},
			wanted: "Issuer a, Issuer c", unreadable: true, wrong: map[string]string{"b.yaml": "it is no YAML: "},
		},
		{name: "no map", data: map[string]string{"a.yaml": "- a"}, unreadable: true, wrong: map[string]string{"a.yaml": "it is no manifest"}},
		{name: "empty", data: map[string]string{"a.yaml": "# nothing"}, unreadable: true, wrong: map[string]string{"a.yaml": "it holds 0 manifests"}},
		{name: "two in one", data: map[string]string{"a.yaml": issuer("a") + "---\n" + issuer("b")}, unreadable: true, wrong: map[string]string{"a.yaml": "it holds 2 manifests"}},
		{name: "a key twice", data: map[string]string{"a.yaml": issuer("a") + "kind: Issuer"}, unreadable: true, wrong: map[string]string{"a.yaml": `key "kind" already set in map`}},
		{name: "no kind", data: map[string]string{"a.yaml": "metadata: {name: a}"}, unreadable: true, wrong: map[string]string{"a.yaml": "no kind"}},
		{name: "no name", data: map[string]string{"a.yaml": head + "kind: Issuer"}, unreadable: true, wrong: map[string]string{"a.yaml": "no metadata.name"}},
		{
			name: "another kind", data: map[string]string{"a.yaml": "apiVersion: v1\nkind: Secret\nmetadata: {name: a}"},
			wrong: map[string]string{"a.yaml": "it is a manifest of kind Secret; only an Issuer, a ClusterGatewayConfig or an AddressPool can be declared here"},
		},
		{
			name: "another version", data: map[string]string{"a.yaml": "apiVersion: fairway.dev/v9\nkind: Issuer\nmetadata: {name: a}"},
			named: "Issuer a", wrong: map[string]string{"a.yaml": `the apiVersion is "fairway.dev/v9", not "fairway.dev/v1alpha1"`},
		},
		{name: "no name of an object", data: map[string]string{"a.yaml": issuer("A_b")}, named: "Issuer A_b", wrong: map[string]string{"a.yaml": `metadata.name "A_b" cannot be`}},
		{
			name: "a namespace", data: map[string]string{"a.yaml": head + "kind: Issuer\nmetadata: {name: a, namespace: shop}"},
			named: "Issuer a", wrong: map[string]string{"a.yaml": "objects of its kind are in no namespace"},
		},
		{
			name: "metadata of the API server's", data: map[string]string{"a.yaml": head + "kind: Issuer\nmetadata: {name: a, ownerReferences: []}"},
			named: "Issuer a", wrong: map[string]string{"a.yaml": "metadata.ownerReferences cannot be declared"},
		},
		{
			name: "a label that is no text", data: map[string]string{"a.yaml": head + "kind: Issuer\nmetadata: {name: a, labels: {a: 1}}"},
			named: "Issuer a", wrong: map[string]string{"a.yaml": "metadata.labels has a value that is no string"},
		},
		{
			name: "one object twice", data: map[string]string{"a.yaml": issuer("x"), "b.yaml": issuer("x")},
			wanted: "Issuer x", wrong: map[string]string{"b.yaml": "an entry before it declares Issuer x, too"},
		},
		{name: "another ending", data: map[string]string{"a.yml": issuer("a")}, wrong: map[string]string{"a.yml": `nor does it end in ".yaml"`}},
	} {
		t.Run(test.name, func(t *testing.T) {
			d := Parse(of(test.data))
			got := d.Owner
			if d.NoOwner {
				got = "unreadable"
			}
			if got != test.owner {
				t.Errorf("owner %q, want %q", got, test.owner)
			}
			if got := list(maps.Keys(d.Objects)); got != test.wanted {
				t.Errorf("wanted %s, want %s", got, test.wanted)
			}
			for key := range d.Objects {
				delete(d.Named, key)
			}
			if got := list(maps.Keys(d.Named)); got != test.named || d.Unreadable != test.unreadable {
				t.Errorf("named %s, unreadable %t, want %s, %t", got, d.Unreadable, test.named, test.unreadable)
			}
			expectProblems(t, d.Problems, test.wrong)
		})
	}
}

func list(keys func(func(Key) bool)) string {
	var names []string
	for key := range keys {
		names = append(names, key.String())
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

// expectProblems checks the message of each entry's Problem.
func expectProblems(t *testing.T, got []problem.Problem, want map[string]string) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("problems %v, want %v", got, want)
	}
	for _, p := range got {
		entry := strings.TrimSuffix(strings.TrimPrefix(p.Field, "data["), "]")
		if part, ok := want[entry]; !ok || !strings.Contains(p.Message, part) {
			t.Errorf("%s: %q, want %q in it", entry, p.Message, part)
		}
		if p.Object != (problem.Object{Kind: "ConfigMap", Name: configMap}) || p.Reason != ReasonManifestInvalid {
			t.Errorf("%s has the problem %s", p.Object, p.Reason)
		}
	}
}

// The status is others'. Numbers keep their kind: the API server tells them apart.
func TestWhatIsApplied(t *testing.T) {
	text := head + "kind: Issuer\nmetadata: {name: a, labels: {team: shop}}\nspec: {email: a@shop.test, count: 3}\nstatus: {account: x}\n"
	manifest := Parse(of(map[string]string{"a.yaml": text})).Objects[Key{"Issuer", "a"}]
	owner := &metav1.OwnerReference{APIVersion: "rbac.authorization.k8s.io/v1", Kind: "ClusterRole", Name: "fairway", UID: "7"}
	got := manifest.object(configMap, owner, nil).Object
	want := map[string]any{
		"apiVersion": "fairway.dev/v1alpha1", "kind": "Issuer",
		"metadata": map[string]any{
			"name": "a", "resourceVersion": "1",
			"labels":      map[string]any{"team": "shop", Label: "fairway-system.fairway-declared"},
			"annotations": map[string]any{Label: "fairway-system/fairway-declared"},
			"ownerReferences": []any{map[string]any{
				"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "name": "fairway", "uid": "7",
			}},
		},
		"spec": map[string]any{"email": "a@shop.test", "count": int64(3)},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("applied (-want +got):\n%s", diff)
	}
	if manifest.object(configMap, nil, nil); len(manifest.Content["metadata"].(map[string]any)["labels"].(map[string]any)) != 1 {
		t.Error("the manifest itself has changed")
	}
}
