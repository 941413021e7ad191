// Package cgroup makes and removes the control groups of a lab, on machines with
// version 1 and with version 2 of the interface. All groups of a lab lie below
// one path, so that leftovers are easy to find.
package cgroup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Mount is where the hierarchies are mounted.
const Mount = "/sys/fs/cgroup"

// Tree is a path below the root of every hierarchy.
type Tree string

// Below is the tree name in this one.
func (t Tree) Below(name string) Tree { return Tree(filepath.Join(string(t), name)) }

// hierarchies are the roots of the hierarchies that kubelets need: one with
// version 2, one for each controller with version 1.
func hierarchies() ([]string, error) {
	if _, err := os.Stat(filepath.Join(Mount, "cgroup.controllers")); err == nil {
		return []string{Mount}, nil
	}
	found, err := mounts(unix.CGROUP_SUPER_MAGIC)
	if err == nil && len(found) == 0 {
		err = fmt.Errorf("find control groups: none is mounted at %s", Mount)
	}
	return found, err
}

// mounts are the mounted hierarchies of a version.
func mounts(kind int64) ([]string, error) {
	entries, err := os.ReadDir(Mount)
	if err != nil {
		return nil, fmt.Errorf("find control groups: %w", err)
	}
	var found []string
	for _, entry := range entries {
		path := filepath.Join(Mount, entry.Name())
		var at unix.Statfs_t
		if entry.IsDir() && unix.Statfs(path, &at) == nil && at.Type == kind {
			found = append(found, path)
		}
	}
	return found, nil
}

// roots are all hierarchies. With version 1 they include the hierarchy of version
// 2 without controllers, in which runc makes groups, too.
func roots() ([]string, error) {
	found, err := hierarchies()
	if err != nil || found[0] == Mount {
		return found, err
	}
	more, err := mounts(unix.CGROUP2_SUPER_MAGIC)
	return append(found, more...), err
}

// Check says what is missing for starting pods.
func Check() error {
	found, err := hierarchies()
	if err != nil {
		return err
	}
	if found[0] == Mount {
		return nil
	}
	for _, controller := range []string{"cpu", "cpuset", "memory", "pids", "devices", "freezer", "systemd"} {
		if !slices.Contains(found, filepath.Join(Mount, controller)) {
			return fmt.Errorf("the control group hierarchy %s is not mounted at %s", controller, Mount)
		}
	}
	return nil
}

// Make makes the group name below the tree in every hierarchy.
func (t Tree) Make(name string) error {
	found, err := hierarchies()
	if err != nil {
		return err
	}
	for _, hierarchy := range found {
		path := hierarchy
		for part := range strings.SplitSeq(filepath.Join(string(t), name), "/") {
			if err := prepare(path); err != nil {
				return fmt.Errorf("make control group %s: %w", path, err)
			}
			path = filepath.Join(path, part)
			if err := os.Mkdir(path, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
				return fmt.Errorf("make control group: %w", err)
			}
			if err := inherit(path); err != nil {
				return fmt.Errorf("make control group %s: %w", path, err)
			}
		}
	}
	return nil
}

// prepare delegates all controllers of a version 2 group to its children.
func prepare(group string) error {
	has, err := os.ReadFile(filepath.Join(group, "cgroup.controllers"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for controller := range strings.FieldsSeq(string(has)) {
		err := os.WriteFile(filepath.Join(group, "cgroup.subtree_control"), []byte("+"+controller), 0)
		if err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.EOPNOTSUPP) {
			return err
		}
	}
	return nil
}

// inherit fills a new cpuset of version 1, which starts empty and accepts no
// process while it is empty.
func inherit(group string) error {
	for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
		own, err := os.ReadFile(filepath.Join(group, file))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if len(strings.TrimSpace(string(own))) > 0 || !legacy(group) {
			continue
		}
		above, err := os.ReadFile(filepath.Join(filepath.Dir(group), file))
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(group, file), above, 0); err != nil {
			return err
		}
	}
	return nil
}

func legacy(group string) bool {
	_, err := os.Stat(filepath.Join(group, "cgroup.controllers"))
	return errors.Is(err, fs.ErrNotExist)
}

// Enter puts a process into the group name, in every hierarchy.
func (t Tree) Enter(name string, pid int) error {
	found, err := hierarchies()
	if err != nil {
		return err
	}
	for _, hierarchy := range found {
		path := filepath.Join(hierarchy, string(t), name, "cgroup.procs")
		if err := os.WriteFile(path, []byte(strconv.Itoa(pid)), 0); err != nil {
			return fmt.Errorf("put process %d into its control group: %w", pid, err)
		}
	}
	return nil
}

// groups are the tree's folders in every hierarchy, the deepest first.
func (t Tree) groups() ([]string, error) {
	all, err := roots()
	if err != nil {
		return nil, err
	}
	var found []string
	for _, root := range all {
		err := filepath.WalkDir(filepath.Join(root, string(t)), func(path string, entry fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) {
				return nil // the folder does not exist, or has just disappeared
			}
			if err == nil && entry.IsDir() {
				found = append(found, path)
			}
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("list control groups: %w", err)
		}
	}
	slices.Reverse(found)
	return found, nil
}

// Groups are the paths of the tree's existing groups.
func (t Tree) Groups() ([]string, error) { return t.groups() }

// Processes are the processes in the tree, by their PIDs in this process's
// namespace, each with the path of its group below the tree.
func (t Tree) Processes() (map[int]string, error) {
	groups, err := t.groups()
	if err != nil {
		return nil, err
	}
	found := map[int]string{}
	for _, group := range groups {
		_, below, _ := strings.Cut(group, string(t))
		for _, pid := range processes(group) {
			if len(below) > len(found[pid]) {
				found[pid] = strings.TrimPrefix(below, "/")
			}
		}
	}
	return found, nil
}

func processes(group string) []int {
	content, err := os.ReadFile(filepath.Join(group, "cgroup.procs"))
	if err != nil {
		return nil // it has disappeared
	}
	var found []int
	for line := range strings.Lines(string(content)) {
		if pid, err := strconv.Atoi(strings.TrimSpace(line)); err == nil && pid > 0 {
			found = append(found, pid)
		}
	}
	return found
}

// Remove removes the tree after its processes have ended. It does not end them.
func (t Tree) Remove(ctx context.Context) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		groups, err := t.groups()
		if err != nil {
			return err
		}
		var failures []error
		for _, group := range groups {
			if err := os.Remove(group); err != nil && !errors.Is(err, fs.ErrNotExist) {
				failures = append(failures, fmt.Errorf("remove control group: %w", err))
			}
		}
		if len(failures) == 0 {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return failures[0]
		}
	}
}

// Prune removes the tree if it is empty.
func (t Tree) Prune() {
	all, err := roots()
	if err != nil {
		return
	}
	for _, root := range all {
		_ = os.Remove(filepath.Join(root, string(t))) // another lab is in it
	}
}
