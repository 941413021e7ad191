package chart

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/fairwaynet/fairway/test/tools"
)

// folder is the chart.
const folder = "../../charts/fairway"

// helms are the programs of both major versions.
var helms = []string{"helm3", "helm4"}

// release is a call of "helm template". The zero value is the release fairway in
// fairway-system with default values.
type release struct {
	helm            string // by default helm3
	name, namespace string
	values          string // YAML
	args            []string
}

// render returns the objects of a release, and fails the test if it is refused.
func (r release) render(t testing.TB) objects {
	t.Helper()
	text, err := r.try(t)
	if err != nil {
		t.Fatal(err)
	}
	return parse(t, text)
}

// try returns what Helm prints.
func (r release) try(t testing.TB) (string, error) {
	t.Helper()
	args := []string{"template", or(r.name, "fairway"), folder, "--namespace", or(r.namespace, "fairway-system")}
	if r.values != "" {
		path := filepath.Join(t.TempDir(), "values.yaml")
		if err := os.WriteFile(path, []byte(r.values), 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, "--values", path)
	}
	return helm(t, or(r.helm, "helm3"), append(args, r.args...)...)
}

// helm runs Helm without the settings of whoever runs the tests. Helm ends before it needs to collect
// garbage, which would cost a third of its time.
func helm(t testing.TB, program string, args ...string) (string, error) {
	t.Helper()
	home := t.TempDir()
	cmd := exec.CommandContext(t.Context(), tools.Path(t, program), args...)
	cmd.Env = []string{"HOME=" + home, "PATH=/nonexistent", "HELM_CACHE_HOME=" + home, "KUBECONFIG=/nonexistent", "GOGC=off", "GOMEMLIMIT=400MiB"}
	var out, problems bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &problems
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s %s: %w: %s", program, strings.Join(args, " "), err, problems.String())
	}
	return out.String(), nil
}

func or(value, otherwise string) string {
	if value == "" {
		return otherwise
	}
	return value
}

// objects are rendered objects.
type objects []*unstructured.Unstructured

func parse(t testing.TB, text string) objects {
	t.Helper()
	var all objects
	for _, document := range strings.Split("\n"+text, "\n---") {
		object := map[string]any{}
		if err := yaml.Unmarshal([]byte(document), &object); err != nil {
			t.Fatalf("%v in:\n%s", err, document)
		}
		if len(object) > 0 {
			all = append(all, &unstructured.Unstructured{Object: object})
		}
	}
	return all
}

// find returns the object of a kind and name, or nil.
func (o objects) find(kind, name string) *unstructured.Unstructured {
	for _, object := range o {
		if object.GetKind() == kind && object.GetName() == name {
			return object
		}
	}
	return nil
}

// must is find for an object that has to be there.
func (o objects) must(t testing.TB, kind, name string) *unstructured.Unstructured {
	t.Helper()
	object := o.find(kind, name)
	if object == nil {
		t.Fatalf("no %s %s among %s", kind, name, o)
	}
	return object
}

func (o objects) String() string {
	var names []string
	for _, object := range o {
		names = append(names, object.GetKind()+" "+object.GetName())
	}
	return strings.Join(names, ", ")
}

// field returns a field by its path, such as "spec.replicas", or nil. A number in the path
// is an index.
func field(object *unstructured.Unstructured, path string) any {
	var at any = object.Object
	for _, name := range strings.Split(path, ".") {
		switch here := at.(type) {
		case map[string]any:
			at = here[name]
		case []any:
			var index int
			if _, err := fmt.Sscan(name, &index); err != nil || index >= len(here) {
				return nil
			}
			at = here[index]
		default:
			return nil
		}
	}
	return at
}

// pods are the objects that run pods, with their pod's template.
func (o objects) pods() map[*unstructured.Unstructured]map[string]any {
	found := map[*unstructured.Unstructured]map[string]any{}
	for _, object := range o {
		if object.GetKind() == "Pod" {
			found[object] = object.Object
		} else if template, ok := field(object, "spec.template").(map[string]any); ok {
			found[object] = template
		}
	}
	return found
}
