package images

import (
	"bytes"
	"context"
	"debug/elf"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/fairwaynet/fairway/images/debian"
	"github.com/fairwaynet/fairway/images/envoy"
	"github.com/fairwaynet/fairway/images/oci"
)

const root = ".."

// hello stands for commands of Fairway, which take long to build.
const hello = "images/testdata/hello"

func version() Version {
	return Version{Name: "v1.2.3+x", Revision: "0123456789", Time: time.Unix(1e9, 0)}
}

// small is a builder whose commands and whose Envoy are small. Its Debian packages are
// the real ones.
func small(t *testing.T) *Builder {
	t.Helper()
	b := NewBuilder(root, Cache(root), t.TempDir(), version())
	b.Layers = oci.Layers{Folder: t.TempDir()}
	b.Command = func(ctx context.Context, _, architecture string) (string, error) {
		return b.build(ctx, hello, architecture)
	}
	b.Envoy = func(ctx context.Context, architecture string) (envoy.Release, error) {
		return fakeEnvoy(ctx, b, architecture, filepath.Join(b.Work, "envoy-"+architecture))
	}
	return b
}

// fakeEnvoy is a program that needs a loader: the C library itself.
func fakeEnvoy(ctx context.Context, b *Builder, architecture, to string) (envoy.Release, error) {
	packages, err := b.Packages(ctx, architecture)
	if err != nil {
		return envoy.Release{}, err
	}
	_, _, file, err := debian.Library(packages, "libc.so.6")
	if err != nil {
		return envoy.Release{}, err
	}
	return envoy.Release{Version: "9.9.9", Program: to, SHA256: "99"}, os.WriteFile(to, file.Content, 0o755)
}

// dist builds all images with a builder into a new folder.
func dist(t *testing.T, b *Builder) string {
	t.Helper()
	folder := t.TempDir()
	for _, definition := range All() {
		if err := b.Dist(t.Context(), definition, Architectures(), folder, func(string) {}); err != nil {
			t.Fatal(err)
		}
	}
	return folder
}

