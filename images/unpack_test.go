package images

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
)

// unpacked is an image that was written as an archive.
type unpacked struct {
	names  []string
	config struct {
		Architecture, OS, Created string
		Config                    struct {
			User       string
			Entrypoint []string
			Labels     map[string]string
		}
	}
	files   map[string]*tar.Header
	content map[string][]byte
}

// unpack reads an archive. A layer that changes a file of a lower one fails the test.
func unpack(t *testing.T, archive []byte) unpacked {
	t.Helper()
	_, parts := readTar(t, archive)
	var manifest []struct {
		Config           string
		RepoTags, Layers []string
	}
	if err := json.Unmarshal(parts["manifest.json"], &manifest); err != nil || len(manifest) != 1 {
		t.Fatalf("manifest %s: %v", parts["manifest.json"], err)
	}
	image := unpacked{names: manifest[0].RepoTags, files: map[string]*tar.Header{}, content: map[string][]byte{}}
	if err := json.Unmarshal(parts[manifest[0].Config], &image.config); err != nil {
		t.Fatal(err)
	}
	for _, name := range manifest[0].Layers {
		headers, content := readTar(t, plain(t, parts[name]))
		for path, header := range headers {
			if known, seen := image.files[path]; seen && (header.Typeflag != tar.TypeDir || known.Mode != header.Mode) {
				t.Errorf("%s is in two layers", path)
			}
			image.files[path], image.content[path] = header, content[path]
		}
	}
	return image
}

// plain is a layer without compression.
func plain(t *testing.T, layer []byte) []byte {
	t.Helper()
	unzipped, err := gzip.NewReader(bytes.NewReader(layer))
	if err != nil {
		return layer
	}
	content, err := io.ReadAll(unzipped)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

func readTar(t *testing.T, archive []byte) (map[string]*tar.Header, map[string][]byte) {
	t.Helper()
	headers, content := map[string]*tar.Header{}, map[string][]byte{}
	for files := tar.NewReader(bytes.NewReader(archive)); ; {
		header, err := files.Next()
		if errors.Is(err, io.EOF) {
			return headers, content
		}
		if err != nil {
			t.Fatal(err)
		}
		headers[header.Name] = header
		if content[header.Name], err = io.ReadAll(files); err != nil {
			t.Fatal(err)
		}
	}
}

// writeTo writes the image's files into a folder, as a runtime does.
func (u unpacked) writeTo(t *testing.T, folder string) {
	t.Helper()
	for name, header := range u.files {
		at := filepath.Join(folder, name)
		err := os.MkdirAll(filepath.Dir(at), 0o755)
		switch header.Typeflag {
		case tar.TypeDir:
			err = errors.Join(err, os.MkdirAll(at, 0o755), os.Chmod(at, header.FileInfo().Mode()))
		case tar.TypeSymlink:
			err = errors.Join(err, os.Symlink(header.Linkname, at))
		default:
			err = errors.Join(err, os.WriteFile(at, u.content[name], header.FileInfo().Mode()))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}
