package image

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// contents reads an archive.
func contents(t *testing.T, archive io.Reader) map[string][]byte {
	t.Helper()
	found := map[string][]byte{}
	for files := tar.NewReader(archive); ; {
		header, err := files.Next()
		if errors.Is(err, io.EOF) {
			return found
		}
		if err != nil {
			t.Fatal(err)
		}
		if found[header.Name], err = io.ReadAll(files); err != nil {
			t.Fatal(err)
		}
	}
}

func write(t *testing.T, i Image) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "image.tar")
	if err := i.Write(path); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

func TestAnImageHoldsItsFiles(t *testing.T) {
	folder := t.TempDir()
	if err := os.MkdirAll(filepath.Join(folder, "sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(folder, "sub/a"), []byte("hello"), 0o640); err != nil {
		t.Fatal(err)
	}
	i := Image{
		Names: []string{"test/one:1", "test/two:1"}, Files: map[string]string{"/opt/x": folder},
		Entrypoint: []string{"/run"}, User: "7",
	}
	archive := write(t, i)
	parts := contents(t, bytes.NewReader(archive))
	var manifest []struct {
		Config           string
		RepoTags, Layers []string
	}
	if err := json.Unmarshal(parts["manifest.json"], &manifest); err != nil {
		t.Fatal(err)
	}
	if len(manifest) != 1 || !slices.Equal(manifest[0].RepoTags, i.Names) {
		t.Fatalf("manifest %s", parts["manifest.json"])
	}
	layer := contents(t, bytes.NewReader(parts[manifest[0].Layers[0]]))
	if string(layer["opt/x/sub/a"]) != "hello" {
		t.Errorf("the layer holds %d files and not opt/x/sub/a", len(layer))
	}
	if config := string(parts[manifest[0].Config]); !strings.Contains(config, `"Entrypoint":["/run"]`) || !strings.Contains(config, `"User":"7"`) {
		t.Errorf("config %s", config)
	}
	if !bytes.Equal(archive, write(t, i)) {
		t.Error("the same image is another file the second time")
	}
}

// Any program of this machine that is linked dynamically.
func TestAProgramBringsItsLibraries(t *testing.T) {
	files, err := Image{Programs: map[string]string{"/bin/sh": "/bin/sh"}}.files()
	if err != nil {
		t.Fatal(err)
	}
	var loader, libc bool
	for path := range files {
		loader = loader || strings.Contains(path, "/ld-linux")
		libc = libc || strings.HasSuffix(path, "/libc.so.6")
	}
	if !loader || !libc {
		t.Errorf("files %v: no loader or no libc", sorted(files))
	}
}
