package chart

import (
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
	"sigs.k8s.io/yaml"
)

var update = flag.Bool("update", false, "write the golden files anew")

// A golden case is a sentence, the values, which objects are of interest, and these objects as they
// are rendered, without the labels that all have:
//
//	-- values.yaml --
//	-- show --       one "Kind name" a line
//	-- out.yaml --
func TestGolden(t *testing.T) {
	paths, err := filepath.Glob("testdata/golden/*.txtar")
	if err != nil || len(paths) < 8 {
		t.Fatalf("%d golden cases, %v", len(paths), err)
	}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(path)
			if err != nil {
				t.Fatal(err)
			}
			files := map[string]int{}
			for i, file := range archive.Files {
				files[file.Name] = i
			}
			content := func(name string) string {
				i, ok := files[name]
				if !ok {
					t.Fatalf("there is no %s", name)
				}
				return string(archive.Files[i].Data)
			}
			var outs []string
			for _, program := range helms {
				all := release{helm: program, values: content("values.yaml")}.render(t)
				var shown []string
				for _, line := range strings.Split(strings.TrimSpace(content("show")), "\n") {
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
			if *update {
				i, ok := files["out.yaml"]
				if !ok {
					i = len(archive.Files)
					archive.Files = append(archive.Files, txtar.File{Name: "out.yaml"})
				}
				archive.Files[i].Data = []byte(outs[0])
				if err := os.WriteFile(path, txtar.Format(archive), 0o600); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(content("out.yaml"), outs[0]); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	if slices.Contains(os.Args, "-update") {
		t.Log("golden files are written")
	}
}
