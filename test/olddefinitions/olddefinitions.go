// Package olddefinitions makes the CustomResourceDefinitions of a version that never was:
// one with fewer kinds and fields than this. It is for tests of upgrades.
package olddefinitions

import (
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/fairwaynet/fairway/config/crd"
)

// Without returns the manifests of this version without a field, such as
// "Issuer.spec.controller" (empty: with all), and without the kinds that are left out. A
// field that does not exist fails the test.
func Without(t testing.TB, field string, leftOut ...string) []string {
	t.Helper()
	all, err := crd.Manifests()
	if err != nil {
		t.Fatal(err)
	}
	var texts []string
	found := field == ""
	for _, manifest := range all {
		var definition map[string]any
		if err := yaml.Unmarshal(manifest, &definition); err != nil {
			t.Fatal(err)
		}
		spec := definition["spec"].(map[string]any)
		kind := spec["names"].(map[string]any)["kind"].(string)
		if slices.Contains(leftOut, kind) {
			continue
		}
		if of, path, _ := strings.Cut(field, "."); of == kind {
			at := spec["versions"].([]any)[0].(map[string]any)["schema"].(map[string]any)["openAPIV3Schema"].(map[string]any)
			names := strings.Split(path, ".")
			for _, name := range names[:len(names)-1] {
				at = at["properties"].(map[string]any)[name].(map[string]any)
			}
			fields, last := at["properties"].(map[string]any), names[len(names)-1]
			found = fields[last] != nil
			delete(fields, last)
		}
		text, err := yaml.Marshal(definition)
		if err != nil {
			t.Fatal(err)
		}
		texts = append(texts, string(text))
	}
	if !found {
		t.Fatalf("there is no field %s", field)
	}
	return texts
}

// Manifest is Without as one text for kubectl.
func Manifest(t testing.TB, field string, leftOut ...string) string {
	t.Helper()
	return strings.Join(Without(t, field, leftOut...), "---\n")
}
