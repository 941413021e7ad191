package lab

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/fairwaynet/fairway/test/binary"
	"github.com/fairwaynet/fairway/test/lab/image"
	"github.com/fairwaynet/fairway/test/tools"
)

// The images on nodes.
const (
	PauseImage   = "registry.k8s.io/pause:3.10.2"
	CoreDNSImage = "registry.k8s.io/coredns/coredns:v1.15.0"

	// EchoImage is a server that reports the addresses of a request, and a
	// client: test/lab/cmd/echo.
	EchoImage = "fairway.dev/echo:lab"

	// ControllerImage and GatewayImage are the images in config. The lab has its
	// own tag, because Kubernetes would pull "latest".
	ControllerImage = "ghcr.io/fairwaynet/fairway:lab"
	GatewayImage    = "ghcr.io/fairwaynet/fairway-gateway:lab"
)

// putImages writes all images into the lab's folder, and their paths into its
// options.
func (l *Lab) putImages(ctx context.Context) error {
	images, err := l.images(ctx)
	if err != nil {
		return err
	}
	var paths []string
	for _, name := range slices.Sorted(maps.Keys(images)) {
		path := filepath.Join(l.path("images"), name+".tar")
		if err := images[name].Write(path); err != nil {
			return err
		}
		paths = append(paths, path)
	}
	for _, from := range l.Options.Images {
		to := filepath.Join(l.path("images"), filepath.Base(from))
		if err := copyFile(from, to); err != nil {
			return fmt.Errorf("take image: %w", err)
		}
		paths = append(paths, to)
	}
	l.Options.Images = paths
	return nil
}

// images are the images that are built for this lab.
func (l *Lab) images(ctx context.Context) (map[string]image.Image, error) {
	pause, err := tools.Find("pause")
	if err != nil {
		return nil, err
	}
	echo, err := build(ctx, l.path("echo"), "test/lab/cmd/echo")
	if err != nil {
		return nil, err
	}
	images := map[string]image.Image{
		"pause": {
			Names: []string{PauseImage}, Files: map[string]string{"/pause": pause},
			Entrypoint: []string{"/pause"}, User: "65535:65535",
		},
		"echo": {Names: []string{EchoImage}, Files: map[string]string{"/echo": echo}, Entrypoint: []string{"/echo"}},
	}
	if l.Options.CoreDNS {
		coredns, err := tools.Find("coredns")
		if err != nil {
			return nil, err
		}
		images["coredns"] = image.Image{
			Names: []string{CoreDNSImage}, Files: map[string]string{"/coredns": coredns}, Entrypoint: []string{"/coredns"},
		}
	}
	if l.Options.FairwayImages {
		if err := l.addFairway(ctx, images); err != nil {
			return nil, err
		}
	}
	return images, nil
}

// addFairway adds Fairway's two images.
func (l *Lab) addFairway(ctx context.Context, images map[string]image.Image) error {
	fairway, err := build(ctx, l.path("fairway"), "cmd/fairway")
	if err != nil {
		return err
	}
	envoy, err := tools.Find("envoy")
	if err != nil {
		return err
	}
	controller := image.Image{
		Names: []string{ControllerImage}, Files: map[string]string{"/usr/local/bin/fairway": fairway},
		Entrypoint: []string{"/usr/local/bin/fairway"}, User: "65532:65532",
	}
	if _, err := os.Stat(authorities); err == nil {
		controller.Files[authorities] = authorities
	}
	gateway := controller
	gateway.Names, gateway.Programs = []string{GatewayImage}, map[string]string{"/usr/local/bin/envoy": envoy}
	images["fairway"], images["fairway-gateway"] = controller, gateway
	return nil
}

// authorities are the CA certificates that programs trust.
const authorities = "/etc/ssl/certs/ca-certificates.crt"

// build builds a command of this module, statically linked.
func build(ctx context.Context, to, name string) (string, error) {
	return to, binary.Build(ctx, to, name, []string{"CGO_ENABLED=0"}, "-ldflags", "-s -w")
}

// copyFile makes a hard link if possible.
func copyFile(from, to string) error {
	if os.Link(from, to) == nil {
		return nil
	}
	content, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, content, 0o644)
}
