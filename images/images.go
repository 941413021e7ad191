// Package images says which images Fairway has and what is in them, and builds them.
// The lab builds the same ones, so that what is tested is what ships.
package images

import (
	"maps"
	"path"
)

// Definition is one image.
type Definition struct {
	// Name is the image's name, in a registry and in dist.
	Name               string
	Title, Description string
	// Commands are the commands of this repository that it holds, by their folder. The first
	// is what it runs.
	Commands []string
	// Envoy says that it holds Envoy, too, with the C library that Envoy needs.
	Envoy bool
	// User is whom it runs as: user:group.
	User string
}

// nobody has no file and no right. Its number is the customary one of images that
// have no users.
const nobody = "65532:65532"

// administrator is root, to whom a node's kernel settings and the folders of its container
// runtime belong. The pod's securityContext says which capabilities root has.
const administrator = "0:0"

// All are the images of a release.
func All() []Definition {
	return []Definition{
		{
			Name: "fairway", Title: "Fairway",
			Description: "The controllers and the command line of Fairway, an ingress for Kubernetes on Envoy",
			Commands:    []string{"cmd/fairway"}, User: nobody,
		},
		{
			Name: "fairway-gateway", Title: "Fairway gateway",
			Description: "Envoy and what runs it, the gateway of Fairway, an ingress for Kubernetes",
			Commands:    []string{"cmd/fairway"}, Envoy: true, User: nobody,
		},
		{
			Name: "fairway-node", Title: "Fairway node",
			Description: "The agent of a node and the CNI plugin that it installs, the pod network of Fairway, for Kubernetes",
			Commands:    []string{"cmd/fairway", "cmd/fairway-cni"}, User: administrator,
		},
		{
			Name: "fairway-dns", Title: "Fairway DNS",
			Description: "CoreDNS with what a cluster's DNS needs, for Kubernetes",
			Commands:    []string{"dns/cmd/fairway-dns"}, User: nobody,
		},
	}
}

// Architectures are those for which a release has images, in Go's words.
func Architectures() []string { return []string{"amd64", "arm64"} }

// Binaries is the folder of programs in an image.
const Binaries = "/usr/local/bin"

// where a command is in an image.
func where(command string) string { return path.Join(Binaries, path.Base(command)) }

// Source is where the code is.
const Source = "https://github.com/fairwaynet/fairway"

// license is that of our code, and of Envoy.
const license = "Apache-2.0"

// licenses are those of all that an image holds, as an SPDX expression.
func (d Definition) licenses() string {
	if d.Envoy {
		return license + " AND LGPL-2.1-or-later" // the C library
	}
	return license
}

// labels say what the image is.
func (d Definition) labels(v Version, more map[string]string) map[string]string {
	labels := map[string]string{
		"org.opencontainers.image.title":         d.Title,
		"org.opencontainers.image.description":   d.Description,
		"org.opencontainers.image.source":        Source,
		"org.opencontainers.image.url":           Source,
		"org.opencontainers.image.documentation": Source + "/tree/main/docs",
		"org.opencontainers.image.vendor":        "Fairway",
		"org.opencontainers.image.licenses":      d.licenses(),
		"org.opencontainers.image.version":       v.Name,
		"org.opencontainers.image.revision":      v.Revision,
		"org.opencontainers.image.created":       v.created(),
	}
	maps.Copy(labels, more)
	return labels
}
