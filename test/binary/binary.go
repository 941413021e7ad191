// Package binary builds the commands of this module for tests that run them.
package binary

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"

	"github.com/fairwaynet/fairway/test/tools"
)

const module = "github.com/fairwaynet/fairway"

// Build builds a command of this module, as "cmd/fairway", into the file to, with
// env besides the environment, and flags.
//
// All of the module's sources are looked at: "go test" knows then what its result
// depends on, and takes none for theirs that is older.
func Build(ctx context.Context, to, command string, env []string, flags ...string) error {
	if err := look(); err != nil {
		return fmt.Errorf("build %s: %w", command, err)
	}
	args := append(append([]string{"build"}, flags...), "-o", to, path.Join(module, command))
	build := exec.CommandContext(ctx, "go", args...)
	build.Env = append(os.Environ(), env...)
	if said, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s: %w\n%s", command, err, said)
	}
	return nil
}

// look reads the folders of the sources: their entries' names, sizes and times are
// what "go test" compares.
func look() error {
	root, err := tools.Root()
	if err != nil {
		return err
	}
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
		case entry.Name()[0] == '.', entry.Name() == "testdata", relative == "docs", relative == "bin":
			return fs.SkipDir
		}
		return nil
	})
}
