// Package sbom writes what an image consists of, as an SPDX 2.3 document in JSON
// (https://spdx.github.io/spdx-spec/v2.3/). It is the only user of the SPDX library.
package sbom

import (
	"bytes"
	"cmp"
	"debug/buildinfo"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/spdx/tools-golang/json"
	"github.com/spdx/tools-golang/spdx/v2/common"
	"github.com/spdx/tools-golang/spdx/v2/v2_3"
)

// Part is one thing that an image consists of.
type Part struct {
	Name, Version string
	// PURL is the package's name in all ecosystems: https://github.com/package-url.
	PURL string
	// CPE is its name in lists of vulnerabilities, if it has no PURL that they know.
	CPE string
	// License is an SPDX expression. Empty is not known.
	License string
	// Source is where it comes from. Empty is not known.
	Source string
	// SHA256 is the sum of the file at Source. Empty is not known.
	SHA256 string
}

// Image is the image that a document describes.
type Image struct {
	Name, Version, Architecture string
	// Digest is that of its manifest: "sha256:…".
	Digest  string
	License string
	Created time.Time
}

// Modules are the Go modules of a program, and Go's own library.
func Modules(program string) ([]Part, error) {
	build, err := buildinfo.ReadFile(program)
	if err != nil {
		return nil, fmt.Errorf("list the Go modules of %s: %w", program, err)
	}
	version := strings.TrimPrefix(build.GoVersion, "go")
	parts := []Part{{
		Name: "stdlib", Version: version, PURL: "pkg:golang/stdlib@" + version, License: "BSD-3-Clause",
		CPE: "cpe:2.3:a:golang:go:" + version + ":*:*:*:*:*:*:*", Source: "https://go.dev/dl/",
	}}
	for _, module := range build.Deps {
		if module.Replace != nil {
			module = module.Replace
		}
		parts = append(parts, Module(module.Path, module.Version))
	}
	return parts, nil
}

// Module is a Go module.
func Module(path, version string) Part {
	return Part{
		Name: path, Version: version, PURL: "pkg:golang/" + path + "@" + url.PathEscape(version),
		Source: "https://proxy.golang.org/" + escape(path) + "/@v/" + escape(version) + ".zip",
	}
}

var upper = regexp.MustCompile(`[A-Z]`)

// escape is a module's path as the proxy has it.
func escape(path string) string {
	return upper.ReplaceAllStringFunc(path, func(letter string) string { return "!" + strings.ToLower(letter) })
}

// Document is the document of an image. Equal parts make equal bytes, in any order.
func Document(image Image, parts []Part) ([]byte, error) {
	parts = slices.Clone(parts)
	slices.SortFunc(parts, func(a, b Part) int { return cmp.Or(cmp.Compare(a.PURL, b.PURL), cmp.Compare(a.Name, b.Name)) })
	parts = slices.Compact(parts)
	const root = "Image"
	whole := &v2_3.Package{
		PackageName: image.Name, PackageSPDXIdentifier: root, PackageVersion: image.Version, PrimaryPackagePurpose: "CONTAINER",
		PackageDownloadLocation: "NOASSERTION", PackageLicenseDeclared: cmp.Or(image.License, "NOASSERTION"),
		PackageChecksums: checksums(strings.TrimPrefix(image.Digest, "sha256:")),
		PackageExternalReferences: references(Part{PURL: fmt.Sprintf("pkg:oci/%s@%s?arch=%s&tag=%s",
			image.Name, url.QueryEscape(image.Digest), image.Architecture, url.QueryEscape(image.Version))}),
	}
	document := v2_3.Document{
		SPDXVersion: v2_3.Version, DataLicense: v2_3.DataLicense, SPDXIdentifier: "DOCUMENT",
		DocumentName:      fmt.Sprintf("%s-%s-%s", image.Name, image.Version, image.Architecture),
		DocumentNamespace: fmt.Sprintf("https://fairway.dev/spdx/%s/%s", image.Name, strings.ReplaceAll(image.Digest, ":", "-")),
		CreationInfo: &v2_3.CreationInfo{
			Created: image.Created.UTC().Format(time.RFC3339), Creators: []common.Creator{{CreatorType: "Tool", Creator: "fairway-images"}},
		},
		Packages: []*v2_3.Package{whole},
		Relationships: []*v2_3.Relationship{{
			RefA: common.MakeDocElementID("", "DOCUMENT"), RefB: common.MakeDocElementID("", root), Relationship: common.TypeRelationshipDescribe,
		}},
	}
	for number, part := range parts {
		id := fmt.Sprintf("Package-%d-%s", number, identifier(part.Name))
		document.Packages = append(document.Packages, described(id, part))
		document.Relationships = append(document.Relationships, &v2_3.Relationship{
			RefA: common.MakeDocElementID("", root), RefB: common.MakeDocElementID("", id), Relationship: common.TypeRelationshipContains,
		})
	}
	var text bytes.Buffer
	if err := json.Write(document, &text, json.Indent("  "), json.EscapeHTML(false)); err != nil {
		return nil, fmt.Errorf("write SBOM of %s: %w", image.Name, err)
	}
	return text.Bytes(), nil
}

// described is a part as SPDX has it.
func described(id string, part Part) *v2_3.Package {
	return &v2_3.Package{
		PackageName: part.Name, PackageSPDXIdentifier: common.ElementID(id), PackageVersion: part.Version,
		PackageDownloadLocation: cmp.Or(part.Source, "NOASSERTION"), PackageChecksums: checksums(part.SHA256),
		PackageLicenseConcluded: "NOASSERTION", PackageLicenseDeclared: cmp.Or(part.License, "NOASSERTION"),
		PackageCopyrightText: "NOASSERTION", PackageExternalReferences: references(part),
	}
}

func checksums(sum string) []common.Checksum {
	if sum == "" {
		return nil
	}
	return []common.Checksum{{Algorithm: common.SHA256, Value: sum}}
}

func references(part Part) []*v2_3.PackageExternalReference {
	var all []*v2_3.PackageExternalReference
	if part.PURL != "" {
		all = append(all, &v2_3.PackageExternalReference{
			Category: common.CategoryPackageManager, RefType: common.TypePackageManagerPURL, Locator: part.PURL,
		})
	}
	if part.CPE != "" {
		all = append(all, &v2_3.PackageExternalReference{
			Category: common.CategorySecurity, RefType: common.TypeSecurityCPE23Type, Locator: part.CPE,
		})
	}
	return all
}

var foreign = regexp.MustCompile(`[^A-Za-z0-9.-]+`)

// identifier is a name in the letters that SPDX allows in one.
func identifier(name string) string { return foreign.ReplaceAllString(name, "-") }
