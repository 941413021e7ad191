package oci

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"sigs.k8s.io/yaml"
)

// Helm's media types: https://helm.sh/docs/topics/registries/
const (
	chartConfig types.MediaType = "application/vnd.cncf.helm.config.v1+json"
	chartLayer  types.MediaType = "application/vnd.cncf.helm.chart.content.v1.tar+gzip"
)

// maxChart is the size up to which a chart is read, in bytes. Real ones are smaller by
// three orders of magnitude.
const maxChart = 64 << 20

// PushChart publishes a chart, a file of "helm package", so that "helm install"
// finds it at oci://FOLDER/NAME, where folder is "ghcr.io/fairwaynet/charts".
func (p Publisher) PushChart(ctx context.Context, tgz, folder string) error {
	chart, err := Chart(tgz, folder)
	if err != nil {
		return err
	}
	return p.Publish(ctx, chart)
}

// Chart is a chart as a registry is to hold it.
func Chart(tgz, folder string) (Artifact, error) {
	packed, err := os.ReadFile(tgz)
	if err != nil {
		return Artifact{}, fmt.Errorf("read chart: %w", err)
	}
	metadata, err := chartMetadata(packed)
	if err != nil {
		return Artifact{}, fmt.Errorf("read chart %s: %w", tgz, err)
	}
	var of struct{ Name, Version, Description string }
	if err := json.Unmarshal(metadata, &of); err != nil {
		return Artifact{}, fmt.Errorf("read chart %s: Chart.yaml: %w", tgz, err)
	}
	if of.Name == "" || of.Version == "" {
		return Artifact{}, fmt.Errorf("read chart %s: Chart.yaml has no name or no version", tgz)
	}
	made := &chart{config: metadata, layer: static.NewLayer(packed, chartLayer), annotations: map[string]string{
		"org.opencontainers.image.title": of.Name, "org.opencontainers.image.version": of.Version,
		"org.opencontainers.image.description": of.Description,
	}}
	image, err := partial.CompressedToImage(made)
	if err != nil {
		return Artifact{}, fmt.Errorf("read chart %s: %w", tgz, err)
	}
	return Artifact{Repository: path.Join(folder, of.Name), Version: of.Version, content: image}, nil
}

// chartMetadata is Chart.yaml, as JSON.
func chartMetadata(packed []byte) ([]byte, error) {
	unpacked, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, err
	}
	for files := tar.NewReader(io.LimitReader(unpacked, maxChart)); ; {
		header, err := files.Next()
		if errors.Is(err, io.EOF) {
			return nil, errors.New("it holds no Chart.yaml")
		}
		if err != nil {
			return nil, err
		}
		if folder, file, _ := strings.Cut(header.Name, "/"); folder == "" || file != "Chart.yaml" {
			continue
		}
		content, err := io.ReadAll(files)
		if err != nil {
			return nil, err
		}
		return yaml.YAMLToJSON(content)
	}
}

// chart is a chart as Helm lays it out: its metadata is the configuration, and the
// packed chart is the only layer.
type chart struct {
	config      []byte
	layer       v1.Layer
	annotations map[string]string
}

func (c *chart) RawConfigFile() ([]byte, error)      { return c.config, nil }
func (c *chart) MediaType() (types.MediaType, error) { return types.OCIManifestSchema1, nil }

func (c *chart) LayerByDigest(v1.Hash) (partial.CompressedLayer, error) { return c.layer, nil }

func (c *chart) RawManifest() ([]byte, error) {
	config, size, err := v1.SHA256(bytes.NewReader(c.config))
	if err != nil {
		return nil, err
	}
	layer, err := partial.Descriptor(c.layer)
	if err != nil {
		return nil, err
	}
	return json.Marshal(v1.Manifest{
		SchemaVersion: 2, MediaType: types.OCIManifestSchema1,
		Config: v1.Descriptor{MediaType: chartConfig, Size: size, Digest: config},
		Layers: []v1.Descriptor{*layer}, Annotations: c.annotations,
	})
}
