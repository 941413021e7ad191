package oci

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// server is a registry. It counts uploads, and fails those after the first few if it
// is told to.
type server struct {
	address string
	uploads atomic.Int64
	// allowed is how many uploads succeed; 0: all.
	allowed atomic.Int64
}

func serve(t *testing.T) *server {
	t.Helper()
	t.Setenv("DOCKER_CONFIG", t.TempDir()) // nobody has logged in
	s := &server{}
	behind := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPut || r.Method == http.MethodPatch {
			if n := s.uploads.Add(1); s.allowed.Load() > 0 && n > s.allowed.Load() {
				http.Error(w, "the line is cut", http.StatusBadRequest) // which the client does not repeat
				return
			}
		}
		behind.ServeHTTP(w, r)
	}))
	t.Cleanup(web.Close)
	s.address = strings.TrimPrefix(web.URL, "http://")
	return s
}

// both is an image for both architectures, in dist.
func both(t *testing.T, version, content string) Index {
	t.Helper()
	layers := Layers{Folder: t.TempDir()}
	index, err := NewIndex(version, nil, example(t, layers, "amd64", content), example(t, layers, "arm64", content+" too"))
	if err != nil {
		t.Fatal(err)
	}
	dist := filepath.Join(t.TempDir(), "dist")
	if err := index.WriteLayout(dist); err != nil {
		t.Fatal(err)
	}
	read, err := ReadLayout(dist)
	if err != nil {
		t.Fatal(err)
	}
	return read
}

// publisher keeps what it says in the slice.
func publisher(said *[]string) Publisher {
	return Publisher{Say: func(line string) { *said = append(*said, line) }}
}

// pulled is the index under a tag, of which every layer can be read.
func pulled(t *testing.T, reference string) (v1.ImageIndex, string) {
	t.Helper()
	tag, err := name.NewTag(reference)
	if err != nil {
		t.Fatal(err)
	}
	index, err := remote.Index(tag)
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	for _, one := range manifest.Manifests {
		image, err := index.Image(one.Digest)
		if err != nil {
			t.Fatal(err)
		}
		layers, err := image.Layers()
		if err != nil {
			t.Fatal(err)
		}
		for _, layer := range layers {
			content, err := layer.Uncompressed()
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.Copy(io.Discard, content); err != nil {
				t.Fatal(err)
			}
		}
	}
	digest, err := index.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return index, digest.String()
}

func TestPublishPushesAllArchitecturesUnderOneTag(t *testing.T) {
	s, index := serve(t), both(t, "v1.0.0+build.7", "hello")
	var said []string
	if err := publisher(&said).Publish(t.Context(), index.In(s.address+"/ours/example")); err != nil {
		t.Fatal(err)
	}
	found, digest := pulled(t, s.address+"/ours/example:v1.0.0_build.7")
	if want, _ := index.Digest(); digest != want {
		t.Errorf("the registry has %s, and dist %s", digest, want)
	}
	manifest, err := found.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	var architectures []string
	for _, one := range manifest.Manifests {
		architectures = append(architectures, one.Platform.OS+"/"+one.Platform.Architecture)
	}
	if diff := cmp.Diff([]string{"linux/amd64", "linux/arm64"}, architectures); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}

	uploads := s.uploads.Load()
	if err := publisher(&said).Publish(t.Context(), index.In(s.address+"/ours/example")); err != nil {
		t.Fatal(err)
	}
	if more := s.uploads.Load() - uploads; more != 0 || !strings.HasSuffix(said[len(said)-1], "is there already") {
		t.Errorf("the second run uploads %d times and says %q", more, said)
	}
}

func TestAPublishedTagDoesNotChange(t *testing.T) {
	s, old, changed := serve(t), both(t, "v1", "old"), both(t, "v1", "changed")
	var said []string
	if err := publisher(&said).Publish(t.Context(), old.In(s.address+"/a")); err != nil {
		t.Fatal(err)
	}
	uploads := s.uploads.Load()
	err := publisher(&said).Publish(t.Context(), both(t, "v1", "other").In(s.address+"/b"), changed.In(s.address+"/a"))
	if err == nil || !strings.Contains(err.Error(), "a release never changes") || !strings.Contains(err.Error(), "--overwrite") {
		t.Errorf("Publish = %v, want an error that says why and what to do", err)
	}
	if more := s.uploads.Load() - uploads; more != 0 {
		t.Errorf("%d uploads of a run that is refused: nothing may change, not even elsewhere", more)
	}
	overwriting := publisher(&said)
	overwriting.Overwrite = true
	if err := overwriting.Publish(t.Context(), changed.In(s.address+"/a")); err != nil {
		t.Fatal(err)
	}
	want, _ := changed.Digest()
	if _, digest := pulled(t, s.address+"/a:v1"); digest != want {
		t.Errorf("with Overwrite the registry has %s, want %s", digest, want)
	}
}

