package sbom

import (
	"bytes"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/spdx/tools-golang/json"
)

func TestADocumentListsAllParts(t *testing.T) {
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	parts, err := Modules(program)
	if err != nil {
		t.Fatal(err)
	}
	parts = append(parts, Part{
		Name: "libc6", Version: "2.41-12", PURL: "pkg:deb/debian/libc6@2.41-12?arch=amd64", License: "LGPL-2.1-or-later",
		Source: "https://deb.debian.org/libc6.deb", SHA256: "11",
	}, Part{Name: "envoy", Version: "1.40.0", CPE: "cpe:2.3:a:envoyproxy:envoy:1.40.0:*:*:*:*:*:*:*"})
	image := Image{
		Name: "example", Version: "v1", Architecture: "amd64", Digest: "sha256:22", License: "Apache-2.0", Created: time.Unix(1e9, 0),
	}
	text, err := Document(image, parts)
	if err != nil {
		t.Fatal(err)
	}
	document, err := json.Read(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	versions := map[string]string{}
	for _, p := range document.Packages {
		versions[p.PackageName] = p.PackageVersion
		if p.FilesAnalyzed {
			t.Errorf("%s: files have not been analyzed", p.PackageName)
		}
	}
	for name, version := range map[string]string{"example": "v1", "libc6": "2.41-12", "envoy": "1.40.0"} {
		if versions[name] != version {
			t.Errorf("%s is %q, want %s", name, versions[name], version)
		}
	}
	if versions["stdlib"] == "" {
		t.Error("Go's own library is missing")
	}
	if got := len(document.Relationships); got != len(document.Packages) {
		t.Errorf("%d relationships of %d packages: the document describes the image, which contains the others", got, len(document.Packages))
	}
	if document.DocumentNamespace != "https://fairway.dev/spdx/example/sha256-22" || document.CreationInfo.Created != "2001-09-09T01:46:40Z" {
		t.Errorf("the document is %s of %s", document.DocumentNamespace, document.CreationInfo.Created)
	}
	slices.Reverse(parts)
	if again, err := Document(image, append(parts, parts[0])); err != nil || !bytes.Equal(text, again) {
		t.Errorf("the order of the parts, or a part that is named twice, makes another document (%v)", err)
	}
}

func TestAModuleIsWhereTheProxyHasIt(t *testing.T) {
	part := Module("github.com/ProtonMail/go-crypto", "v1.0.0+incompatible")
	if want := "https://proxy.golang.org/github.com/!proton!mail/go-crypto/@v/v1.0.0+incompatible.zip"; part.Source != want {
		t.Errorf("Source = %s, want %s", part.Source, want)
	}
}
