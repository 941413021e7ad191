package debian

import (
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/fairwaynet/fairway/images/rootfs"
)

// Library finds a shared library by its name in one of the packages, in a folder that
// the loader searches. at is its path.
func Library(packages []Package, name string) (of Package, at string, file rootfs.File, err error) {
	for _, p := range packages {
		for _, at := range slices.Sorted(maps.Keys(p.Files)) {
			folder, base := path.Split(at)
			if base != name || !searched(folder) {
				continue
			}
			if file, found := resolve(p.Files, at); found {
				return p, at, file, nil
			}
		}
	}
	return Package{}, "", rootfs.File{}, fmt.Errorf("%s is in none of the pinned Debian packages (%s): add the one that has it to "+
		"Names in images/debian/renew.go, then run make images-pins", name, names(packages))
}

// searched reports whether the loader searches a folder: /usr/lib/aarch64-linux-gnu/.
func searched(folder string) bool {
	below, found := strings.CutPrefix(strings.TrimPrefix(folder, "/usr"), "/lib/")
	return found && strings.HasSuffix(below, "-linux-gnu/") && strings.Count(below, "/") == 1
}

// resolve is the regular file at a path, through links.
func resolve(files rootfs.Tree, at string) (rootfs.File, bool) {
	for range 5 {
		file, found := files[at]
		switch {
		case !found:
			return file, false
		case file.Mode.IsRegular():
			return file, true
		case file.Mode.Type() != fs.ModeSymlink:
			return file, false
		case path.IsAbs(file.Target):
			at = file.Target
		default:
			at = path.Join(path.Dir(at), file.Target)
		}
	}
	return rootfs.File{}, false
}

func names(packages []Package) string {
	var all []string
	for _, p := range packages {
		all = append(all, p.Package)
	}
	return strings.Join(all, ", ")
}
