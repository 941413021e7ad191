package images

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"time"

	"github.com/fairwaynet/fairway/images/oci"
)

// Registry is where releases are published.
const Registry = "ghcr.io/fairwaynet"

// unused is how long compressed layers are kept that no build uses.
const unused = 14 * 24 * time.Hour

// Dist builds an image for all architectures, and writes it into a folder:
//
//	NAME/                  OCI's image layout, with all architectures
//	NAME-ARCHITECTURE.tar  for docker load, ctr images import, and kind load
//	NAME-ARCHITECTURE.spdx.json
//
// say is called with a line for each file.
func (b *Builder) Dist(ctx context.Context, d Definition, architectures []string, folder string, say func(string)) (err error) {
	var images []oci.Image
	work, err := os.MkdirTemp(folder, ".images-")
	if err != nil {
		return fmt.Errorf("write %s: %w", d.Name, err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()
	for _, architecture := range architectures {
		built, err := b.Build(ctx, d, architecture)
		if err != nil {
			return err
		}
		images = append(images, built.Image)
		if err := b.write(d, built, filepath.Join(work, d.Name+"-"+architecture), say); err != nil {
			return err
		}
	}
	index, err := oci.NewIndex(b.Version.Name, d.labels(b.Version, nil), images...)
	if err != nil {
		return fmt.Errorf("write %s: %w", d.Name, err)
	}
	if err := index.WriteLayout(filepath.Join(work, d.Name)); err != nil {
		return err
	}
	digest, err := index.Digest()
	if err != nil {
		return err
	}
	say(fmt.Sprintf("%s@%s", path.Join(Registry, d.Name), digest))
	return move(work, folder)
}

// write writes what is for one architecture.
func (b *Builder) write(d Definition, built Built, to string, say func(string)) error {
	if err := built.WriteArchive(to+".tar", path.Join(Registry, d.Name)+":"+oci.TagOf(b.Version.Name)); err != nil {
		return err
	}
	if err := os.WriteFile(to+".spdx.json", built.SBOM, 0o644); err != nil {
		return err
	}
	size, err := built.Size()
	if err != nil {
		return err
	}
	digest, err := built.Digest()
	if err != nil {
		return err
	}
	say(fmt.Sprintf("%s.tar: %.1f MB, %s", filepath.Base(to), float64(size)/1e6, digest))
	return nil
}

// move moves everything that is in a folder. It replaces what is there.
func move(from, to string) error {
	entries, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		at := filepath.Join(to, entry.Name())
		if err := cmp.Or(os.RemoveAll(at), os.Rename(filepath.Join(from, entry.Name()), at)); err != nil {
			return fmt.Errorf("replace %s: %w", at, err)
		}
	}
	return nil
}

// Forget removes compressed layers from the cache that no build has used lately.
func (b *Builder) Forget(now time.Time) error {
	if b.Layers.Folder == "" {
		return nil
	}
	return b.Layers.Forget(now.Add(-unused))
}

// Find are the images of that name, or all of them if it is empty.
func Find(name string) ([]Definition, error) {
	if name == "" {
		return All(), nil
	}
	var known []string
	for _, d := range All() {
		if d.Name == name {
			return []Definition{d}, nil
		}
		known = append(known, d.Name)
	}
	slices.Sort(known)
	return nil, fmt.Errorf("there is no image %q; there are %v", name, known)
}
