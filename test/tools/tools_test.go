package tools

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestFindLooksInTheFolderOfTheEnvironment(t *testing.T) {
	home := t.TempDir()
	t.Setenv("FAIRWAY_TOOLS", home)
	want := filepath.Join(home, "bin", "etcd")
	if err := os.MkdirAll(filepath.Dir(want), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(want, nil, 0o755); err != nil {
		t.Fatal(err)
	}
	if got := Path(t, "etcd"); got != want {
		t.Errorf("Path = %s, want %s", got, want)
	}
}

func TestFindLooksBesideTheModule(t *testing.T) {
	t.Setenv("FAIRWAY_TOOLS", "")
	got, err := home()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(filepath.Dir(got), "go.mod")); err != nil {
		t.Errorf("home = %s, which is not beside a go.mod: %v", got, err)
	}
}

func TestAMissingToolSaysWhatToRun(t *testing.T) {
	t.Setenv("FAIRWAY_TOOLS", t.TempDir())
	if _, err := Find("etcd"); err == nil || !strings.Contains(err.Error(), "make tools") {
		t.Errorf("Find = %v, want an error that names `make tools`", err)
	}
}
