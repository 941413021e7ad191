package debian

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	"pault.ag/go/debian/deb"

	"github.com/fairwaynet/fairway/images/rootfs"
)

// Package is the content of a package.
type Package struct {
	Pin
	// Release is Debian's number: "13".
	Release string
	// Control is its description, as dpkg keeps it.
	Control string
	// Files are its files, by their path.
	Files rootfs.Tree
}

// maxFile is the size up to which a file of a package is read, in bytes.
const maxFile = 256 << 20

// Read reads a package's file.
func Read(at string, pin Pin) (Package, error) {
	file, err := os.Open(at)
	if err != nil {
		return Package{}, fmt.Errorf("read %s: %w", pin.Package, err)
	}
	defer func() { _ = file.Close() }() // it was only read
	packed, err := deb.Load(file, at)
	if err != nil {
		return Package{}, fmt.Errorf("read %s: %w", at, err)
	}
	defer func() { _ = packed.Close() }() // it was only read
	is := packed.Control
	if is.Package != pin.Package || is.Version.String() != pin.Version || is.Architecture.String() != pin.Architecture {
		return Package{}, fmt.Errorf("read %s: it holds %s %s for %s", at, is.Package, is.Version, is.Architecture.String())
	}
	var control bytes.Buffer
	if err := is.WriteTo(&control); err != nil {
		return Package{}, fmt.Errorf("read %s: %w", at, err)
	}
	files, err := readFiles(packed.Data)
	if err != nil {
		return Package{}, fmt.Errorf("read %s: %w", at, err)
	}
	return Package{Pin: pin, Control: control.String(), Files: files}, nil
}

// readFiles reads all files. Ownership is not kept, since an image's files belong to
// root.
func readFiles(archive *tar.Reader) (rootfs.Tree, error) {
	files := rootfs.Tree{}
	for {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return files, nil
		}
		if err != nil {
			return nil, err
		}
		at := path.Join("/", header.Name)
		file := rootfs.File{Mode: header.FileInfo().Mode(), Time: header.ModTime}
		switch header.Typeflag {
		case tar.TypeReg:
			file.Content, err = io.ReadAll(io.LimitReader(archive, maxFile))
		case tar.TypeLink:
			file = files[path.Join("/", header.Linkname)]
		case tar.TypeSymlink:
			file.Mode, file.Target = fs.ModeSymlink|0o777, header.Linkname
		case tar.TypeDir:
		default:
			err = fmt.Errorf("%s is of the unknown type %q", header.Name, header.Typeflag)
		}
		if err != nil {
			return nil, err
		}
		if at != "/" {
			files[at] = file
		}
	}
}

// Below are the package's files below a folder.
func (p Package) Below(folder string) rootfs.Tree {
	found := rootfs.Tree{}
	for at, file := range p.Files {
		if at == folder || strings.HasPrefix(at, folder+"/") {
			found[at] = file
		}
	}
	return found
}

// Record is what an image says of a package that it has files of: its license, and
// its description where scanners of images look for it.
func (p Package) Record() rootfs.Tree {
	record := rootfs.Tree{"/var/lib/dpkg/status.d/" + p.Package: rootfs.Text(p.Control)}
	license := "/usr/share/doc/" + p.Package + "/copyright"
	if file, found := p.Files[license]; found && file.Mode.IsRegular() {
		record[license] = file
	}
	return record
}
