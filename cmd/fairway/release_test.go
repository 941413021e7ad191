package main

import (
	"archive/tar"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// An archive of a release holds the program under the names that people and kubectl call
// it by, and krew's manifest names the archive, its hash and the plugin in it.
func TestReleaseHoldsThePluginThatKrewInstalls(t *testing.T) {
	const version, system = "v1.2.3-rc.1", "linux/amd64"
	folder := archives(t, version, system)
	archive, err := os.ReadFile(filepath.Join(folder, "fairway_v1.2.3-rc.1_linux_amd64.tar.gz"))
	if err != nil {
		t.Fatal(err)
	}
	files := unpack(t, filepath.Join(folder, "fairway_v1.2.3-rc.1_linux_amd64.tar.gz"))
	if got, want := slices.Sorted(maps.Keys(files)), []string{"LICENSE", "fairway", "kubectl-fairway", "kubectl_complete-fairway"}; !slices.Equal(got, want) {
		t.Errorf("the archive holds %q, want %q", got, want)
	}

	text, err := os.ReadFile(filepath.Join(folder, "fairway.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var manifest struct {
		Spec struct {
			Version   string
			Platforms []struct {
				URI, SHA256, Bin string
				Selector         struct{ MatchLabels map[string]string }
				Files            []struct{ From, To string }
			}
		}
	}
	if err := yaml.Unmarshal(text, &manifest); err != nil {
		t.Fatalf("%v in:\n%s", err, text)
	}
	if manifest.Spec.Version != version || len(manifest.Spec.Platforms) != 1 {
		t.Fatalf("krew's manifest:\n%s", text)
	}
	platform := manifest.Spec.Platforms[0]
	if sum := sha256.Sum256(archive); platform.SHA256 != hex.EncodeToString(sum[:]) {
		t.Errorf("the hash in krew's manifest is %s, that of the archive %x", platform.SHA256, sum)
	}
	if path.Base(platform.URI) != "fairway_v1.2.3-rc.1_linux_amd64.tar.gz" || !strings.Contains(platform.URI, "/"+version+"/") {
		t.Errorf("krew fetches %s", platform.URI)
	}
	if labels := platform.Selector.MatchLabels; labels["os"]+"/"+labels["arch"] != system {
		t.Errorf("the archive is for %v", labels)
	}
	for _, file := range platform.Files {
		if files[file.From] == "" {
			t.Errorf("krew installs %s, which is not in the archive", file.From)
		}
	}

	said, err := exec.CommandContext(t.Context(), files[platform.Bin], "version").CombinedOutput()
	if err != nil || !strings.Contains(string(said), version) {
		t.Errorf("%s version: %v, %s", platform.Bin, err, said)
	}
	said, err = exec.CommandContext(t.Context(), files["kubectl_complete-fairway"], "expl").CombinedOutput()
	if err != nil || !strings.Contains(string(said), "explain") {
		t.Errorf("completion of expl: %v, %s", err, said)
	}
}

func TestReleaseOfNoVersionIsRefused(t *testing.T) {
	for _, version := range []string{"", "1.2.3", "v1.2", "v1.2.3/../x"} {
		said, err := exec.CommandContext(t.Context(), "./release.sh", version, t.TempDir()).CombinedOutput()
		if err == nil || !strings.Contains(string(said), "is no version such as v1.2.3") {
			t.Errorf("version %q: %v, %s", version, err, said)
		}
	}
}

// archives makes the archives of some systems, and returns their folder.
func archives(t *testing.T, version, systems string) string {
	t.Helper()
	folder := t.TempDir()
	cmd := exec.CommandContext(t.Context(), "./release.sh", version, folder)
	cmd.Env = append(os.Environ(), "TARGETS="+systems, "TRIM=") // and so the compiler need not compile again
	if said, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, said)
	}
	return folder
}

// unpack unpacks an archive, and returns where its files are, by name.
func unpack(t *testing.T, archive string) map[string]string {
	t.Helper()
	file, err := os.Open(archive)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	compressed, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	folder, files := t.TempDir(), map[string]string{}
	for from := tar.NewReader(compressed); ; {
		header, err := from.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		name := path.Clean(header.Name)
		to := filepath.Join(folder, name)
		switch header.Typeflag {
		case tar.TypeDir:
			continue
		case tar.TypeLink:
			err = os.Link(filepath.Join(folder, path.Clean(header.Linkname)), to)
		case tar.TypeReg:
			err = write(to, from, header.FileInfo().Mode())
		default:
			err = fmt.Errorf("%s is of type %c", name, header.Typeflag)
		}
		if err != nil {
			t.Fatal(err)
		}
		files[name] = to
	}
}

func write(to string, from io.Reader, mode os.FileMode) error {
	file, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = io.Copy(file, from)
	return errors.Join(err, file.Close())
}
