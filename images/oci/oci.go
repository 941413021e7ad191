// Package oci makes container images from files, writes them where container
// programs read them, and publishes them to registries. It needs no daemon and no
// base image. Nothing else that ships uses the registry library. It does not know what is
// in the images.
package oci

import (
	"fmt"
	"os"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Config is how an image runs, and what is said about it.
type Config struct {
	// Architecture is Go's word for it: amd64, arm64.
	Architecture string
	Entrypoint   []string
	Cmd          []string
	// User is a number, or two: user:group. Empty is root.
	User string
	// Labels say what the image is, by the keys of OCI's image specification. They
	// become annotations of the manifest, too, where registries look.
	Labels  map[string]string
	Created time.Time
}

// searchPath is where a program finds others by their name alone.
const searchPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// Image is an image for one architecture.
type Image struct {
	image v1.Image
}

// Image makes an image of layers, the lowest first.
func (l Layers) Image(config Config, layers ...Layer) (Image, error) {
	made := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	created := v1.Time{Time: config.Created.UTC()}
	for _, layer := range layers {
		content, err := l.layer(layer.Files)
		if err != nil {
			return Image{}, fmt.Errorf("make the layer with %s: %w", layer.Comment, err)
		}
		made, err = mutate.Append(made, mutate.Addendum{
			Layer: content, History: v1.History{Created: created, CreatedBy: "fairway images", Comment: layer.Comment},
		})
		if err != nil {
			return Image{}, fmt.Errorf("add the layer with %s: %w", layer.Comment, err)
		}
	}
	file, err := made.ConfigFile()
	if err != nil {
		return Image{}, fmt.Errorf("configure the image: %w", err)
	}
	file = file.DeepCopy()
	file.Created, file.OS, file.Architecture = created, "linux", config.Architecture
	file.Config = v1.Config{
		Entrypoint: config.Entrypoint, Cmd: config.Cmd, User: config.User, Env: []string{searchPath}, WorkingDir: "/",
		Labels: config.Labels,
	}
	if made, err = mutate.ConfigFile(made, file); err != nil {
		return Image{}, fmt.Errorf("configure the image: %w", err)
	}
	if len(config.Labels) > 0 {
		made = mutate.Annotations(made, config.Labels).(v1.Image)
	}
	return Image{made}, nil
}

// Digest is the digest of the image's manifest: "sha256:…".
func (i Image) Digest() (string, error) {
	digest, err := i.image.Digest()
	return digest.String(), err
}

// ID is the digest of the image's configuration. It is the same however the layers
// are compressed.
func (i Image) ID() (string, error) {
	id, err := i.image.ConfigName()
	return id.String(), err
}

// Size is what a node downloads, in bytes.
func (i Image) Size() (int64, error) {
	manifest, err := i.image.Manifest()
	if err != nil {
		return 0, err
	}
	size := manifest.Config.Size
	for _, layer := range manifest.Layers {
		size += layer.Size
	}
	return size, nil
}

// WriteArchive writes a file that "docker load" and "ctr images import" read. The
// names are those under which the image will be known there.
func (i Image) WriteArchive(to string, names ...string) error {
	tags := map[name.Tag]v1.Image{}
	for _, text := range names {
		tag, err := name.NewTag(text, name.StrictValidation)
		if err != nil {
			return fmt.Errorf("write %s: %w", to, err)
		}
		tags[tag] = i.image
	}
	if err := tarball.MultiWriteToFile(to, tags); err != nil {
		return fmt.Errorf("write %s: %w", to, err)
	}
	return os.Chmod(to, 0o644)
}
