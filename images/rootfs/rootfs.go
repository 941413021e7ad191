// Package rootfs holds the files of an image's layer as values and writes them as a
// tar file. Equal trees make equal bytes: every file belongs to root, and nothing
// comes from the clock or from the machine.
package rootfs

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"time"
)

// Tree is the files of a layer, by their absolute, clean path in the image. Folders
// above them need no entry of their own.
type Tree map[string]File

// File is a file, a folder or a symbolic link.
type File struct {
	// Mode has permissions, fs.ModeSetuid, fs.ModeSticky, and fs.ModeDir or
	// fs.ModeSymlink for what is no regular file.
	Mode fs.FileMode

	// Time is when the file was changed. Zero is the Unix epoch.
	Time time.Time

	// Content is what a regular file holds, if From is empty.
	Content []byte

	// From is a file of this machine with the content.
	From string

	// Target is where a symbolic link leads.
	Target string
}

// Text is a regular file that everyone may read.
func Text(content string) File { return File{Mode: 0o644, Content: []byte(content)} }

// Program is an executable file with the content of a file of this machine.
func Program(from string) File { return File{Mode: 0o755, From: from} }

// Copy is a file that everyone may read, with the content of a file of this machine.
func Copy(from string) File { return File{Mode: 0o644, From: from} }

// Folder is an empty folder.
func Folder(mode fs.FileMode) File { return File{Mode: fs.ModeDir | mode} }

// Link is a symbolic link.
func Link(target string) File { return File{Mode: fs.ModeSymlink | 0o777, Target: target} }

// Read is the content of a regular file.
func (f File) Read() ([]byte, error) {
	if f.From == "" {
		return f.Content, nil
	}
	return os.ReadFile(f.From)
}

// Write writes the tree as a tar file.
func (t Tree) Write(to io.Writer) error {
	archive := tar.NewWriter(to)
	all := t.withParents()
	for _, at := range slices.Sorted(maps.Keys(all)) {
		if err := add(archive, at, all[at]); err != nil {
			return fmt.Errorf("add %s: %w", at, err)
		}
	}
	return archive.Close()
}

// withParents is the tree with the folders above its files.
func (t Tree) withParents() Tree {
	all := maps.Clone(t)
	for at := range t {
		for above := path.Dir(at); above != "/" && above != "."; above = path.Dir(above) {
			if _, known := all[above]; !known {
				all[above] = Folder(0o755)
			}
		}
	}
	return all
}

var errPath = errors.New("the path is not absolute and clean")

// add writes one entry.
func add(archive *tar.Writer, at string, file File) error {
	if !path.IsAbs(at) || path.Clean(at) != at || at == "/" {
		return errPath
	}
	header := &tar.Header{
		Typeflag: tar.TypeReg, Name: strings.TrimPrefix(at, "/"), Mode: permissions(file.Mode), ModTime: time.Unix(0, 0),
	}
	if !file.Time.IsZero() {
		header.ModTime = file.Time.Truncate(time.Second)
	}
	switch file.Mode.Type() {
	case 0:
		return addContent(archive, header, file)
	case fs.ModeDir:
		header.Typeflag, header.Name = tar.TypeDir, header.Name+"/"
	case fs.ModeSymlink:
		header.Typeflag, header.Linkname = tar.TypeSymlink, file.Target
	default:
		return fmt.Errorf("an image holds no file of type %s", file.Mode.Type())
	}
	return archive.WriteHeader(header)
}

// addContent writes a regular file.
func addContent(archive *tar.Writer, header *tar.Header, file File) error {
	var content io.Reader = bytes.NewReader(file.Content)
	header.Size = int64(len(file.Content))
	if file.From != "" {
		from, err := os.Open(file.From)
		if err != nil {
			return err
		}
		defer func() { _ = from.Close() }() // it was only read
		is, err := from.Stat()
		if err != nil {
			return err
		}
		if !is.Mode().IsRegular() {
			return fmt.Errorf("%s is no regular file", file.From)
		}
		content, header.Size = from, is.Size()
	}
	if err := archive.WriteHeader(header); err != nil {
		return err
	}
	_, err := io.Copy(archive, content)
	return err
}

// permissions are the permissions as tar has them.
func permissions(mode fs.FileMode) int64 {
	bits := int64(mode.Perm())
	if mode&fs.ModeSetuid != 0 {
		bits |= 0o4000
	}
	if mode&fs.ModeSetgid != 0 {
		bits |= 0o2000
	}
	if mode&fs.ModeSticky != 0 {
		bits |= 0o1000
	}
	return bits
}
