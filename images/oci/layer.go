package oci

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/klauspost/compress/gzip"

	"github.com/fairwaynet/fairway/images/rootfs"
)

// Layer is one layer of an image.
type Layer struct {
	// Comment says in the image's history what the layer is.
	Comment string
	Files   rootfs.Tree
}

// Layers makes layers. It keeps compressed ones in Folder, because compressing costs
// most of a build; if Folder is empty it does not compress. The identity of an image
// is the same either way.
type Layers struct {
	Folder string
}

// level is the best that gzip can do. A newer format would save a fifth, but "docker
// load" and old runtimes do not know it.
const level = gzip.BestCompression

// layer makes a layer.
func (l Layers) layer(files rootfs.Tree) (v1.Layer, error) {
	plain := newCounter()
	if err := files.Write(plain); err != nil {
		return nil, err
	}
	made := &layer{files: files, diffID: plain.sum(), digest: plain.sum(), size: plain.size, media: types.OCIUncompressedLayer}
	if l.Folder == "" {
		return made, nil
	}
	made.media = types.OCILayer
	made.compressed = filepath.Join(l.Folder, made.diffID.Hex+".tar.gz")
	if err := compress(made.compressed, files); err != nil {
		return nil, fmt.Errorf("compress: %w", err)
	}
	compressed, err := os.Open(made.compressed)
	if err != nil {
		return nil, err
	}
	defer func() { _ = compressed.Close() }() // it was only read
	packed := newCounter()
	if _, err := io.Copy(packed, compressed); err != nil {
		return nil, err
	}
	made.digest, made.size = packed.sum(), packed.size
	return made, nil
}

// compress writes the layer to a file, unless the file is there.
func compress(path string, files rootfs.Tree) (err error) {
	now := time.Now() // for Forget
	if err := os.Chtimes(path, now, now); err == nil || !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	file, err := os.CreateTemp(filepath.Dir(path), ".layer-")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(file.Name()))
		}
	}()
	packer, err := gzip.NewWriterLevel(file, level)
	if err != nil {
		return errors.Join(err, file.Close())
	}
	if err := errors.Join(files.Write(packer), packer.Close(), file.Chmod(0o644), file.Close()); err != nil {
		return err
	}
	return os.Rename(file.Name(), path)
}

// Forget removes the layers that no build has used since then.
func (l Layers) Forget(since time.Time) error {
	entries, err := os.ReadDir(l.Folder)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	for _, entry := range entries {
		is, err := entry.Info()
		if err == nil && is.ModTime().Before(since) {
			err = os.Remove(filepath.Join(l.Folder, entry.Name()))
		}
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("forget old layers: %w", err)
		}
	}
	return err
}

// layer is a layer whose tar file is made whenever it is read.
type layer struct {
	files          rootfs.Tree
	compressed     string // a file, or empty
	diffID, digest v1.Hash
	size           int64
	media          types.MediaType
}

func (l *layer) Digest() (v1.Hash, error)             { return l.digest, nil }
func (l *layer) DiffID() (v1.Hash, error)             { return l.diffID, nil }
func (l *layer) Size() (int64, error)                 { return l.size, nil }
func (l *layer) MediaType() (types.MediaType, error)  { return l.media, nil }
func (l *layer) Uncompressed() (io.ReadCloser, error) { return l.tar(), nil }

func (l *layer) Compressed() (io.ReadCloser, error) {
	if l.compressed == "" {
		return l.tar(), nil
	}
	return os.Open(l.compressed)
}

// tar is the tar file. Closing it ends the goroutine that writes it.
func (l *layer) tar() io.ReadCloser {
	reader, writer := io.Pipe()
	go func() { writer.CloseWithError(l.files.Write(writer)) }()
	return reader
}

// counter sums up and counts what is written to it.
type counter struct {
	hash.Hash
	size int64
}

func newCounter() *counter { return &counter{Hash: sha256.New()} }

func (c *counter) Write(part []byte) (int, error) {
	c.size += int64(len(part))
	return c.Hash.Write(part)
}

func (c *counter) sum() v1.Hash {
	return v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(c.Sum(nil))}
}
