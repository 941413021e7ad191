package libraries

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// onThisMachine opens a library of this machine.
func onThisMachine(name string) (io.ReaderAt, error) {
	for _, pattern := range []string{"/lib/*-linux-gnu", "/usr/lib/*-linux-gnu", "/lib64", "/usr/lib64", "/lib", "/usr/lib"} {
		found, _ := filepath.Glob(filepath.Join(pattern, name))
		for _, path := range found {
			content, err := os.ReadFile(path)
			return bytes.NewReader(content), err
		}
	}
	return nil, errors.New("no library " + name)
}

func program(t *testing.T, path string) io.ReaderAt {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return bytes.NewReader(content)
}

// Any program of this machine that is linked dynamically.
func TestAProgramNeedsItsLibraries(t *testing.T) {
	needs, err := Of(program(t, "/bin/sh"), onThisMachine)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(needs.Loader, "/ld-") || !slices.Contains(needs.Libraries, "libc.so.6") {
		t.Errorf("Of = %+v: no loader or no libc", needs)
	}
}

func TestAMissingLibraryIsTheError(t *testing.T) {
	missing := errors.New("it is in no package")
	_, err := Of(program(t, "/bin/sh"), func(string) (io.ReaderAt, error) { return nil, missing })
	if !errors.Is(err, missing) {
		t.Errorf("Of = %v, want %v", err, missing)
	}
}

func TestWhatIsNoProgramIsRefused(t *testing.T) {
	if _, err := Of(strings.NewReader("#!/bin/sh"), onThisMachine); err == nil {
		t.Error("Of accepts a script")
	}
}
