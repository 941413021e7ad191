package images

import (
	"bytes"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/fairwaynet/fairway/images/oci"
	"github.com/fairwaynet/fairway/test/binary"
)

// jailed is set in the process that changes its root.
const jailed = "FAIRWAY_TEST_JAIL"

func TestMain(m *testing.M) {
	if folder := os.Getenv(jailed); folder != "" {
		if err := jail(folder, os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// jail runs a program of an image in mount namespaces of its own: nothing can be
// written, and it is the image's user without any capability.
func jail(folder string, command []string) error {
	if err := errors.Join(
		syscall.Mount("none", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""),
		syscall.Mount(folder, folder, "", syscall.MS_BIND, ""),
		syscall.Mount("none", folder, "", syscall.MS_BIND|syscall.MS_REMOUNT|syscall.MS_RDONLY|syscall.MS_NOSUID|syscall.MS_NODEV, ""),
	); err != nil {
		return fmt.Errorf("mount: %w", err)
	}
	if err := os.WriteFile(filepath.Join(folder, "tmp", "new"), nil, 0o644); !errors.Is(err, syscall.EROFS) {
		return fmt.Errorf("write to the root: %w, want that it is read-only", err)
	}
	const user = 65532
	run := &exec.Cmd{Path: command[0], Args: command, Env: []string{"PATH=" + Binaries}, Dir: "/", Stdout: os.Stdout, Stderr: os.Stderr}
	run.SysProcAttr = &syscall.SysProcAttr{Chroot: folder, Credential: &syscall.Credential{Uid: user, Gid: user}}
	if os.Getenv("FAIRWAY_TEST_USER") != "0" { // we are not really root: only a namespace has the user
		run.SysProcAttr.Cloneflags = syscall.CLONE_NEWUSER
		run.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: user, HostID: 0, Size: 1}}
		run.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: user, HostID: 0, Size: 1}}
		run.SysProcAttr.Credential.NoSetGroups = true
	}
	return run.Run()
}

// inJail is the output of a program of an image.
func inJail(t *testing.T, folder string, command ...string) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	run := exec.Command(self, command...)
	run.Env = append(os.Environ(), jailed+"="+folder, fmt.Sprintf("FAIRWAY_TEST_USER=%d", os.Getuid()))
	run.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	if os.Getuid() != 0 {
		run.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		run.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		run.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	said, err := run.CombinedOutput()
	if err != nil {
		t.Errorf("%q: %v\n%s", command, err, said)
	}
	return string(said)
}

// built is an image as it would be loaded, with Fairway's own commands if it is for this machine.
func built(t *testing.T, name, architecture string) unpacked {
	t.Helper()
	definitions, err := Find(name)
	if err != nil {
		t.Fatal(err)
	}
	b := small(t)
	b.Layers = oci.Layers{}
	b.Envoy = NewBuilder(root, Cache(root), t.TempDir(), version()).Envoy
	if architecture == runtime.GOARCH {
		b.Command = func(ctx context.Context, command, _ string) (string, error) {
			to := filepath.Join(b.Work, path.Base(command))
			return to, binary.Build(ctx, to, command, []string{"CGO_ENABLED=0"}, "-ldflags", "-s -w")
		}
	}
	made, err := b.Build(t.Context(), definitions[0], architecture)
	if err != nil {
		t.Fatal(err)
	}
	to := filepath.Join(t.TempDir(), "image.tar")
	if err := made.WriteArchive(to, "example.test/"+name+":v1"); err != nil {
		t.Fatal(err)
	}
	archive, err := os.ReadFile(to)
	if err != nil {
		t.Fatal(err)
	}
	return unpack(t, archive)
}

// rootOf is a folder with an image's files, which everybody may enter.
func rootOf(t *testing.T, image unpacked) string {
	t.Helper()
	folder := t.TempDir()
	if err := os.Chmod(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	image.writeTo(t, folder)
	return folder
}

// The real Envoy of both architectures, with the libraries that it needs; the programs
// of this machine's architecture run.
func TestTheGatewayRunsWithoutRights(t *testing.T) {
	for _, architecture := range Architectures() {
		image := built(t, "fairway-gateway", architecture)
		checkFiles(t, image)
		checkMachines(t, architecture, image)
		if architecture != runtime.GOARCH {
			continue
		}
		folder := rootOf(t, image)
		if said := inJail(t, folder, "/usr/local/bin/fairway", "version"); !strings.HasPrefix(said, "fairway ") {
			t.Errorf("fairway version says %q", said)
		}
		want := "/" + image.config.Config.Labels["dev.fairway.envoy.version"] + "/"
		if said := inJail(t, folder, "/usr/local/bin/envoy", "--version"); !strings.Contains(said, want) {
			t.Errorf("envoy --version says %q, want %s in it", said, want)
		}
	}
}

// The agent's image holds the plugin, where "fairway node" looks for it. On a node the plugin has
// none of the image's files beside it, so it is one static file.
func TestTheNodesImageHoldsThePlugin(t *testing.T) {
	image := built(t, "fairway-node", runtime.GOARCH)
	folder := rootOf(t, image)
	if said := inJail(t, folder, "/usr/local/bin/fairway", "version"); !strings.HasPrefix(said, "fairway ") {
		t.Errorf("fairway version says %q", said)
	}
	if said := inJail(t, folder, "/usr/local/bin/fairway-cni"); !strings.HasPrefix(said, "fairway-cni ") {
		t.Errorf("fairway-cni says %q", said)
	}
	plugin := image.content["usr/local/bin/fairway-cni"]
	file, err := elf.NewFile(bytes.NewReader(plugin))
	if err != nil {
		t.Fatal(err)
	}
	if needs, err := file.ImportedLibraries(); err != nil || len(needs) > 0 {
		t.Errorf("the plugin needs %v, %v", needs, err)
	}
	if mode := image.files["usr/local/bin/fairway-cni"].FileInfo().Mode(); mode != 0o755 {
		t.Errorf("the plugin is %s", mode)
	}
	if len(plugin) > 10e6 {
		t.Errorf("the plugin has %d bytes, more than 10 MB", len(plugin))
	}
}
