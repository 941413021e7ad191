package ipam

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"
)

const (
	workerDir = "FAIRWAY_TEST_IPAM_WORKER" // a process that takes and gives until it is killed
	diskDir   = "FAIRWAY_TEST_IPAM_DISK"   // the tests that mount, in a mount namespace of their own
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(workerDir); dir != "" {
		os.Exit(work(dir))
	}
	os.Exit(m.Run())
}

// inMounts runs the test again as root of mount and user namespaces, so that no
// mount is seen outside and all end with the process. It says whether this is
// that run.
func inMounts(t *testing.T) bool {
	t.Helper()
	if os.Getenv(diskDir) != "" {
		if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
			t.Fatal(err)
		}
		return true
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	child := exec.Command(self, "-test.v", "-test.run=^"+t.Name()+"$")
	child.Env = append(os.Environ(), diskDir+"=1")
	child.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWNS | syscall.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
		Pdeathsig:   syscall.SIGKILL,
	}
	out, err := child.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Fatalf("run in a mount namespace: %v", err)
	}
	return false
}

var created = time.Date(2026, 11, 30, 6, 0, 0, 0, time.UTC)

func lease(n int) Lease {
	return Lease{
		Key:       Key{Container: fmt.Sprintf("c%d", n), Interface: "eth0"},
		Boot:      "boot-1",
		Created:   created,
		Namespace: Namespace{Path: "/run/netns/a", Device: 4, Inode: 4026531840 + uint64(n)},
		Pod:       Pod{Namespace: "shop", Name: fmt.Sprintf("cart-%d", n), UID: "u"},
		Link:      "fw0",
	}
}

func ranges(texts ...string) Ranges {
	var r Ranges
	for _, text := range texts {
		r = append(r, netip.MustParsePrefix(text))
	}
	return r
}

// patience is for the lock of removals, also where other programs keep the disk busy.
const patience = 10 * time.Minute

// deadline is for workers, which have no test.
func deadline() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), patience)
}

func wait(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// files are the names in the folder that are no hints.
func files(t testing.TB, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		if len(e.Name()) < 6 || e.Name()[:6] != ".last." {
			names = append(names, e.Name())
		}
	}
	return names
}