// files are all files of a folder, by path.
func files(t *testing.T, folder string) map[string][]byte {
	t.Helper()
	found := map[string][]byte{}
	err := filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		name, _ := filepath.Rel(folder, path)
		found[name], err = os.ReadFile(path)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestARelease(t *testing.T) {
	b := small(t)
	first := files(t, dist(t, b))
	t.Run("is the same when built again", func(t *testing.T) {
		again := files(t, dist(t, small(t)))
		if diff := cmp.Diff(slices.Sorted(maps.Keys(first)), slices.Sorted(maps.Keys(again))); diff != "" {
			t.Errorf("other files (-first +again)\n%s", diff)
		}
		for name, content := range first {
			if !bytes.Equal(content, again[name]) {
				t.Errorf("%s is another file", name)
			}
		}
	})
	for _, definition := range All() {
		for _, architecture := range Architectures() {
			name := definition.Name + "-" + architecture
			t.Run(name, func(t *testing.T) {
				image := unpack(t, first[name+".tar"])
				checkConfig(t, definition, architecture, image)
				checkFiles(t, image)
				checkMachines(t, architecture, image)
				checkSBOM(t, definition, first[name+".spdx.json"])
			})
		}
	}
}

// users are whom the images run as. The agent of the node alone is root, because a node's
// network, and the folders of its runtime, belong to root.
var users = map[string]string{"fairway": "65532:65532", "fairway-gateway": "65532:65532", "fairway-node": "0:0", "fairway-dns": "65532:65532"}

func checkConfig(t *testing.T, definition Definition, architecture string, image unpacked) {
	t.Helper()
	if want := []string{Registry + "/" + definition.Name + ":v1.2.3_x"}; !slices.Equal(image.names, want) {
		t.Errorf("names %q, want %q", image.names, want)
	}
	config := image.config
	if config.Architecture != architecture || config.OS != "linux" || config.Created != "2001-09-09T01:46:40Z" {
		t.Errorf("the image is for %s %s, created at %s", config.OS, config.Architecture, config.Created)
	}
	if want := users[definition.Name]; config.Config.User != want || !slices.Equal(config.Config.Entrypoint, []string{where(definition.Commands[0])}) {
		t.Errorf("the image runs %q as %s, want %s", config.Config.Entrypoint, config.Config.User, want)
	}
	for key, want := range map[string]string{
		"title": definition.Title, "description": definition.Description, "version": "v1.2.3+x", "revision": "0123456789",
		"source": "https://github.com/fairwaynet/fairway", "licenses": definition.licenses(), "created": "2001-09-09T01:46:40Z",
	} {
		if got := config.Config.Labels["org.opencontainers.image."+key]; got != want {
			t.Errorf("label %s is %q, want %q", key, got, want)
		}
	}
}

// checkFiles: nobody can change anything, become anybody, or get a shell.
func checkFiles(t *testing.T, image unpacked) {
	t.Helper()
	for name, file := range image.files {
		if file.Uid != 0 || file.Gid != 0 {
			t.Errorf("%s belongs to %d:%d", name, file.Uid, file.Gid)
		}
		mode := file.FileInfo().Mode()
		if mode&(fs.ModeSetuid|fs.ModeSetgid) != 0 {
			t.Errorf("%s is %s", name, mode)
		}
		if name != "tmp/" && mode.Type() != fs.ModeSymlink && mode.Perm()&0o022 != 0 {
			t.Errorf("%s is %s: others than root may write it", name, mode)
		}
		switch filepath.Base(name) {
		case "sh", "bash", "dash", "busybox", "ash":
			t.Errorf("%s may be a shell", name)
		}
	}
	for _, name := range []string{
		"etc/passwd", "etc/group", "etc/nsswitch.conf", "etc/ssl/certs/ca-certificates.crt", "usr/share/zoneinfo/Europe/Berlin",
		"usr/lib/os-release", "usr/share/doc/fairway/copyright", "usr/share/doc/tzdata/copyright", "var/lib/dpkg/status.d/tzdata",
	} {
		if len(image.content[name]) == 0 {
			t.Errorf("%s is missing or empty", name)
		}
	}
	if got := strings.Count(string(image.content["etc/ssl/certs/ca-certificates.crt"]), "BEGIN CERTIFICATE"); got < 100 {
		t.Errorf("only %d authorities are trusted", got)
	}
}

// checkMachines: every program is for the architecture.
func checkMachines(t *testing.T, architecture string, image unpacked) {
	t.Helper()
	want := map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}[architecture]
	programs := 0
	for name, content := range image.content {
		if !bytes.HasPrefix(content, []byte(elf.ELFMAG)) {
			continue
		}
		programs++
		file, err := elf.NewFile(bytes.NewReader(content))
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if file.Machine != want {
			t.Errorf("%s is for %s, want %s", name, file.Machine, want)
		}
	}
	if programs == 0 {
		t.Error("the image holds no program")
	}
}

func checkSBOM(t *testing.T, definition Definition, text []byte) {
	t.Helper()
	var document struct {
		SPDXVersion string
		Packages    []struct{ Name, VersionInfo string }
	}
	if err := json.Unmarshal(text, &document); err != nil || document.SPDXVersion != "SPDX-2.3" {
		t.Fatalf("the SBOM is %s, %v", document.SPDXVersion, err)
	}
	listed := map[string]string{}
	for _, p := range document.Packages {
		listed[p.Name] = p.VersionInfo
	}
	want := []string{definition.Name, "stdlib", "github.com/fairwaynet/fairway", "tzdata", "base-files", rootsModule}
	if definition.Envoy {
		want = append(want, "envoy", "libc6")
	}
	for _, name := range want {
		if listed[name] == "" {
			t.Errorf("%s is not in the SBOM, or has no version: %v", name, listed)
		}
	}
}

