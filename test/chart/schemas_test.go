package chart

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fairwaynet/fairway/test/tools"
)

// Every rendered object is what the schemas of Kubernetes allow, and has no other fields. The
// schemas come from the module of Kubernetes, so that no network is needed.
func TestObjectsFollowTheSchemasOfKubernetes(t *testing.T) {
	files := t.TempDir()
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(files, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, values := range map[string]string{
		"defaults.yaml":  "",
		"full.yaml":      withoutPrometheus,
		"daemonset.yaml": "gateway: {kind: DaemonSet, hostNetwork: true, service: {type: NodePort}}",
		"least.yaml":     "networkPolicy: {enabled: false}\nrbac: {create: false}\ngateway: {service: {enabled: false}}",
	} {
		text, err := release{values: values}.try(t)
		if err != nil {
			t.Fatal(err)
		}
		write(name, text)
	}
	// A check that cannot fail would be none.
	write("wrong.yaml", "apiVersion: v1\nkind: Service\nmetadata: {name: x}\nspec: {port: 80}\n")
	out, err := exec.CommandContext(t.Context(), tools.Path(t, "kubeconform"), "-strict", "-summary",
		"-schema-location", filepath.Join(writeSchemas(t), "{{.ResourceKind}}{{.KindSuffix}}.json"), files).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "wrong.yaml - Service x is invalid") || !strings.Contains(string(out), "5 files - Valid: ") ||
		!strings.Contains(string(out), "Invalid: 1, Errors: 0, Skipped: 0") {
		t.Errorf("want only wrong.yaml invalid: %v\n%s", err, out)
	}
}

// writeSchemas makes a schema of each kind from the OpenAPI document of Kubernetes.
func writeSchemas(t *testing.T) string {
	t.Helper()
	download := exec.CommandContext(t.Context(), "go", "mod", "download", "-json", "k8s.io/kubernetes")
	download.Dir = "../tools/kubernetes"
	download.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=-mod=mod")
	printed, err := download.Output()
	if err != nil {
		t.Fatal(err)
	}
	var module struct{ Dir string }
	if err := json.Unmarshal(printed, &module); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(filepath.Join(module.Dir, "api/openapi-spec/swagger.json"))
	if err != nil {
		t.Fatal(err)
	}
	var document struct{ Definitions map[string]map[string]any }
	if err := json.Unmarshal(content, &document); err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	write := func(name string, value any) {
		text, err := json.Marshal(value)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(folder, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, definition := range document.Definitions {
		if definition["format"] == "int-or-string" {
			definition["type"] = []string{"string", "integer"}
			delete(definition, "format")
		}
		if definition["properties"] != nil && definition["additionalProperties"] == nil {
			definition["additionalProperties"] = false
		}
	}
	write("definitions.json", map[string]any{"definitions": document.Definitions})
	for name, definition := range document.Definitions {
		kinds, _ := definition["x-kubernetes-group-version-kind"].([]any)
		if len(kinds) != 1 {
			continue
		}
		kind := kinds[0].(map[string]any)
		suffix := "-" + kind["version"].(string)
		if group := kind["group"].(string); group != "" {
			first, _, _ := strings.Cut(group, ".")
			suffix = "-" + first + suffix
		}
		write(strings.ToLower(kind["kind"].(string))+suffix+".json", map[string]any{"$ref": "definitions.json#/definitions/" + name})
	}
	return folder
}
