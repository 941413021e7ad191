package chart

import (
	"os/exec"
	"slices"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/fairwaynet/fairway/test/tools"
)

// "kubectl apply -k config" makes the objects of the chart's defaults, and the Namespace, which the
// chart cannot make.
func TestConfigIsTheChartsDefaults(t *testing.T) {
	text, err := exec.CommandContext(t.Context(), tools.Path(t, "kubectl"), "kustomize", "../../config").Output()
	if err != nil {
		t.Fatal(err)
	}
	key := func(object *unstructured.Unstructured) string {
		return object.GetKind() + " " + object.GetNamespace() + "/" + object.GetName()
	}
	normal := func(all objects) objects {
		all = slices.DeleteFunc(all, func(object *unstructured.Unstructured) bool {
			return object.GetKind() == "Namespace" || object.GetKind() == "Pod" // the pod of "helm test"
		})
		slices.SortFunc(all, func(a, b *unstructured.Unstructured) int {
			if key(a) < key(b) {
				return -1
			}
			return 1
		})
		for _, object := range all {
			labels := object.GetLabels()
			delete(labels, "app.kubernetes.io/managed-by")
			delete(labels, "helm.sh/chart")
			object.SetLabels(labels)
			annotations := object.GetAnnotations()
			delete(annotations, "helm.sh/resource-policy")
			object.SetAnnotations(annotations)
			if args, ok := field(object, "spec.template.spec.containers.0.args").([]any); ok {
				slices.SortFunc(args[1:], func(a, b any) int {
					if a.(string) < b.(string) {
						return -1
					}
					return 1
				})
			}
		}
		return all
	}
	want, got := normal(release{}.render(t)), normal(parse(t, string(text)))
	for _, object := range want {
		if got.find(object.GetKind(), object.GetName()) == nil {
			t.Errorf("config has no %s", key(object))
		}
	}
	for _, object := range got {
		if want.find(object.GetKind(), object.GetName()) == nil {
			t.Errorf("the chart has no %s", key(object))
		}
	}
	if !t.Failed() {
		compare(t, "config beside the chart", want, got)
	}
}
