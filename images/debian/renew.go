package debian

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"pault.ag/go/debian/control"
	"pault.ag/go/debian/deb"
	"pault.ag/go/debian/version"
)

// Names are the packages that are pinned: the C library that Envoy needs, the time
// zones, and the file that says which system they are from.
func Names() []string { return []string{"libc6", "tzdata", "base-files"} }

// Architectures are those for which packages are pinned.
func Architectures() []string { return []string{"amd64", "arm64"} }

// suites are where Debian's stable release and its corrections are.
func suites() []string {
	return []string{"debian/dists/trixie", "debian/dists/trixie-updates", "debian-security/dists/trixie-security"}
}

// keys sign those suites. A new release has new ones: they are in Debian's package
// debian-archive-keyring.
//
//go:embed keys/*.asc
var keys embed.FS

// Renew finds the newest version of every package, in indexes that Debian has signed.
func (a Archive) Renew(ctx context.Context, now time.Time) (Pins, error) {
	// A day later, snapshot.debian.org has all that mirrors have now.
	pins := Pins{Snapshot: now.UTC().Add(24 * time.Hour).Format("20060102T000000Z")}
	newest := map[[2]string]Pin{}
	for _, suite := range suites() {
		release, err := a.release(ctx, suite)
		if err != nil {
			return Pins{}, fmt.Errorf("renew pins: %w", err)
		}
		number, _, _ := strings.Cut(release.Values["Version"], ".")
		pins.Release = cmp.Or(pins.Release, number)
		for _, architecture := range Architectures() {
			found, err := a.packages(ctx, suite, architecture, release)
			if err != nil {
				return Pins{}, fmt.Errorf("renew pins: %w", err)
			}
			for _, pin := range found {
				of := [2]string{pin.Package, pin.Architecture}
				if known, seen := newest[of]; !seen || newer(pin.Version, known.Version) {
					newest[of] = pin
				}
			}
		}
	}
	for _, pin := range newest {
		pins.Pins = append(pins.Pins, pin)
	}
	slices.SortFunc(pins.Pins, func(a, b Pin) int {
		return cmp.Or(cmp.Compare(a.Package, b.Package), cmp.Compare(a.Architecture, b.Architecture))
	})
	return pins, pins.complete()
}

// complete is an error if a package is missing.
func (p Pins) complete() error {
	for _, architecture := range Architectures() {
		for _, name := range Names() {
			if !slices.ContainsFunc(p.For(architecture), func(pin Pin) bool { return pin.Package == name }) {
				return fmt.Errorf("renew pins: Debian has no package %s for %s", name, architecture)
			}
		}
	}
	return nil
}

func newer(a, b string) bool {
	x, err := version.Parse(a)
	if err != nil {
		return false
	}
	y, err := version.Parse(b)
	return err == nil && version.Compare(x, y) > 0
}

// release is the index of a suite's indexes, whose signature is right.
func (a Archive) release(ctx context.Context, suite string) (*control.Paragraph, error) {
	signed, err := a.read(ctx, suite+"/InRelease")
	if err != nil {
		return nil, err
	}
	keyring, err := keyring()
	if err != nil {
		return nil, err
	}
	reader, err := control.NewParagraphReader(bytes.NewReader(signed), &keyring)
	if err != nil {
		return nil, fmt.Errorf("check the signature of %s: %w: if this is a new release of Debian, add its keys to images/debian/keys",
			suite, err)
	}
	if reader.Signer() == nil {
		return nil, fmt.Errorf("check the signature of %s: there is none", suite)
	}
	return reader.Next()
}

func keyring() (openpgp.EntityList, error) {
	entries, err := keys.ReadDir("keys")
	if err != nil {
		return nil, err
	}
	var all openpgp.EntityList
	for _, entry := range entries {
		file, err := keys.Open("keys/" + entry.Name())
		if err != nil {
			return nil, err
		}
		entities, err := openpgp.ReadArmoredKeyRing(file)
		if err := errors.Join(err, file.Close()); err != nil {
			return nil, fmt.Errorf("read key %s: %w", entry.Name(), err)
		}
		all = append(all, entities...)
	}
	return all, nil
}

// packages are the wanted packages in a suite's index for an architecture.
func (a Archive) packages(ctx context.Context, suite, architecture string, release *control.Paragraph) ([]Pin, error) {
	name := "main/binary-" + architecture + "/Packages.xz"
	packed, err := a.read(ctx, suite+"/"+name)
	if err != nil {
		return nil, err
	}
	if sum := sha256.Sum256(packed); !lists(release.Values["SHA256"], hex.EncodeToString(sum[:]), name) {
		return nil, fmt.Errorf("%s/%s: %w: a mirror may be in the middle of an update: run again later", suite, name, errHash)
	}
	unpacked, err := deb.DecompressorFor(".xz")(bytes.NewReader(packed))
	if err != nil {
		return nil, fmt.Errorf("unpack %s/%s: %w", suite, name, err)
	}
	defer func() { _ = unpacked.Close() }() // it was only read
	reader, err := control.NewParagraphReader(unpacked, nil)
	if err != nil {
		return nil, err
	}
	var found []Pin
	for {
		paragraph, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return found, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read %s/%s: %w", suite, name, err)
		}
		is := paragraph.Values
		if !slices.Contains(Names(), is["Package"]) {
			continue
		}
		size, err := strconv.ParseInt(is["Size"], 10, 64)
		if err != nil {
			return nil, fmt.Errorf("read %s/%s: %s: %w", suite, name, is["Package"], err)
		}
		archive, _, _ := strings.Cut(suite, "/")
		found = append(found, Pin{
			is["Package"], is["Version"], is["Architecture"], archive + "/" + is["Filename"], size, is["SHA256"],
		})
	}
}

// lists reports whether a release's list of files has the file with that sum.
func lists(files, sum, name string) bool {
	for line := range strings.Lines(files) {
		if words := strings.Fields(line); len(words) == 3 && words[0] == sum && words[2] == name {
			return true
		}
	}
	return false
}

// maxIndex is the size up to which an index is read, in bytes.
const maxIndex = 64 << 20

// read is a file of the first mirror that has it.
func (a Archive) read(ctx context.Context, path string) ([]byte, error) {
	var tried []error
	for _, mirror := range a.Mirrors {
		var content bytes.Buffer
		err := get(ctx, mirror+"/"+path, &content, maxIndex)
		if err == nil {
			return content.Bytes(), nil
		}
		tried = append(tried, fmt.Errorf("%s/%s: %w", mirror, path, err))
	}
	return nil, fmt.Errorf("%w: check the network and the proxies between ($https_proxy), then run again", errors.Join(tried...))
}
