// Package tools finds the real programs that tests run: Envoy, etcd,
// kube-apiserver, kubectl. It never fetches or builds them ("make tools" does).
// It never searches $PATH, so that a test runs the pinned version or none.
package tools

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// Path is the absolute path of a program that install.sh has installed. A missing
// program fails the test, because a skipped test proves nothing.
func Path(t testing.TB, name string) string {
	t.Helper()
	path, err := Find(name)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// Find is Path for code that runs without a test, such as TestMain.
func Find(name string) (string, error) {
	home, err := home()
	if err != nil {
		return "", err
	}
	path := filepath.Join(home, "bin", name)
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("%s is not at %s: run `make tools`", name, path)
	} else if err != nil {
		return "", fmt.Errorf("find %s: %w", name, err)
	}
	return path, nil
}

// home is the folder of install.sh's tools: $FAIRWAY_TOOLS, or else .tools beside
// the go.mod above the working directory. In a test, the working directory is the
// package's folder.
func home() (string, error) {
	if dir := os.Getenv("FAIRWAY_TOOLS"); dir != "" {
		return filepath.Abs(dir)
	}
	root, err := Root()
	if err != nil {
		return "", err
	}
	return filepath.Join(root, ".tools"), nil
}

// Root is the root of the repository that contains the working directory.
func Root() (string, error) {
	start, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("find the repository: %w", err)
	}
	for dir := start; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", fmt.Errorf("find the repository: no go.mod above %s", start)
		}
	}
}
