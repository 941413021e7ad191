// Package image composes images from programs that were built here, as files that
// a container runtime imports. It needs no registry, no daemon and no base image.
// It knows Linux programs and the layout of "docker save", but not who runs the
// images.
package image

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"strings"
)

// Image is the content of a container image.
type Image struct {
	// Names are the names that pods use, with tags.
	Names []string

	// Files are files and folders of this machine, by their path in the image.
	// Folders are copied with their content.
	Files map[string]string

	// Programs are Files whose shared libraries and loader are added, under the
	// same paths as on this machine.
	Programs map[string]string

	// Folders are empty folders that everyone may write to.
	Folders []string

	Entrypoint []string
	Cmd        []string
	User       string
	Env        []string
}

// Write writes the image to a file.
func (i Image) Write(to string) (err error) {
	file, err := os.Create(to)
	if err != nil {
		return fmt.Errorf("write image: %w", err)
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	layer, err := os.CreateTemp(filepath.Dir(to), ".layer-")
	if err != nil {
		return fmt.Errorf("write image: %w", err)
	}
	defer func() { err = errors.Join(err, layer.Close(), os.Remove(layer.Name())) }()
	digest := sha256.New()
	if err := i.layer(io.MultiWriter(layer, digest)); err != nil {
		return fmt.Errorf("write image %s: %w", i.Names[0], err)
	}
	if err := i.archive(file, layer, hex.EncodeToString(digest.Sum(nil))); err != nil {
		return fmt.Errorf("write image %s: %w", i.Names[0], err)
	}
	return nil
}

// archive writes the layer, the configuration and the manifest.
func (i Image) archive(to io.Writer, layer *os.File, digest string) error {
	config, err := i.config(digest)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(config)
	name := hex.EncodeToString(sum[:]) + ".json"
	manifest, err := json.Marshal([]map[string]any{{
		"Config": name, "RepoTags": i.Names, "Layers": []string{digest + ".tar"},
	}})
	if err != nil {
		return err
	}
	at, err := layer.Stat()
	if err != nil {
		return err
	}
	if _, err := layer.Seek(0, io.SeekStart); err != nil {
		return err
	}
	archive := tar.NewWriter(to)
	for _, part := range []struct {
		name    string
		size    int64
		content io.Reader
	}{
		{digest + ".tar", at.Size(), layer},
		{name, int64(len(config)), bytes.NewReader(config)},
		{"manifest.json", int64(len(manifest)), bytes.NewReader(manifest)},
	} {
		if err := archive.WriteHeader(&tar.Header{Name: part.name, Size: part.size, Mode: 0o644}); err != nil {
			return err
		}
		if _, err := io.Copy(archive, part.content); err != nil {
			return err
		}
	}
	return archive.Close()
}

// config is the image's configuration, as OCI's image specification has it.
func (i Image) config(digest string) ([]byte, error) {
	type object = map[string]any
	env := append([]string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}, i.Env...)
	return json.Marshal(object{
		"architecture": runtime.GOARCH, "os": "linux",
		"config": object{"Entrypoint": i.Entrypoint, "Cmd": i.Cmd, "User": i.User, "Env": env, "WorkingDir": "/"},
		"rootfs": object{"type": "layers", "diff_ids": []string{"sha256:" + digest}},
	})
}

// layer writes the image's only layer. Equal files make an equal layer.
func (i Image) layer(to io.Writer) error {
	files, err := i.files()
	if err != nil {
		return err
	}
	l := &layer{tar: tar.NewWriter(to), made: map[string]bool{"/": true}}
	for _, folder := range append([]string{"/tmp"}, i.Folders...) {
		if err := l.folder(folder, 0o1777); err != nil {
			return err
		}
	}
	for _, at := range sorted(files) {
		if err := l.add(at, files[at]); err != nil {
			return err
		}
	}
	return l.tar.Close()
}

// layer is a layer that is being written.
type layer struct {
	tar  *tar.Writer
	made map[string]bool
}

// add copies a file, or a folder with its content.
func (l *layer) add(at, from string) error {
	is, err := os.Stat(from)
	if err != nil {
		return err
	}
	if err := l.folder(path.Dir(at), 0o755); err != nil {
		return err
	}
	if is.IsDir() {
		entries, err := os.ReadDir(from)
		if err != nil {
			return err
		}
		for _, entry := range entries {
			if err := l.add(path.Join(at, entry.Name()), filepath.Join(from, entry.Name())); err != nil {
				return err
			}
		}
		return nil
	}
	file, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }() // it was only read
	header := &tar.Header{Name: strings.TrimPrefix(at, "/"), Size: is.Size(), Mode: int64(is.Mode().Perm())}
	if err := l.tar.WriteHeader(header); err != nil {
		return err
	}
	_, err = io.Copy(l.tar, file)
	return err
}

// folder makes a folder and those above it.
func (l *layer) folder(at string, mode int64) error {
	if l.made[at] {
		return nil
	}
	if err := l.folder(path.Dir(at), 0o755); err != nil {
		return err
	}
	l.made[at] = true
	return l.tar.WriteHeader(&tar.Header{
		Typeflag: tar.TypeDir, Name: strings.TrimPrefix(at, "/") + "/", Mode: mode,
	})
}
