package lab

import (
	"context"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"

	"github.com/fairwaynet/fairway/images"
	"github.com/fairwaynet/fairway/images/oci"
	"github.com/fairwaynet/fairway/images/rootfs"
	"github.com/fairwaynet/fairway/test/binary"
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
	ControllerImage = images.Registry + "/fairway:lab"
	GatewayImage    = images.Registry + "/fairway-gateway:lab"
	NodeImage       = images.Registry + "/fairway-node:lab"
	DNSImage        = images.Registry + "/fairway-dns:lab"
)

// Registry is the only registry from which nodes can pull images, by plain HTTP. A test
// that needs one runs it on the client's machine: test/lab/cmd/registry.
const Registry = clientName + ":5000"

// archive is an image for the nodes, and the names under which they know it.
type archive struct {
	image oci.Image
	names []string
}

// putImages writes all images into the lab's folder, and their paths into its
// options.
func (l *Lab) putImages(ctx context.Context) error {
	built, err := l.images(ctx)
	if err != nil {
		return err
	}
	var paths []string
	for _, name := range slices.Sorted(maps.Keys(built)) {
		to := filepath.Join(l.path("images"), name+".tar")
		if err := built[name].image.WriteArchive(to, built[name].names...); err != nil {
			return err
		}
		paths = append(paths, to)
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
func (l *Lab) images(ctx context.Context) (map[string]archive, error) {
	pause, err := tools.Find("pause")
	if err != nil {
		return nil, err
	}
	echo, err := build(ctx, l.path("echo"), "test/lab/cmd/echo")
	if err != nil {
		return nil, err
	}
	programs := map[string]string{PauseImage: pause, EchoImage: echo}
	if l.Options.CoreDNS {
		if programs[CoreDNSImage], err = tools.Find("coredns"); err != nil {
			return nil, err
		}
	}
	all := map[string]archive{}
	for name, program := range programs {
		if all[filepath.Base(program)], err = single(name, program); err != nil {
			return nil, err
		}
	}
	if l.Options.FairwayImages || l.Options.hasChart() {
		if err := l.addFairway(ctx, all); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// single is the image of one static program.
func single(name, program string) (archive, error) {
	at := "/" + filepath.Base(program)
	image, err := oci.Layers{}.Image(
		oci.Config{Architecture: runtime.GOARCH, Entrypoint: []string{at}},
		oci.Layer{Files: rootfs.Tree{at: rootfs.Program(program), "/tmp": rootfs.Folder(fs.ModeSticky | 0o777)}},
	)
	return archive{image, []string{name}}, err
}

// addFairway adds Fairway's images, and writes the chart's values that name them.
func (l *Lab) addFairway(ctx context.Context, all map[string]archive) error {
	root, err := tools.Root()
	if err != nil {
		return err
	}
	version, err := images.VersionOf(ctx, root, "")
	if err != nil {
		return err
	}
	l.builder = images.NewBuilder(root, images.Cache(root), l.path("programs"), version)
	l.builder.Layers = oci.Layers{}
	// Others would only take seconds of each node.
	built, err := l.fairwayImages(ctx, func(name string) bool {
		switch path.Join(images.Registry, name) + ":lab" {
		case NodeImage:
			return l.Options.hasAgents()
		case DNSImage:
			return l.Options.hasDNS() || l.Options.FairwayImages
		}
		return l.Options.FairwayImages
	})
	if err != nil {
		return err
	}
	for name, image := range built {
		all[name] = archive{image, []string{path.Join(images.Registry, name) + ":lab"}}
	}
	return os.WriteFile(l.path("fairway.yaml"), fairwayValues, 0o600)
}

// fairwayImages are those of Fairway's images that are wanted, by name, as a release has them.
// Compressing the layers, which the lab leaves out, changes nothing in them.
func (l *Lab) fairwayImages(ctx context.Context, wanted func(name string) bool) (map[string]oci.Image, error) {
	all := map[string]oci.Image{}
	for _, definition := range images.All() {
		if !wanted(definition.Name) {
			continue
		}
		built, err := l.builder.Build(ctx, definition, runtime.GOARCH)
		if err != nil {
			return nil, err
		}
		all[definition.Name] = built.Image
	}
	return all, nil
}

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
