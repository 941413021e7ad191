package debian

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Archive fetches packages.
type Archive struct {
	// Cache is a folder for what was fetched.
	Cache string
	// Mirrors are addresses that have the folders "debian" and "debian-security".
	Mirrors []string
	// Snapshots is an address that has every version of every package: that of
	// snapshot.debian.org.
	Snapshots string
}

// Addresses that everyone can reach.
const (
	mirror    = "https://deb.debian.org"
	snapshots = "https://snapshot.debian.org/archive"
)

// NewArchive is the archive as this machine reaches it: by the mirror of its own apt,
// if it has one, then by Debian's.
func NewArchive(cache string) Archive {
	mirrors := append(aptMirrors("/etc/apt"), mirror)
	return Archive{Cache: cache, Mirrors: slices.Compact(mirrors), Snapshots: snapshots}
}

// aptMirrors are the mirrors of Debian in apt's configuration. A machine without apt
// has none, and so has one whose apt reads another system's packages.
func aptMirrors(folder string) []string {
	var found []string
	one, _ := filepath.Glob(filepath.Join(folder, "sources.list"))
	lists, _ := filepath.Glob(filepath.Join(folder, "sources.list.d", "*"))
	for _, path := range append(one, lists...) {
		file, err := os.Open(path)
		if err != nil {
			continue // Debian's own mirrors are left
		}
		for lines := bufio.NewScanner(file); lines.Scan(); {
			line := strings.TrimSpace(lines.Text())
			if !strings.HasPrefix(line, "deb ") && !strings.HasPrefix(line, "URIs:") {
				continue
			}
			for _, word := range strings.Fields(line) {
				at, isDebian := strings.CutSuffix(strings.TrimSuffix(word, "/"), "/debian")
				if isDebian && strings.HasPrefix(at, "http") && !slices.Contains(found, at) {
					found = append(found, at)
				}
			}
		}
		_ = file.Close() // it was only read
	}
	return found
}

// errHash is a file that is not the pinned one.
var errHash = errors.New("the file is not the one that is pinned")

// Fetch is the path of a package's file, whose hash is right. snapshot is Pins'.
func (a Archive) Fetch(ctx context.Context, pin Pin, snapshot string) (string, error) {
	to := filepath.Join(a.Cache, path.Base(pin.Path))
	if check(to, pin) == nil {
		return to, nil
	}
	if err := os.MkdirAll(a.Cache, 0o755); err != nil {
		return "", fmt.Errorf("fetch %s: %w", pin.Package, err)
	}
	var tried []error
	for _, address := range a.addresses(pin, snapshot) {
		err := download(ctx, address, to, pin)
		if err == nil {
			return to, nil
		}
		tried = append(tried, fmt.Errorf("%s: %w", address, err))
	}
	return "", fmt.Errorf("fetch %s %s: %w\n%s", pin.Package, pin.Version, errors.Join(tried...), advice(errors.Join(tried...), to))
}

// advice is what to do next.
func advice(err error, to string) string {
	if errors.Is(err, errHash) {
		return "next: do not use that file; look at the mirror or proxy that served it, then run again. " +
			"Only if Debian has replaced the package itself: make images-pins"
	}
	return "next: check the network and the proxies between ($https_proxy), then run again; or renew the pins, if the " +
		"mirrors have forgotten this version (make images-pins); or put the file at " + to
}

// addresses are where the package can be, in the order in which to ask.
func (a Archive) addresses(pin Pin, snapshot string) []string {
	// In addresses of files, mirrors and snapshots want "+" escaped.
	escaped := strings.ReplaceAll((&url.URL{Path: pin.Path}).EscapedPath(), "+", "%2B")
	var all []string
	for _, mirror := range a.Mirrors {
		all = append(all, mirror+"/"+escaped)
	}
	archive, rest, _ := strings.Cut(escaped, "/")
	return append(all, strings.Join([]string{a.Snapshots, archive, snapshot, rest}, "/"))
}

// check says whether a file is the pinned one.
func check(path string, pin Pin) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }() // it was only read
	sum := sha256.New()
	if _, err := io.Copy(sum, file); err != nil {
		return err
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != pin.SHA256 {
		return fmt.Errorf("%w: its SHA-256 is %s, want %s", errHash, got, pin.SHA256)
	}
	return nil
}

// download fetches a package's file. The file gets its name when its hash is right.
func download(ctx context.Context, address, to string, pin Pin) (err error) {
	file, err := os.CreateTemp(filepath.Dir(to), ".fetch-")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(file.Name()))
		}
	}()
	if err := errors.Join(get(ctx, address, file, pin.Size), file.Close()); err != nil {
		return err
	}
	if err := errors.Join(check(file.Name(), pin), os.Chmod(file.Name(), 0o644)); err != nil {
		return err
	}
	return os.Rename(file.Name(), to)
}

// patience is how long one download may take. A mirror that stalls is given up, so
// that the next one is asked.
const patience = 10 * time.Minute

// get writes up to limit bytes from an address.
func get(ctx context.Context, address string, to io.Writer, limit int64) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, http.NoBody)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }() // it was only read
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("it answers %s", response.Status)
	}
	_, err = io.Copy(to, io.LimitReader(response.Body, limit))
	return err
}
