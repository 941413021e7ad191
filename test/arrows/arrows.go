// Package arrows holds the architecture: which package may import which, and why.
// It has no code for other packages. Its test reads the imports of every file of
// the module and explains each one that breaks a rule.
package arrows

import (
	"fmt"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
)

// file is a Go file of the module and what it imports.
type file struct {
	path    string // slash-separated, from the module's root
	name    string // from the package clause
	imports []imported
}

type imported struct {
	path string // without the module's name for packages of this module
	line int
}

func (f file) folder() string { return path.Dir(f.path) }
func (f file) isTest() bool   { return strings.HasSuffix(f.path, "_test.go") }

// files reads the files of a module, without those of modules inside it.
func files(root fs.FS, module string) ([]file, error) {
	var found []file
	err := fs.WalkDir(root, ".", func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && isForeign(root, name):
			return fs.SkipDir
		case entry.IsDir() || path.Ext(name) != ".go":
			return nil
		}
		f, err := parse(root, name, module)
		found = append(found, f)
		return err
	})
	return found, err
}

// isForeign reports whether go build ./... skips a folder.
func isForeign(root fs.FS, folder string) bool {
	if folder == "." {
		return false
	}
	base := path.Base(folder)
	if base == "testdata" || strings.HasPrefix(base, ".") || strings.HasPrefix(base, "_") {
		return true
	}
	_, err := fs.Stat(root, path.Join(folder, "go.mod"))
	return err == nil
}

func parse(root fs.FS, name, module string) (file, error) {
	source, err := fs.ReadFile(root, name)
	if err != nil {
		return file{}, err
	}
	positions := token.NewFileSet()
	syntax, err := parser.ParseFile(positions, name, source, parser.ImportsOnly)
	if err != nil {
		return file{}, err
	}
	f := file{path: name, name: syntax.Name.Name}
	for _, spec := range syntax.Imports {
		target, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return file{}, fmt.Errorf("%s: %w", positions.Position(spec.Pos()), err)
		}
		f.imports = append(f.imports, imported{
			path: strings.TrimPrefix(target, module+"/"),
			line: positions.Position(spec.Pos()).Line,
		})
	}
	return f, nil
}

// check returns a sentence for each import of the file that breaks a rule, and
// one if its package has a meaningless name.
func check(f file) []string {
	var wrong []string
	for _, r := range rules {
		if !binds(r, f) {
			continue
		}
		for _, target := range f.imports {
			if covers(r.never, target.path) {
				wrong = append(wrong, fmt.Sprintf("%s:%d: imports %s\n\t%s", f.path, target.line, target.path, r.why))
			}
		}
	}
	for _, name := range append(strings.Split(f.folder(), "/"), f.name) {
		if slices.Contains(nameless, name) {
			wrong = append(wrong, fmt.Sprintf("%s: is in a package named %s\n\t"+
				"name a package for what it is about: anything would fit that name", f.path, name))
			break
		}
	}
	return wrong
}

func binds(r rule, f file) bool {
	if r.tests && f.isTest() {
		return false
	}
	return (len(r.from) == 0 || covers(r.from, f.folder())) && !covers(r.but, f.folder())
}

// covers reports whether target is one of the paths or below one of them.
func covers(paths []string, target string) bool {
	return slices.ContainsFunc(paths, func(p string) bool {
		return target == p || strings.HasPrefix(target, p+"/")
	})
}
