package debian

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/fairwaynet/fairway/images/rootfs"
)

func TestThePinsAreComplete(t *testing.T) {
	pins, err := Pinned()
	if err != nil {
		t.Fatal(err)
	}
	if err := pins.complete(); err != nil {
		t.Error(err)
	}
	if pins.String() != pinned {
		t.Error("pins.txt is not as Renew writes it")
	}
	if at, err := time.Parse("20060102T150405Z", pins.Snapshot); err != nil {
		t.Errorf("the snapshot is at %s, %v", at, err)
	}
}

func TestALineThatIsNoPinIsNamed(t *testing.T) {
	for _, text := range []string{
		"release 13\nsnapshot x\nlibc6 2.41",
		"release 13\nsnapshot x\nlibc6 2.41 amd64 debian/pool/a.deb many " + strings.Repeat("a", 64),
		"release 13\nsnapshot x\nlibc6 2.41 amd64 debian/pool/../../a.deb 7 " + strings.Repeat("a", 64),
		"release 13\nsnapshot x\nlibc6 2.41 amd64 debian/pool/a.deb 7 abc",
	} {
		if _, err := parse(text); err == nil || !strings.Contains(err.Error(), "line 3") {
			t.Errorf("%q: %v, want an error that names line 3", text, err)
		}
	}
	if _, err := parse(""); err == nil {
		t.Error("no pins are accepted")
	}
}

// entry is a file of a package.
type entry struct {
	name, content, link string
	kind                byte
}

func packTar(t *testing.T, entries ...entry) []byte {
	t.Helper()
	var packed bytes.Buffer
	zip := gzip.NewWriter(&packed)
	archive := tar.NewWriter(zip)
	for _, e := range entries {
		err := archive.WriteHeader(&tar.Header{
			Name: e.name, Typeflag: e.kind, Size: int64(len(e.content)), Linkname: e.link, Mode: 0o755,
			ModTime: time.Unix(1e9, 0), Uid: 7,
		})
		if _, writing := archive.Write([]byte(e.content)); err != nil || writing != nil {
			t.Fatal(err, writing)
		}
	}
	if err := errors.Join(archive.Close(), zip.Close()); err != nil {
		t.Fatal(err)
	}
	return packed.Bytes()
}

// pack makes a package. Real ones are compressed with xz, which the test with the real
// pins reads.
func pack(t *testing.T, name, version, architecture string, entries ...entry) ([]byte, Pin) {
	t.Helper()
	control := fmt.Sprintf("Package: %s\nVersion: %s\nArchitecture: %s\nDescription: an example\n", name, version, architecture)
	deb := []byte("!<arch>\n")
	for _, member := range []struct {
		name    string
		content []byte
	}{
		{"debian-binary", []byte("2.0\n")},
		{"control.tar.gz", packTar(t, entry{name: "./control", content: control, kind: tar.TypeReg})},
		{"data.tar.gz", packTar(t, entries...)},
	} {
		deb = fmt.Appendf(deb, "%-16s%-12d%-6d%-6d%-8s%-10d`\n", member.name, 0, 0, 0, "100644", len(member.content))
		deb = append(deb, member.content...)
		if len(member.content)%2 == 1 {
			deb = append(deb, '\n')
		}
	}
	sum := sha256.Sum256(deb)
	return deb, Pin{
		Package: name, Version: version, Architecture: architecture, Size: int64(len(deb)), SHA256: hex.EncodeToString(sum[:]),
		Path: fmt.Sprintf("debian/pool/main/%c/%s/%s_%s_%s.deb", name[0], name, name, version, architecture),
	}
}

// serve serves files by their path and notes what is asked for.
func serve(t *testing.T, files map[string][]byte) (address string, asked *[]string) {
	t.Helper()
	asked = &[]string{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		*asked = append(*asked, r.URL.EscapedPath())
		content, found := files[strings.TrimPrefix(r.URL.Path, "/")]
		if !found {
			http.NotFound(w, r)
			return
		}
		_, _ = w.Write(content)
	}))
	t.Cleanup(server.Close)
	return server.URL, asked
}