// The builder's own command: static, without paths of this machine, with the version.
func TestACommandIsBuiltForBothArchitectures(t *testing.T) {
	b := NewBuilder(root, Cache(root), t.TempDir(), version())
	here, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, architecture := range Architectures() {
		path, err := b.build(t.Context(), hello, architecture)
		if err != nil {
			t.Fatal(err)
		}
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		file, err := elf.NewFile(bytes.NewReader(content))
		if err != nil {
			t.Fatal(err)
		}
		if needs, err := file.ImportedLibraries(); err != nil || len(needs) > 0 {
			t.Errorf("%s: it needs %v, %v", architecture, needs, err)
		}
		if bytes.Contains(content, []byte(here)) {
			t.Errorf("%s: it holds the path of this checkout", architecture)
		}
		if !bytes.Contains(content, []byte("v1.2.3+x")) {
			t.Errorf("%s: it does not hold its version", architecture)
		}
	}
	_, err = b.build(t.Context(), "images/testdata/nothing", "amd64")
	if err == nil || !strings.Contains(err.Error(), "build images/testdata/nothing") {
		t.Errorf("build = %v, want an error that names the command", err)
	}
}

func TestTheVersionIsTheCommits(t *testing.T) {
	folder := t.TempDir()
	t.Setenv("SOURCE_DATE_EPOCH", "")
	v, err := VersionOf(t.Context(), folder, "")
	if err != nil || v.Name != "devel-unknown" || v.Time.Unix() != 0 {
		t.Errorf("without git: %+v, %v", v, err)
	}
	for _, args := range [][]string{{"init", "-q"}, {"commit", "-q", "--allow-empty", "-m", "first"}} {
		command := exec.Command("git", append([]string{"-C", folder, "-c", "user.name=a", "-c", "user.email=a@b.test"}, args...)...)
		command.Env = append(os.Environ(), "GIT_COMMITTER_DATE=2001-09-09T01:46:40Z")
		if said, err := command.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, said)
		}
	}
	v, err = VersionOf(t.Context(), folder, "")
	if err != nil || v.Name != "devel-"+v.Revision || len(v.Revision) != 40 || v.Time.Unix() != 1e9 {
		t.Errorf("of a commit: %+v, %v", v, err)
	}
	if err := os.WriteFile(filepath.Join(folder, "new"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SOURCE_DATE_EPOCH", "7")
	if v, err = VersionOf(t.Context(), folder, "v1"); err != nil || v.Name != "v1" || !strings.HasSuffix(v.Revision, "+dirty") || v.Time.Unix() != 7 {
		t.Errorf("with changes: %+v, %v", v, err)
	}
	t.Setenv("SOURCE_DATE_EPOCH", "today")
	if _, err = VersionOf(t.Context(), folder, "v1"); err == nil {
		t.Error("a time that is no number is accepted")
	}
}

func TestAnUnknownImageIsNamed(t *testing.T) {
	_, err := Find("fairway-nod")
	if want := fmt.Sprint([]string{"fairway", "fairway-dns", "fairway-gateway", "fairway-node"}); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("Find = %v, want an error that lists %s", err, want)
	}
}

// What pins and checks a release names each of its images.
func TestChecksumsNameEveryImage(t *testing.T) {
	folder := t.TempDir()
	digests := map[string]string{}
	for number, d := range All() {
		digests[d.Name] = strings.Repeat(fmt.Sprint(number), 64)
		layout := filepath.Join(folder, d.Name)
		index := fmt.Sprintf(`{"manifests": [{"digest": "sha256:%s"}]}`, digests[d.Name])
		if err := errors.Join(os.Mkdir(layout, 0o755), os.WriteFile(filepath.Join(layout, "index.json"), []byte(index), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"fairway-1.2.3.tgz", "fairway-amd64.spdx.json"} {
		if err := os.WriteFile(filepath.Join(folder, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if said, err := exec.CommandContext(t.Context(), "./checksums.sh", "v1.2.3", folder).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	sums, values := read(t, folder, "checksums.txt"), read(t, folder, "release/digests.yaml")
	for name, digest := range digests {
		if !strings.Contains(sums, digest+"  "+Registry+"/"+name+":v1.2.3\n") {
			t.Errorf("the checksums lack %s:\n%s", name, sums)
		}
		if !strings.Contains(values, `{image: {digest: "sha256:`+digest+`"}}`) {
			t.Errorf("the values that pin images lack %s:\n%s", name, values)
		}
	}
}

func read(t *testing.T, folder, name string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(folder, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}
