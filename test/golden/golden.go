// Package golden runs tests whose cases are txtar files of a folder: what goes in, and what comes out of
// it. A test with the flag -update rewrites what comes out.
package golden

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// Run runs each case of a folder: answer returns all files of it, as they should be.
func Run(t *testing.T, folder string, answer func(t *testing.T, files []txtar.File) []txtar.File) {
	t.Helper()
	cases, err := filepath.Glob(filepath.Join(folder, "*.txtar"))
	if err != nil || cases == nil {
		t.Fatalf("no cases in %s: %v", folder, err)
	}
	for _, path := range cases {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(path)
			if err != nil {
				t.Fatal(err)
			}
			got := answer(t, archive.Files)
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

// Objects are those of manifests, each behind a line "---". A field that does not exist is an error.
func Objects(t *testing.T, scheme *runtime.Scheme, manifests string) []client.Object {
	t.Helper()
	decoder := serializer.NewCodecFactory(scheme, serializer.EnableStrict).UniversalDeserializer()
	var all []client.Object
	for _, text := range strings.Split("\n"+manifests, "\n---\n") {
		decoded, _, err := decoder.Decode([]byte(text), nil, nil)
		if err != nil {
			t.Fatalf("%v in:\n%s", err, text)
		}
		all = append(all, decoded.(client.Object))
	}
	return all
}
