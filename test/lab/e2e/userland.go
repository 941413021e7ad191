package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/fairwaynet/fairway/images/libraries"
	"github.com/fairwaynet/fairway/images/rootfs"
)

// folders are those that this machine's loader searches.
func folders() []string {
	return []string{
		"/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib/aarch64-linux-gnu", "/usr/lib/aarch64-linux-gnu",
		"/lib64", "/usr/lib64", "/lib", "/usr/lib",
	}
}

// addProgram adds a program of this machine, and its libraries under the same paths as
// here. A script needs none.
func addProgram(files rootfs.Tree, at, program string) error {
	content, err := os.ReadFile(program)
	if err != nil {
		return err
	}
	is, err := os.Stat(program)
	if err != nil {
		return err
	}
	files[at] = rootfs.File{Mode: is.Mode().Perm(), From: program}
	if bytes.HasPrefix(content, []byte("#!")) {
		return nil
	}
	needs, err := libraries.Of(bytes.NewReader(content), func(name string) (io.ReaderAt, error) {
		path, err := find(name)
		if err != nil {
			return nil, err
		}
		files[path] = rootfs.Program(path)
		content, err := os.ReadFile(path)
		return bytes.NewReader(content), err
	})
	if needs.Loader != "" {
		files[needs.Loader] = rootfs.Program(needs.Loader)
	}
	return err
}

// find is the path of a library on this machine.
func find(name string) (string, error) {
	for _, folder := range folders() {
		path := filepath.Join(folder, name)
		if _, err := os.Stat(path); err == nil {
			return path, nil
		} else if !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
	}
	return "", fmt.Errorf("the library %s is not on this machine", name)
}