func TestAPackageIsFetchedOnce(t *testing.T) {
	content, pin := pack(t, "example", "1.0+deb13u1", "all")
	address, asked := serve(t, map[string][]byte{pin.Path: content})
	archive := Archive{Cache: t.TempDir(), Mirrors: []string{address}, Snapshots: address}
	for range 2 {
		path, err := archive.Fetch(t.Context(), pin, "20010909T000000Z")
		if err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, content) {
			t.Errorf("%s has %d bytes (%v), want %d", path, len(got), err, len(content))
		}
	}
	if want := []string{"/debian/pool/main/e/example/example_1.0%2Bdeb13u1_all.deb"}; !slices.Equal(*asked, want) {
		t.Errorf("asked for %q, want %q", *asked, want)
	}
}

func TestAForgottenVersionIsFetchedFromTheSnapshot(t *testing.T) {
	content, pin := pack(t, "example", "1.0", "all")
	forgetful, _ := serve(t, nil)
	snapshots, asked := serve(t, map[string][]byte{
		"archive/debian/20010909T000000Z/" + strings.TrimPrefix(pin.Path, "debian/"): content,
	})
	archive := Archive{Cache: t.TempDir(), Mirrors: []string{forgetful}, Snapshots: snapshots + "/archive"}
	if _, err := archive.Fetch(t.Context(), pin, "20010909T000000Z"); err != nil {
		t.Errorf("%v; asked the snapshot for %q", err, *asked)
	}
}

func TestAWrongFileIsRefused(t *testing.T) {
	content, pin := pack(t, "example", "1.0", "all")
	wrong := slices.Clone(content)
	wrong[len(wrong)-1] ^= 1
	address, _ := serve(t, map[string][]byte{pin.Path: wrong})
	archive := Archive{Cache: t.TempDir(), Mirrors: []string{address}, Snapshots: address}
	_, err := archive.Fetch(t.Context(), pin, "20010909T000000Z")
	if err == nil || !errors.Is(err, errHash) || !strings.Contains(err.Error(), "next: do not use that file") {
		t.Errorf("Fetch = %v, want an error that says what to do", err)
	}
	if left, _ := os.ReadDir(archive.Cache); len(left) != 0 {
		t.Errorf("the cache keeps %v", left)
	}
	// Nor is a file used that somebody has changed in the cache.
	if err := os.WriteFile(filepath.Join(archive.Cache, filepath.Base(pin.Path)), wrong, 0o644); err != nil {
		t.Fatal(err)
	}
	if path, err := archive.Fetch(t.Context(), pin, "20010909T000000Z"); err == nil {
		t.Errorf("Fetch = %s, with the wrong content", path)
	}
}

func TestNoNetworkSaysWhatToDo(t *testing.T) {
	_, pin := pack(t, "example", "1.0", "all")
	archive := Archive{Cache: t.TempDir(), Mirrors: []string{"http://127.0.0.1:1"}, Snapshots: "http://127.0.0.1:1"}
	_, err := archive.Fetch(t.Context(), pin, "20010909T000000Z")
	if err == nil || !strings.Contains(err.Error(), "next: check the network") || !strings.Contains(err.Error(), archive.Cache) {
		t.Errorf("Fetch = %v, want an error that says what to do", err)
	}
}

