package image

import (
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
)

// libraries are the folders that this machine's loader searches.
var libraries = []string{
	"/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib/aarch64-linux-gnu", "/usr/lib/aarch64-linux-gnu",
	"/lib64", "/usr/lib64", "/lib", "/usr/lib",
}

// files are all files of the image, by their path in it.
func (i Image) files() (map[string]string, error) {
	all := maps.Clone(i.Files)
	if all == nil {
		all = map[string]string{}
	}
	for at, from := range i.Programs {
		all[at] = from
		if err := addLibraries(all, from); err != nil {
			return nil, fmt.Errorf("find what %s needs: %w", from, err)
		}
	}
	return all, nil
}

// addLibraries adds the loader and the libraries of a program, and the libraries
// that those need.
func addLibraries(all map[string]string, program string) error {
	file, err := elf.Open(program)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }() // it was only read
	if section := file.Section(".interp"); section != nil {
		loader, err := section.Data()
		if err != nil {
			return err
		}
		at := string(loader[:max(len(loader)-1, 0)]) // without the NUL
		all[at] = at
	}
	needed, err := file.ImportedLibraries()
	if err != nil {
		return err
	}
	for _, name := range needed {
		path, err := findLibrary(name)
		if err != nil {
			return err
		}
		if _, known := all[path]; known {
			continue
		}
		all[path] = path
		if err := addLibraries(all, path); err != nil {
			return err
		}
	}
	return nil
}

func findLibrary(name string) (string, error) {
	for _, folder := range libraries {
		path := filepath.Join(folder, name)
		if _, err := os.Stat(path); err == nil {
			return path, nil
		} else if !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
	}
	return "", fmt.Errorf("the library %s is not on this machine", name)
}

func sorted(files map[string]string) []string { return slices.Sorted(maps.Keys(files)) }
