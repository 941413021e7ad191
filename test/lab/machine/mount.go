package machine

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// mount gives the machine its own root and detaches it from the real machine's.
func (s *Spec) mount() error {
	// Mounts made from here on stay in this namespace.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	root := filepath.Join(s.Dir, "root")
	kept, err := s.keep()
	if err != nil {
		return err
	}
	options := fmt.Sprintf("lowerdir=/,upperdir=%s,workdir=%s", filepath.Join(s.Dir, "upper"), filepath.Join(s.Dir, "work"))
	if err := unix.Mount("overlay", root, "overlay", 0, options); err != nil {
		return fmt.Errorf("mount root (%s must not be on an overlay itself): %w", s.Dir, err)
	}
	if err := fill(root, kept); err != nil {
		return err
	}
	if err := pivot(root); err != nil {
		return err
	}
	return s.disguise()
}

// tree is a part of the old root that moves to a path in the new one.
type tree struct {
	fd       int
	to       string
	file     bool
	readOnly bool
}

// keep opens the parts of the old root that the new root needs.
func (s *Spec) keep() ([]tree, error) {
	binds := append([]Bind{
		{From: "/dev", To: "/dev"},
		{From: "/sys/fs/cgroup", To: "/sys/fs/cgroup"},
		{From: filepath.Join(s.Dir, "log"), To: "/var/log"},
	}, s.Binds...)
	kept := make([]tree, 0, len(binds))
	for _, bind := range binds {
		at, err := os.Stat(bind.From)
		if err != nil {
			return nil, fmt.Errorf("show %s: %w", bind.From, err)
		}
		fd, err := unix.OpenTree(unix.AT_FDCWD, bind.From, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE)
		if err != nil {
			return nil, fmt.Errorf("show %s: %w", bind.From, err)
		}
		kept = append(kept, tree{fd: fd, to: bind.To, file: !at.IsDir(), readOnly: bind.ReadOnly})
	}
	return kept, nil
}

// fill mounts what a machine has in addition to its disk.
func fill(root string, kept []tree) error {
	for _, m := range []struct{ kind, at, options string }{
		{"proc", "proc", ""},
		{"sysfs", "sys", ""},
		{"tmpfs", "run", "mode=755"},
		{"tmpfs", "tmp", "mode=1777"},
	} {
		at := filepath.Join(root, m.at)
		if err := unix.Mount(m.kind, at, m.kind, unix.MS_NOSUID|unix.MS_NODEV, m.options); err != nil {
			return fmt.Errorf("mount /%s: %w", m.at, err)
		}
	}
	for _, t := range kept {
		if err := t.attach(root); err != nil {
			return fmt.Errorf("mount %s: %w", t.to, err)
		}
	}
	shm := filepath.Join(root, "dev/shm")
	if err := unix.Mount("tmpfs", shm, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=1777"); err != nil {
		return fmt.Errorf("mount /dev/shm: %w", err)
	}
	return nil
}

func (t tree) attach(root string) error {
	at := filepath.Join(root, t.to)
	if err := place(at, t.file); err != nil {
		return err
	}
	if err := unix.MoveMount(t.fd, "", unix.AT_FDCWD, at, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return err
	}
	if t.readOnly {
		if err := unix.Mount("", at, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, ""); err != nil {
			return err
		}
	}
	return unix.Close(t.fd)
}

// place makes the mount point of a mount.
func place(at string, file bool) error {
	if !file {
		return os.MkdirAll(at, 0o755)
	}
	if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(at, os.O_CREATE|os.O_RDONLY, 0o755)
	if err != nil {
		return err
	}
	return f.Close()
}

// pivot makes root the root and detaches the old one.
func pivot(root string) error {
	if err := os.Chdir(root); err != nil {
		return err
	}
	if err := unix.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("change root: %w", err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("leave the old root: %w", err)
	}
	if err := os.Chdir("/"); err != nil {
		return err
	}
	// As with systemd, mounts of containers propagate within the machine.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SHARED, ""); err != nil {
		return fmt.Errorf("share mounts: %w", err)
	}
	return nil
}

// disguise hides what belongs to the kernel and should be the machine's own. A
// boot needs its own identity. The kubelet would also change some sysctls for the
// whole kernel.
func (s *Spec) disguise() error {
	for path, value := range map[string]string{
		"kernel/random/boot_id":     uuid(),
		"vm/overcommit_memory":      "1",
		"vm/panic_on_oom":           "0",
		"kernel/panic":              "10",
		"kernel/panic_on_oops":      "1",
		"kernel/keys/root_maxkeys":  "1000000",
		"kernel/keys/root_maxbytes": "25000000",
	} {
		original := filepath.Join("/proc/sys", path)
		if _, err := os.Stat(original); errors.Is(err, fs.ErrNotExist) {
			continue
		}
		cover := filepath.Join("/run/disguise", strings.ReplaceAll(path, "/", "."))
		if err := os.MkdirAll(filepath.Dir(cover), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(cover, []byte(value+"\n"), 0o444); err != nil {
			return err
		}
		if err := unix.Mount(cover, original, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("cover %s: %w", original, err)
		}
	}
	if err := unix.Sethostname([]byte(s.Name)); err != nil {
		return fmt.Errorf("set host name: %w", err)
	}
	return nil
}

// uuid is a random one.
func uuid() string {
	var b [16]byte
	rand.Read(b[:])
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
