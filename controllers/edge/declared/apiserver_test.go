package declared

import (
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairwaynet/fairway/api/v1alpha1"
	"github.com/fairwaynet/fairway/controllers/objects/index"
	"github.com/fairwaynet/fairway/test/cluster"
)

// Two controllers may both find that an object does not exist. The API server lets
// one of them make it. Nor does it let one change an object that has changed since
// it was found.
func TestOnlyWhatWasFoundIsWritten(t *testing.T) {
	c := cluster.Start(t, cluster.Options{})
	c.Kubectl(t, "", "apply", "-k", "../../../config/crd")
	c.Kubectl(t, "", "wait", "--for=condition=Established", "--timeout="+time.Minute.String(), "crd/issuers.fairway.dev")
	scheme, err := index.Scheme()
	if err != nil {
		t.Fatal(err)
	}
	server, err := client.New(c.Config, client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	text := head + "kind: Issuer\nmetadata: {name: a}\nspec: {directory: \"https://ca.test/directory\"}\n"
	manifest := Parse(of(map[string]string{"a.yaml": text})).Objects[Key{"Issuer", "a"}]
	other := types.NamespacedName{Namespace: "other", Name: "declared"}
	write := func(from types.NamespacedName, found client.Object) (client.Object, error) {
		object := manifest.object(from, nil, found)
		err := server.Apply(t.Context(), client.ApplyConfigurationFromUnstructured(object), client.FieldOwner(fieldOwner), client.ForceOwnership)
		return object, err
	}
	made, err := write(configMap, nil)
	if err != nil || made.GetUID() == "" || made.GetResourceVersion() == nowhere {
		t.Fatalf("the first: %v, made with UID %q and version %s", err, made.GetUID(), made.GetResourceVersion())
	}
	if _, err := write(other, nil); !apierrors.IsConflict(err) {
		t.Errorf("the second: %v, want a conflict", err)
	}
	c.Kubectl(t, "", "label", "issuer", "a", "changed=yes")
	if _, err := write(configMap, made); !apierrors.IsConflict(err) {
		t.Errorf("over a change that was not seen: %v, want a conflict", err)
	}
	found := &v1alpha1.Issuer{}
	if err := server.Get(t.Context(), client.ObjectKey{Name: "a"}, found); err != nil {
		t.Fatal(err)
	}
	if found.Labels[Label] != Mark(configMap) {
		t.Errorf("labels %v, want those of the first", found.Labels)
	}
	if _, err := write(configMap, found); err != nil {
		t.Errorf("over what was found: %v", err)
	}
	if _, err := write(configMap, &v1alpha1.Issuer{ObjectMeta: found.ObjectMeta}); err != nil {
		t.Errorf("the same again: %v", err) // it changed nothing, so the version is the same
	}
	if err := server.Delete(t.Context(), found); err != nil {
		t.Fatal(err)
	}
}