// Wherever a run dies, there is no tag, and the next run completes it.
func TestAnInterruptedPushIsCompleted(t *testing.T) {
	for allowed := int64(1); ; allowed++ {
		s, index := serve(t), both(t, "v1", "hello")
		s.allowed.Store(allowed)
		var said []string
		if err := publisher(&said).Publish(t.Context(), index.In(s.address+"/a")); err == nil {
			if allowed < 6 {
				t.Errorf("only %d uploads are needed: does the test interrupt anything?", allowed)
			}
			return
		} else if !strings.Contains(err.Error(), "run it again") {
			t.Errorf("after %d uploads: %v, want an error that says what to do", allowed, err)
		}
		if tag, err := name.NewTag(s.address + "/a:v1"); err != nil {
			t.Fatal(err)
		} else if _, err := remote.Head(tag); err == nil {
			t.Errorf("after %d uploads there is a tag", allowed)
		}
		s.allowed.Store(0)
		if err := publisher(&said).Publish(t.Context(), index.In(s.address+"/a")); err != nil {
			t.Fatalf("after %d uploads: the second run: %v", allowed, err)
		}
		pulled(t, s.address+"/a:v1")
	}
}

func TestNoRegistryIsAnErrorThatSaysWhatToDo(t *testing.T) {
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	refuses := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "who are you?", http.StatusForbidden)
	}))
	defer refuses.Close()
	var said []string
	err := publisher(&said).Publish(t.Context(), both(t, "v1", "hello").In(strings.TrimPrefix(refuses.URL, "http://")+"/a"))
	if err == nil || !strings.Contains(err.Error(), "docker login") {
		t.Errorf("Publish = %v, want an error that says how to log in", err)
	}
}

// packed writes a chart, as helm package does.
func packed(t *testing.T, files map[string]string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "chart.tgz")
	var content bytes.Buffer
	zip := gzip.NewWriter(&content)
	archive := tar.NewWriter(zip)
	for name, text := range files {
		err := archive.WriteHeader(&tar.Header{Name: name, Size: int64(len(text)), Mode: 0o644})
		if _, writing := archive.Write([]byte(text)); err != nil || writing != nil {
			t.Fatal(err, writing)
		}
	}
	if err := errors.Join(archive.Close(), zip.Close(), os.WriteFile(to, content.Bytes(), 0o644)); err != nil {
		t.Fatal(err)
	}
	return to
}

func TestAChartIsPublishedAsHelmReadsIt(t *testing.T) {
	s := serve(t)
	tgz := packed(t, map[string]string{
		"fairway/Chart.yaml":            "apiVersion: v2\nname: fairway\nversion: 1.2.3+build.4\ndescription: An ingress\n",
		"fairway/charts/sub/Chart.yaml": "name: sub\nversion: 9.9.9\n",
	})
	var said []string
	for range 2 { // the second is a no-op
		if err := publisher(&said).PushChart(t.Context(), tgz, s.address+"/ours/charts"); err != nil {
			t.Fatal(err)
		}
	}
	if !strings.HasSuffix(said[1], "is there already") {
		t.Errorf("the second run says %q", said)
	}
	tag, err := name.NewTag(s.address + "/ours/charts/fairway:1.2.3_build.4")
	if err != nil {
		t.Fatal(err)
	}
	image, err := remote.Image(tag)
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := image.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	if got := string(manifest.Config.MediaType); got != "application/vnd.cncf.helm.config.v1+json" {
		t.Errorf("the configuration is %s", got)
	}
	if len(manifest.Layers) != 1 || manifest.Layers[0].MediaType != "application/vnd.cncf.helm.chart.content.v1.tar+gzip" {
		t.Fatalf("the layers are %+v", manifest.Layers)
	}
	text, err := image.RawConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	var metadata map[string]string
	if err := json.Unmarshal(text, &metadata); err != nil || metadata["version"] != "1.2.3+build.4" {
		t.Errorf("the configuration is %s, %v, want Chart.yaml as JSON", text, err)
	}
	want, err := os.ReadFile(tgz)
	if err != nil {
		t.Fatal(err)
	}
	layer, err := image.LayerByDigest(manifest.Layers[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	content, err := layer.Compressed()
	if err != nil {
		t.Fatal(err)
	}
	defer content.Close()
	if got, err := io.ReadAll(content); err != nil || !bytes.Equal(got, want) {
		t.Errorf("the layer has %d bytes (%v), want the file with %d", len(got), err, len(want))
	}
}

func TestAChartWithoutMetadataIsRefused(t *testing.T) {
	for name, files := range map[string]map[string]string{
		"no Chart.yaml": {"fairway/values.yaml": "a: b"},
		"no version":    {"fairway/Chart.yaml": "name: fairway"},
		"no YAML":       {"fairway/Chart.yaml": "{"},
	} {
		if _, err := Chart(packed(t, files), "example.test/charts"); err == nil {
			t.Errorf("%s: the chart is accepted", name)
		}
	}
}
