package images

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"

	"github.com/fairwaynet/fairway/images/debian"
	"github.com/fairwaynet/fairway/images/envoy"
	"github.com/fairwaynet/fairway/images/oci"
	"github.com/fairwaynet/fairway/images/rootfs"
	"github.com/fairwaynet/fairway/images/sbom"
)

// Builder builds images from a checkout, one at a time.
type Builder struct {
	// Root is the checkout.
	Root    string
	Version Version
	// Work is a folder for programs that are built.
	Work string
	// Layers say whether to compress.
	Layers oci.Layers

	// Command builds a command of this repository for an architecture, and returns its path.
	Command func(ctx context.Context, command, architecture string) (string, error)
	// Envoy fetches Envoy for an architecture.
	Envoy func(ctx context.Context, architecture string) (envoy.Release, error)
	// Packages fetches the pinned Debian packages for an architecture.
	Packages func(ctx context.Context, architecture string) ([]debian.Package, error)
}

// NewBuilder is the builder for a checkout. It keeps what it fetches below cache, which
// other checkouts may share, and what it builds in work.
func NewBuilder(root, cache, work string, version Version) *Builder {
	b := &Builder{Root: root, Version: version, Work: work, Layers: oci.Layers{Folder: filepath.Join(cache, "layers")}}
	type program struct{ command, architecture, release string }
	built := map[program]string{} // asking Go whether it is up to date takes a second
	b.Command = func(ctx context.Context, command, architecture string) (path string, err error) {
		wanted := program{command, architecture, b.Version.Name}
		if built[wanted] == "" {
			built[wanted], err = b.build(ctx, command, architecture)
		}
		return built[wanted], err
	}
	b.Envoy = func(ctx context.Context, architecture string) (envoy.Release, error) {
		return envoy.Fetch(ctx, filepath.Join(root, envoy.Pins), cache, architecture)
	}
	archive := debian.NewArchive(filepath.Join(cache, "debian"))
	known := map[string][]debian.Package{} // unpacking takes a second
	b.Packages = func(ctx context.Context, architecture string) (found []debian.Package, err error) {
		if known[architecture] == nil {
			known[architecture], err = packages(ctx, archive, architecture)
		}
		return known[architecture], err
	}
	return b
}

// Cache is where the images of a checkout keep what they fetch: with the other tools,
// in $FAIRWAY_TOOLS or .tools.
func Cache(root string) string {
	if tools := os.Getenv("FAIRWAY_TOOLS"); tools != "" {
		return filepath.Join(tools, "images")
	}
	return filepath.Join(root, ".tools", "images")
}

// Fetch fetches what the images hold, for all architectures. After that, a build needs
// no network.
func (b *Builder) Fetch(ctx context.Context) error {
	for _, architecture := range Architectures() {
		if _, err := b.Envoy(ctx, architecture); err != nil {
			return err
		}
		if _, err := b.Packages(ctx, architecture); err != nil {
			return err
		}
	}
	return nil
}

// Built is an image for one architecture, and what it consists of.
type Built struct {
	oci.Image
	Architecture string
	SBOM         []byte
}

// Build builds an image for an architecture.
func (b *Builder) Build(ctx context.Context, d Definition, architecture string) (Built, error) {
	built, err := b.image(ctx, d, architecture)
	if err != nil {
		return Built{}, fmt.Errorf("build %s for %s: %w", d.Name, architecture, err)
	}
	return built, nil
}

func (b *Builder) image(ctx context.Context, d Definition, architecture string) (Built, error) {
	c := &contents{labels: map[string]string{}}
	packages, err := b.Packages(ctx, architecture)
	if err != nil {
		return Built{}, err
	}
	if err := b.addBase(ctx, c, packages); err != nil {
		return Built{}, err
	}
	if d.Envoy {
		if err := b.addEnvoy(ctx, c, packages, architecture); err != nil {
			return Built{}, err
		}
	}
	for _, command := range d.Commands {
		program, err := b.Command(ctx, command, architecture)
		if err != nil {
			return Built{}, err
		}
		if err := b.addCommand(c, command, program); err != nil {
			return Built{}, err
		}
	}
	image, err := b.Layers.Image(oci.Config{
		Architecture: architecture, Entrypoint: []string{where(d.Commands[0])}, User: d.User,
		Labels: d.labels(b.Version, c.labels), Created: b.Version.Time,
	}, c.layers...)
	if err != nil {
		return Built{}, err
	}
	digest, err := image.Digest()
	if err != nil {
		return Built{}, err
	}
	document, err := sbom.Document(sbom.Image{
		Name: d.Name, Version: b.Version.Name, Architecture: architecture, Digest: digest, License: d.licenses(), Created: b.Version.Time,
	}, c.parts)
	return Built{image, architecture, document}, err
}

// addCommand adds a command of ours, in a layer of its own: images that hold the same
// command share it, and so do releases the layers below.
func (b *Builder) addCommand(c *contents, command, program string) error {
	modules, err := sbom.Modules(program)
	if err != nil {
		return err
	}
	file := rootfs.Program(program)
	file.Time = b.Version.Time
	c.add(path.Base(command), rootfs.Tree{where(command): file}, append(modules, sbom.Part{
		Name: "github.com/fairwaynet/fairway", Version: b.Version.Name, License: license, Source: "git+" + Source,
		PURL: "pkg:golang/github.com/fairwaynet/fairway@" + b.Version.Name,
	})...)
	return nil
}

// build builds a command, statically linked and without paths of this machine.
func (b *Builder) build(ctx context.Context, command, architecture string) (string, error) {
	to, err := filepath.Abs(filepath.Join(b.Work, architecture, path.Base(command)))
	if err != nil {
		return "", err
	}
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-mod=readonly",
		"-ldflags", "-s -w -X main.release="+b.Version.Name, "-o", to, ".")
	build.Dir = filepath.Join(b.Root, command) // it may be of another module than this one
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+architecture,
		"GOFLAGS=", "GOWORK=off", "GOEXPERIMENT=", "GOAMD64=v1", "GOARM64=v8.0")
	if said, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build %s: %w\n%s", command, err, strings.TrimSpace(string(said)))
	}
	return to, nil
}
