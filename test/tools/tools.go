// Package tools finds the real programs that tests run: Envoy, etcd,
// kube-apiserver, kubectl. It never fetches or builds them ("make tools" does)
// and never looks in $PATH, so that a test runs the pinned version or none.
package tools

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// Path is the absolute path of a program that install.sh has put in place. A
// missing program fails the test: a test that skips proves nothing.
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

// home is where install.sh keeps its tools: $FAIRWAY_TOOLS, else .tools beside
// the go.mod above the working directory, which is the package's in a test.
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

// Root is the repository, which this process is in.
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
