// Package debian takes files out of pinned Debian packages: it knows which packages,
// fetches them from any mirror, checks their hashes, and reads them. Nothing of it
// comes from the machine that builds, so that the same pins give the same files
// everywhere, for both architectures.
package debian

import (
	"bufio"
	_ "embed" // the pins
	"fmt"
	"path"
	"strconv"
	"strings"
)

//go:embed pins.txt
var pinned string

// Pin is one package, for one architecture.
type Pin struct {
	Package string
	Version string
	// Architecture is Debian's word for it, which is Go's, too, for amd64 and arm64;
	// or "all".
	Architecture string
	// Path is where mirrors have it: "debian/pool/…" or "debian-security/pool/…".
	Path   string
	Size   int64
	SHA256 string
}

// Pins are the packages that images take files from.
type Pins struct {
	// Release is Debian's number: "13".
	Release string
	// Snapshot is a time at which snapshot.debian.org has all of them, as its addresses
	// have it: "20261201T000000Z".
	Snapshot string
	Pins     []Pin
}

// Pinned are the pins of this version of Fairway.
func Pinned() (Pins, error) { return parse(pinned) }

// For are the packages of an architecture.
func (p Pins) For(architecture string) []Pin {
	var all []Pin
	for _, pin := range p.Pins {
		if pin.Architecture == architecture || pin.Architecture == "all" {
			all = append(all, pin)
		}
	}
	return all
}

// header says what the file is.
const header = `# The Debian packages that images take files from. "make images-pins" writes this
# file: the newest version of each package, and its hash from the signed index.
#
# package version architecture path size sha256
`

// String is the pins as their file has them.
func (p Pins) String() string {
	var text strings.Builder
	fmt.Fprintf(&text, "%s\nrelease %s\nsnapshot %s\n", header, p.Release, p.Snapshot)
	for _, pin := range p.Pins {
		fmt.Fprintln(&text, pin.Package, pin.Version, pin.Architecture, pin.Path, pin.Size, pin.SHA256)
	}
	return text.String()
}

// parse reads the file of pins.
func parse(text string) (Pins, error) {
	var p Pins
	lines := bufio.NewScanner(strings.NewReader(text))
	for number := 1; lines.Scan(); number++ {
		words := strings.Fields(lines.Text())
		switch {
		case len(words) == 0 || strings.HasPrefix(words[0], "#"):
		case len(words) == 2 && words[0] == "release":
			p.Release = words[1]
		case len(words) == 2 && words[0] == "snapshot":
			p.Snapshot = words[1]
		case len(words) == 6:
			size, err := strconv.ParseInt(words[4], 10, 64)
			if err != nil || len(words[5]) != 64 || path.Clean(words[3]) != words[3] {
				return Pins{}, fmt.Errorf("read pins of Debian packages: line %d: %q is no pin", number, lines.Text())
			}
			p.Pins = append(p.Pins, Pin{words[0], words[1], words[2], words[3], size, words[5]})
		default:
			return Pins{}, fmt.Errorf("read pins of Debian packages: line %d: %q has %d words, want 6", number, lines.Text(), len(words))
		}
	}
	if p.Release == "" || p.Snapshot == "" {
		return Pins{}, fmt.Errorf("read pins of Debian packages: there is no release or no snapshot")
	}
	return p, lines.Err()
}
