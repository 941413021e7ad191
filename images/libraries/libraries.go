// Package libraries finds the shared libraries that a program needs to start. It
// reads ELF headers, so that it works for programs of another architecture, and runs
// nothing. It does not know where libraries are.
package libraries

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
)

// Needs are what a program needs to start.
type Needs struct {
	// Loader is the path of the program that loads the libraries. It is empty for a
	// static program.
	Loader string

	// Libraries are the names of the libraries, sorted, with those that the libraries
	// need. The loader can be among them.
	Libraries []string
}

// Of reads what a program needs. open opens a library by its name.
func Of(program io.ReaderAt, open func(name string) (io.ReaderAt, error)) (Needs, error) {
	file, err := elf.NewFile(program)
	if err != nil {
		return Needs{}, fmt.Errorf("read ELF: %w", err)
	}
	found := map[string]bool{}
	if err := add(found, file, file.Machine, open); err != nil {
		return Needs{}, err
	}
	loader, err := loader(file)
	return Needs{Loader: loader, Libraries: slices.Sorted(maps.Keys(found))}, err
}

// add adds what the file needs.
func add(found map[string]bool, file *elf.File, machine elf.Machine, open func(string) (io.ReaderAt, error)) error {
	names, err := file.ImportedLibraries()
	if err != nil {
		return fmt.Errorf("read the names of libraries: %w", err)
	}
	for _, name := range names {
		if found[name] {
			continue
		}
		found[name] = true
		content, err := open(name)
		if err != nil {
			return err
		}
		library, err := elf.NewFile(content)
		if err != nil {
			return fmt.Errorf("read %s: %w", name, err)
		}
		if library.Machine != machine {
			return fmt.Errorf("%s is for %s, and the program for %s", name, library.Machine, machine)
		}
		if err := add(found, library, machine, open); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// loader is the path in the program's header.
func loader(file *elf.File) (string, error) {
	for _, segment := range file.Progs {
		if segment.Type != elf.PT_INTERP {
			continue
		}
		path, err := io.ReadAll(segment.Open())
		if err != nil || len(path) < 2 {
			return "", errors.Join(errors.New("read the path of the loader"), err)
		}
		return string(bytes.TrimRight(path, "\x00")), nil
	}
	return "", nil
}
