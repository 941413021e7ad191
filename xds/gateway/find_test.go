package gateway

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func TestFind(t *testing.T) {
	t.Chdir(t.TempDir())
	program := func(path string) string {
		t.Helper()
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, nil, 0o755)); err != nil {
			t.Fatal(err)
		}
		absolute, err := filepath.Abs(path)
		if err != nil {
			t.Fatal(err)
		}
		return absolute
	}
	find := func(path, env string) string {
		found, err := Find(path, func(string) string { return env })
		if err != nil {
			return err.Error()
		}
		return found
	}
	t.Setenv("PATH", filepath.Join(t.TempDir(), "bin"))
	if got := find("", ""); got != "envoy: executable file not found in $PATH" {
		t.Errorf("nowhere: %s", got)
	}
	inPath := program(filepath.Join(os.Getenv("PATH"), "envoy"))
	if got := find("", ""); got != inPath {
		t.Errorf("in PATH: %s", got)
	}
	installed := program(".tools/bin/envoy")
	if got := find("", ""); got != installed {
		t.Errorf("installed: %s", got)
	}
	named := program("named")
	if got := find("", named); got != named {
		t.Errorf("in the environment: %s", got)
	}
	if got := find(inPath, named); got != inPath {
		t.Errorf("by flag: %s", got)
	}
}
