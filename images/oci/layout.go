package oci

import (
	"fmt"
	"os"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// versionKey is OCI's key for the name of what a layout holds.
const versionKey = "org.opencontainers.image.ref.name"

// Index is an image for several architectures.
type Index struct {
	// Version names the image in its layout, and its tag in a registry.
	Version string

	index v1.ImageIndex
}

// NewIndex joins the images of several architectures under the labels that they
// share.
func NewIndex(version string, labels map[string]string, images ...Image) (Index, error) {
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, image := range images {
		config, err := image.image.ConfigFile()
		if err != nil {
			return Index{}, fmt.Errorf("join images: %w", err)
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{
			Add: image.image, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: config.OS, Architecture: config.Architecture}},
		})
	}
	if len(labels) > 0 {
		index = mutate.Annotations(index, labels).(v1.ImageIndex)
	}
	return Index{version, index}, nil
}

// Digest is the digest of the index: "sha256:…".
func (i Index) Digest() (string, error) {
	digest, err := i.index.Digest()
	return digest.String(), err
}

// WriteLayout writes a new folder in OCI's image layout.
func (i Index) WriteLayout(folder string) error {
	if err := os.Mkdir(folder, 0o755); err != nil {
		return fmt.Errorf("write layout: %w", err)
	}
	to, err := layout.Write(folder, mutate.IndexMediaType(empty.Index, types.OCIImageIndex))
	if err == nil {
		err = to.AppendIndex(i.index, layout.WithAnnotations(map[string]string{versionKey: i.Version}))
	}
	if err != nil {
		return fmt.Errorf("write layout %s: %w", folder, err)
	}
	return nil
}

// ReadLayout reads a folder that WriteLayout wrote.
func ReadLayout(folder string) (Index, error) {
	all, err := layout.ImageIndexFromPath(folder)
	if err != nil {
		return Index{}, fmt.Errorf("read layout %s: %w", folder, err)
	}
	manifest, err := all.IndexManifest()
	if err != nil {
		return Index{}, fmt.Errorf("read layout %s: %w", folder, err)
	}
	if len(manifest.Manifests) != 1 || manifest.Manifests[0].Annotations[versionKey] == "" {
		return Index{}, fmt.Errorf("read layout %s: it does not hold one image with a version", folder)
	}
	index, err := all.ImageIndex(manifest.Manifests[0].Digest)
	if err != nil {
		return Index{}, fmt.Errorf("read layout %s: %w", folder, err)
	}
	return Index{manifest.Manifests[0].Annotations[versionKey], index}, nil
}
