package chart

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
	"sigs.k8s.io/yaml"

	"github.com/fairwaynet/fairway/test/golden"
)

// A golden case is a sentence, the values, which objects are of interest, and these objects as they
// are rendered, without the labels that all have:
//
//	-- values.yaml --
//	-- show --       one "Kind name" a line
//	-- out.yaml --
func TestGolden(t *testing.T) {
	const folder = "testdata/golden"
	paths, err := filepath.Glob(folder + "/*.txtar")
	if err != nil || len(paths) < 8 {
		t.Fatalf("%d golden cases, %v", len(paths), err)
	}
	golden.Run(t, folder, func(t *testing.T, files []txtar.File) []txtar.File {
		if len(files) < 2 || files[0].Name != "values.yaml" || files[1].Name != "show" {
			t.Fatal("a case begins with values.yaml and show")
		}
		values, show := string(files[0].Data), string(files[1].Data)
		var outs []string
		for _, program := range helms {
			all := release{helm: program, values: values}.render(t)
			var shown []string
			for _, line := range strings.Split(strings.TrimSpace(show), "\n") {
				kind, name, _ := strings.Cut(line, " ")
				object := all.must(t, kind, name)
				labels := object.GetLabels()
				for _, common := range []string{"app.kubernetes.io/name", "app.kubernetes.io/instance", "app.kubernetes.io/managed-by", "app.kubernetes.io/component", "helm.sh/chart"} {
					delete(labels, common)
				}
				object.SetLabels(labels)
				text, err := yaml.Marshal(object.Object)
				if err != nil {
					t.Fatal(err)
				}
				shown = append(shown, string(text))
			}
			outs = append(outs, strings.Join(shown, "---\n"))
		}
		if outs[0] != outs[1] {
			t.Errorf("the Helms differ:\n%s", cmp.Diff(outs[0], outs[1]))
		}
		return append(files[:2:2], txtar.File{Name: "out.yaml", Data: []byte(outs[0])})
	})
}
