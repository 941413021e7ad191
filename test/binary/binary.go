// Package binary builds the commands of this repository for tests that run them.
package binary

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/fairwaynet/fairway/test/tools"
)

// Build builds a command of this repository, such as "cmd/fairway", into the file to.
// It adds env to the environment, and passes flags to go build.
//
// It looks at all of the module's sources: "go test" knows then what its result
// depends on, and does not take an older one from its cache.
//
// It keeps the program in bin/tests, so that "go build" links it again only after a
// change: the tests of many packages run the same program.
func Build(ctx context.Context, to, command string, env []string, flags ...string) error {
	root, err := tools.Root()
	if err == nil {
		err = look(root)
	}
	if err == nil {
		err = build(ctx, root, to, command, env, flags)
	}
	if err != nil {
		return fmt.Errorf("build %s: %w", command, err)
	}
	return nil
}

func build(ctx context.Context, root, to, command string, env, flags []string) (err error) {
	dir := filepath.Join(root, "bin", "tests")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	as := fnv.New64a()
	fmt.Fprint(as, command, env, flags)
	kept := filepath.Join(dir, fmt.Sprintf("%s-%x", path.Base(command), as.Sum64()))
	unlock, err := lock(kept + ".lock")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	args := append(append([]string{"build"}, flags...), "-o", kept, ".")
	build := exec.CommandContext(ctx, "go", args...)
	build.Dir = filepath.Join(root, command) // it may be of another module than this one
	build.Env = append(os.Environ(), env...)
	if said, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("%w\n%s", err, said)
	}
	return link(kept, to)
}

// lock takes an exclusive lock of a file, until unlock.
func lock(path string) (unlock func() error, err error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX); err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), file.Close())
	}
	return file.Close, nil
}

// link makes to a hard link to from, or a copy where links are impossible. The next
// build replaces from, and leaves to alone.
func link(from, to string) error {
	if err := os.Remove(to); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if os.Link(from, to) == nil {
		return nil
	}
	content, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, content, 0o755)
}

// look reads the folders of the sources: their entries' names, sizes and times are
// what "go test" compares.
func look(root string) error {
	return filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if !entry.IsDir() {
			return nil
		}
		switch relative, _ := filepath.Rel(root, path); {
		case relative == ".":
			return nil
		case strings.HasPrefix(entry.Name(), "."), entry.Name() == "testdata", relative == "docs", relative == "bin":
			return fs.SkipDir
		}
		return nil
	})
}