func TestAPackageIsRead(t *testing.T) {
	content, pin := pack(t, "example", "1.0", "amd64",
		entry{name: "./", kind: tar.TypeDir}, entry{name: "./usr/lib/x86_64-linux-gnu/", kind: tar.TypeDir},
		entry{name: "./usr/lib/x86_64-linux-gnu/liba.so.1.5", content: "library", kind: tar.TypeReg},
		entry{name: "./usr/lib/x86_64-linux-gnu/liba.so.1", link: "liba.so.1.5", kind: tar.TypeSymlink},
		entry{name: "./usr/lib/x86_64-linux-gnu/gconv/libb.so.1", content: "hidden", kind: tar.TypeReg},
		entry{name: "./usr/share/doc/example/copyright", content: "license", kind: tar.TypeReg},
		entry{name: "./usr/share/doc/example/again", link: "./usr/share/doc/example/copyright", kind: tar.TypeLink},
	)
	path := filepath.Join(t.TempDir(), "example.deb")
	if err := os.WriteFile(path, content, 0o644); err != nil {
		t.Fatal(err)
	}
	p, err := Read(path, pin)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(rootfs.Tree{
		"/usr/share/doc/example/copyright": {Mode: 0o755, Time: time.Unix(1e9, 0), Content: []byte("license")},
		"/usr/share/doc/example/again":     {Mode: 0o755, Time: time.Unix(1e9, 0), Content: []byte("license")},
	}, p.Below("/usr/share/doc/example")); diff != "" {
		t.Errorf("Below (-want +got)\n%s", diff)
	}
	record := p.Record()
	if got := string(record["/var/lib/dpkg/status.d/example"].Content); !strings.Contains(got, "Version: 1.0") {
		t.Errorf("the record is %q", got)
	}
	if string(record["/usr/share/doc/example/copyright"].Content) != "license" {
		t.Errorf("the record has no license: %v", record)
	}

	_, at, file, err := Library([]Package{p}, "liba.so.1")
	if err != nil || at != "/usr/lib/x86_64-linux-gnu/liba.so.1" || string(file.Content) != "library" || file.Mode != fs.FileMode(0o755) {
		t.Errorf("Library = %s %+v, %v, want the file that the link leads to", at, file, err)
	}
	if _, _, _, err := Library([]Package{p}, "libb.so.1"); err == nil || !strings.Contains(err.Error(), "none of the pinned Debian packages (example)") {
		t.Errorf("Library = %v, want an error: the loader does not look there", err)
	}

	pin.Version = "2.0"
	if _, err := Read(path, pin); err == nil || !strings.Contains(err.Error(), "it holds example 1.0") {
		t.Errorf("Read = %v, want an error: it is another version", err)
	}
}

func TestTheMirrorsOfAptAreFound(t *testing.T) {
	folder := t.TempDir()
	for name, text := range map[string]string{
		"sources.list":                "# a comment\ndeb http://one.test/debian trixie main\n",
		"sources.list.d/new.sources":  "Types: deb\nURIs: https://two.test/mirror/debian/ http://one.test/debian\nSuites: trixie\n",
		"sources.list.d/other.list":   "deb https://other.test/nodesource stable main\n",
		"sources.list.d/file.sources": "URIs: file:/mnt/debian\n",
	} {
		path := filepath.Join(folder, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	want := []string{"http://one.test", "https://two.test/mirror"}
	if got := aptMirrors(folder); !slices.Equal(got, want) {
		t.Errorf("aptMirrors = %q, want %q", got, want)
	}
	if got := aptMirrors(filepath.Join(folder, "none")); len(got) != 0 {
		t.Errorf("aptMirrors = %q without apt", got)
	}
}

// An index counts only with the signature of Debian's keys.
func TestAnIndexWithoutASignatureIsRefused(t *testing.T) {
	for name, text := range map[string]string{
		"none":  "Version: 13.1\n",
		"wrong": "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\nVersion: 13.1\n-----BEGIN PGP SIGNATURE-----\n\nwrong\n-----END PGP SIGNATURE-----\n",
	} {
		address, _ := serve(t, map[string][]byte{"debian/dists/trixie/InRelease": []byte(text)})
		_, err := Archive{Mirrors: []string{address}}.Renew(t.Context(), time.Unix(1e9, 0))
		if err == nil || !strings.Contains(err.Error(), "check the signature") {
			t.Errorf("%s: Renew = %v, want an error about the signature", name, err)
		}
	}
}

func TestANewerVersionIsByDebiansRules(t *testing.T) {
	for _, test := range []struct {
		a, b string
		want bool
	}{
		{"2.41-12+deb13u5", "2.41-12", true},
		{"2.41-12~bpo1", "2.41-12", false},
		{"2.41-9", "2.41-12", false},
		{"1:1.0", "9.0", true},
		{"2.41-12", "2.41-12", false},
	} {
		if got := newer(test.a, test.b); got != test.want {
			t.Errorf("newer(%s, %s) = %t", test.a, test.b, got)
		}
	}
}
