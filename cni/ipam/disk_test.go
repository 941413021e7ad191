package ipam

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// tmpfs mounts 1 MiB at a new folder of this test's mount namespace.
func tmpfs(t *testing.T, options string) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("none", dir, "tmpfs", 0, options); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// fill takes all blocks, or all inodes.
func fill(t *testing.T, dir string, inodes bool) string {
	t.Helper()
	waste := filepath.Join(dir, "waste")
	if err := os.Mkdir(waste, 0o700); err != nil {
		t.Fatal(err)
	}
	for n := 0; ; n++ {
		f, err := os.Create(filepath.Join(waste, strings.Repeat("x", n+1)))
		if errors.Is(err, syscall.ENOSPC) && inodes {
			return waste
		}
		if err != nil {
			t.Fatal(err)
		}
		for !inodes && err == nil {
			_, err = f.Write(make([]byte, 4096))
		}
		f.Close()
		if !inodes {
			return waste
		}
	}
}

func TestFullDiskLosesNoAddress(t *testing.T) {
	if !inMounts(t) {
		return
	}
	for name, options := range map[string]string{"blocks": "size=1m", "inodes": "size=1m,nr_inodes=32"} {
		for _, named := range []bool{false, true} {
			root := tmpfs(t, options)
			l := Leases{Dir: filepath.Join(root, "leases"), named: named}
			want := Wanted{Ranges: ranges("10.1.0.0/27", "fd00::/123")}
			if _, err := l.Take(wait(t), lease(0), want); err != nil {
				t.Fatal(err)
			}
			// From all inodes gone to just enough for a part of the names.
			waste := fill(t, root, name == "inodes")
			for n := 1; n <= 30; n++ {
				_, err := l.Take(wait(t), lease(n), want)
				full := (*StorageError)(nil)
				if !errors.As(err, &full) || !strings.Contains(err.Error(), "no space in "+l.Dir) {
					t.Fatalf("%s, named %t: take %d: %v", name, named, n, err)
				}
				if n == 1 {
					t.Logf("%s, named %t: %v", name, named, err)
				}
				if left := files(t, l.Dir); len(left) != 3 {
					t.Fatalf("%s: after take %d: %v", name, n, left)
				}
				if name == "inodes" && n%10 == 0 && n < 30 { // one inode more: the next fails at a later step
					entries, _ := os.ReadDir(waste)
					_ = os.Remove(filepath.Join(waste, entries[0].Name()))
				}
			}
			if err := l.Give(wait(t), lease(0).Key); err != nil {
				t.Errorf("%s: give on a full disk: %v", name, err)
			}
			if err := os.RemoveAll(waste); err != nil {
				t.Fatal(err)
			}
			if name == "inodes" { // 31 leases of 3 names need more than 32
				if err := syscall.Mount("none", root, "tmpfs", syscall.MS_REMOUNT, "nr_inodes=1000"); err != nil {
					t.Fatal(err)
				}
			}
			for n := 1; n <= 31; n++ { // every address of the ranges
				if _, err := l.Take(wait(t), lease(n), want); err != nil {
					t.Errorf("%s, named %t: take %d after there is space: %v", name, named, n, err)
				}
			}
		}
	}
}

func TestReadOnlyDiskIsToldAndWorksLater(t *testing.T) {
	if !inMounts(t) {
		return
	}
	l := Leases{Dir: filepath.Join(tmpfs(t, "size=1m"), "leases")}
	want := Wanted{Ranges: ranges("10.1.0.0/27")}
	if _, err := l.Take(wait(t), lease(0), want); err != nil {
		t.Fatal(err)
	}
	root := filepath.Dir(l.Dir)
	if err := syscall.Mount("none", root, "tmpfs", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	_, taken := l.Take(wait(t), lease(1), want)
	for what, err := range map[string]error{"take": taken, "give": l.Give(wait(t), lease(0).Key)} {
		if !errors.Is(err, syscall.EROFS) || !strings.Contains(err.Error(), l.Dir+" is read-only") {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := l.Give(wait(t), lease(1).Key); err != nil {
		t.Errorf("give what is not there: %v", err)
	}
	if got, found, err := l.Find(lease(0).Key); !found || err != nil || len(got.Addresses) != 1 {
		t.Errorf("find: %v %t %v", got, found, err)
	}
	if err := syscall.Mount("none", root, "tmpfs", syscall.MS_REMOUNT, ""); err != nil {
		t.Fatal(err)
	}
	if err := l.Give(wait(t), lease(0).Key); err != nil {
		t.Error(err)
	}
	if left := files(t, l.Dir); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

func TestOverlayFindsAllNames(t *testing.T) {
	if !inMounts(t) {
		return
	}
	lower, upper, at := tmpfs(t, ""), tmpfs(t, ""), t.TempDir()
	for _, sub := range []string{"up", "work"} {
		if err := os.Mkdir(filepath.Join(upper, sub), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	options := "lowerdir=" + lower + ",upperdir=" + upper + "/up,workdir=" + upper + "/work,userxattr"
	if err := syscall.Mount("none", at, "overlay", 0, options); err != nil {
		t.Fatal(err)
	}
	defer syscall.Unmount(at, 0) //nolint:errcheck // the namespace ends
	l := Leases{Dir: filepath.Join(at, "leases")}
	if _, err := l.Take(wait(t), lease(1), Wanted{Ranges: ranges("10.1.0.0/27", "fd00::/64")}); err != nil {
		t.Fatal(err)
	}
	f, entries, err := l.scan()
	if err != nil {
		t.Fatal(err)
	}
	defer f.close()
	for _, e := range entries {
		st, _ := f.stat(e.name)
		t.Logf("%s: folder says %d, stat says %d", e.name, e.inode, st.Ino)
	}
	if got, _, err := l.Find(lease(1).Key); err != nil || len(got.Addresses) != 2 {
		t.Errorf("find: %v %v", got.Addresses, err)
	}
	if err := l.Give(wait(t), lease(1).Key); err != nil || len(files(t, l.Dir)) > 0 {
		t.Errorf("give: %v, left %v", err, files(t, l.Dir))
	}
}
