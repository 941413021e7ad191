package oci

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/fairwaynet/fairway/images/rootfs"
)

// example makes an image with one file of that content.
func example(t *testing.T, layers Layers, architecture, content string) Image {
	t.Helper()
	image, err := layers.Image(Config{
		Architecture: architecture, Entrypoint: []string{"/run"}, User: "7:8", Created: time.Unix(1e9, 0),
		Labels: map[string]string{"org.opencontainers.image.title": "Example"},
	}, Layer{Comment: "below", Files: rootfs.Tree{"/etc/a": rootfs.Text("a")}}, Layer{Comment: "above", Files: rootfs.Tree{"/run": rootfs.Text(content)}})
	if err != nil {
		t.Fatal(err)
	}
	return image
}

// written is the content of a folder, or of a file, by path.
func written(t *testing.T, folder string) map[string]string {
	t.Helper()
	found := map[string]string{}
	err := filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		name, _ := filepath.Rel(folder, path)
		found[name] = string(content)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// unpacked is the content of a tar file.
func unpacked(t *testing.T, content []byte) map[string][]byte {
	t.Helper()
	found := map[string][]byte{}
	for files := tar.NewReader(bytes.NewReader(content)); ; {
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

func TestAnArchiveHoldsTheImage(t *testing.T) {
	names := []string{"example.test/one:1", "example.test/two:1"}
	to := filepath.Join(t.TempDir(), "image.tar")
	if err := example(t, Layers{}, "arm64", "hello").WriteArchive(to, names...); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(to)
	if err != nil {
		t.Fatal(err)
	}
	parts := unpacked(t, content)
	var manifest []struct {
		Config           string
		RepoTags, Layers []string
	}
	if err := json.Unmarshal(parts["manifest.json"], &manifest); err != nil {
		t.Fatal(err)
	}
	slices.Sort(manifest[0].RepoTags)
	if len(manifest) != 1 || !slices.Equal(manifest[0].RepoTags, names) || len(manifest[0].Layers) != 2 {
		t.Fatalf("manifest %s", parts["manifest.json"])
	}
	if above := unpacked(t, parts[manifest[0].Layers[1]]); string(above["run"]) != "hello" {
		t.Errorf("the upper layer holds %q, want run with hello", above)
	}
	var config struct {
		Architecture, OS, Created string
		Config                    struct {
			Entrypoint []string
			User       string
			Labels     map[string]string
		}
	}
	if err := json.Unmarshal(parts[manifest[0].Config], &config); err != nil {
		t.Fatal(err)
	}
	if config.Architecture != "arm64" || config.OS != "linux" || config.Created != "2001-09-09T01:46:40Z" ||
		config.Config.User != "7:8" || !slices.Equal(config.Config.Entrypoint, []string{"/run"}) ||
		config.Config.Labels["org.opencontainers.image.title"] != "Example" {
		t.Errorf("config %s", parts[manifest[0].Config])
	}
}

func TestEqualImagesAreEqualFiles(t *testing.T) {
	var layouts, archives []map[string]string
	for range 2 {
		layers, folder := Layers{Folder: t.TempDir()}, t.TempDir()
		image := example(t, layers, "amd64", "hello")
		if err := image.WriteArchive(filepath.Join(folder, "image.tar"), "example.test/one:1"); err != nil {
			t.Fatal(err)
		}
		archives = append(archives, written(t, folder))
		index, err := NewIndex("v1", map[string]string{"a": "b"}, image, example(t, layers, "arm64", "hello"))
		if err != nil {
			t.Fatal(err)
		}
		if err := index.WriteLayout(filepath.Join(folder, "layout")); err != nil {
			t.Fatal(err)
		}
		layouts = append(layouts, written(t, filepath.Join(folder, "layout")))
	}
	if diff := cmp.Diff(layouts[0], layouts[1]); diff != "" {
		t.Errorf("the layouts differ:\n%s", diff)
	}
	if diff := cmp.Diff(archives[0], archives[1]); diff != "" {
		t.Errorf("the archives differ:\n%s", diff)
	}
}

func TestCompressionChangesNoIdentity(t *testing.T) {
	plain, err := example(t, Layers{}, "amd64", "hello").ID()
	if err != nil {
		t.Fatal(err)
	}
	packed, err := example(t, Layers{Folder: t.TempDir()}, "amd64", "hello").ID()
	if err != nil {
		t.Fatal(err)
	}
	if plain != packed {
		t.Errorf("the image is %s without compression and %s with it", plain, packed)
	}
}

func TestALayoutIsReadAsItWasWritten(t *testing.T) {
	index, err := NewIndex("v1+x", nil, example(t, Layers{}, "amd64", "hello"))
	if err != nil {
		t.Fatal(err)
	}
	folder := filepath.Join(t.TempDir(), "layout")
	if err := index.WriteLayout(folder); err != nil {
		t.Fatal(err)
	}
	again, err := ReadLayout(folder)
	if err != nil {
		t.Fatal(err)
	}
	want, _ := index.Digest()
	if got, err := again.Digest(); err != nil || got != want || again.Version != "v1+x" {
		t.Errorf("ReadLayout = %s %s, %v, want v1+x %s", again.Version, got, err, want)
	}
	if _, err := ReadLayout(t.TempDir()); err == nil {
		t.Error("ReadLayout accepts an empty folder")
	}
}

func TestLayersThatNobodyUsesAreForgotten(t *testing.T) {
	layers := Layers{Folder: t.TempDir()}
	example(t, layers, "amd64", "old")
	if got := written(t, layers.Folder); len(got) != 2 {
		t.Fatalf("%d layers are kept, want 2", len(got))
	}
	long := time.Now().Add(-48 * time.Hour)
	for name := range written(t, layers.Folder) {
		if err := os.Chtimes(filepath.Join(layers.Folder, name), long, long); err != nil {
			t.Fatal(err)
		}
	}
	example(t, layers, "amd64", "new") // with the old lower layer
	if err := layers.Forget(time.Now().Add(-24 * time.Hour)); err != nil {
		t.Fatal(err)
	}
	if got := written(t, layers.Folder); len(got) != 2 {
		t.Errorf("%d layers are kept, want the 2 of the new image", len(got))
	}
}
