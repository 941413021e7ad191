package images

import (
	"context"
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

// The real Envoy of both architectures, with the libraries that it needs; the programs
// of this machine's architecture run.
func TestTheGatewayRunsWithoutRights(t *testing.T) {
	definitions, err := Find("fairway-gateway")
	if err != nil {
		t.Fatal(err)
	}
	for _, architecture := range Architectures() {
		b := small(t)
		b.Layers = oci.Layers{}
		b.Envoy = NewBuilder(root, Cache(root), t.TempDir(), version()).Envoy
		if architecture == runtime.GOARCH {
			b.Command = func(ctx context.Context, command, _ string) (string, error) {
				to := filepath.Join(b.Work, path.Base(command))
				return to, binary.Build(ctx, to, command, []string{"CGO_ENABLED=0"}, "-ldflags", "-s -w")
			}
		}
		built, err := b.Build(t.Context(), definitions[0], architecture)
		if err != nil {
			t.Fatal(err)
		}
		to := filepath.Join(t.TempDir(), "image.tar")
		if err := built.WriteArchive(to, "example.test/gateway:v1"); err != nil {
			t.Fatal(err)
		}
		archive, err := os.ReadFile(to)
		if err != nil {
			t.Fatal(err)
		}
		image := unpack(t, archive)
		checkFiles(t, image)
		checkMachines(t, architecture, image)
		if architecture != runtime.GOARCH {
			continue
		}
		folder := t.TempDir()
		if err := os.Chmod(folder, 0o755); err != nil {
			t.Fatal(err)
		}
		image.writeTo(t, folder)
		if said := inJail(t, folder, "/usr/local/bin/fairway", "version"); !strings.HasPrefix(said, "fairway ") {
			t.Errorf("fairway version says %q", said)
		}
		want := "/" + image.config.Config.Labels["dev.fairway.envoy.version"] + "/"
		if said := inJail(t, folder, "/usr/local/bin/envoy", "--version"); !strings.Contains(said, want) {
			t.Errorf("envoy --version says %q, want %s in it", said, want)
		}
	}
}
