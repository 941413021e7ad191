// Package e2e runs Kubernetes' own end-to-end tests in a lab, with images that it
// composes here. It does not test Fairway.
package e2e

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/fairwaynet/fairway/images/oci"
	"github.com/fairwaynet/fairway/images/rootfs"
	"github.com/fairwaynet/fairway/test/tools"
)

// userland are the programs that tests call in a pod, in addition to agnhost.
// Those before the empty name are required.
var userland = []string{
	"sh", "bash", "cat", "cp", "cut", "date", "dd", "echo", "env", "false", "grep", "head", "hostname", "id", "ls", "mkdir", "mv",
	"printf", "readlink", "rm", "sed", "seq", "sleep", "sort", "stat", "tail", "tee", "test", "timeout", "touch", "tr", "true",
	"uniq", "wc", "xargs", "awk", "getent", "curl", "wget", "nc", "dig", "nslookup", "ip", "ss", "ping",
	"",
	"conntrack", "find", "iperf", "ipcs", "iptables", "mount", "nft", "ps", "socat", "umount", "sysctl",
}

// packages are the Debian packages of programs that are often missing.
const packages = "bind9-dnsutils curl gawk iproute2 iputils-ping netcat-openbsd wget"

// names are the images that tests ask for, all with the same content.
var names = []string{
	"registry.k8s.io/e2e-test-images/agnhost:2.66.1",
	"registry.k8s.io/e2e-test-images/agnhost:2.45", // of network-policy-api
	"registry.k8s.io/e2e-test-images/glibc-dns-testing:2.1.1",
	"registry.k8s.io/e2e-test-images/busybox:1.37.0-2",
	"registry.k8s.io/build-image/distroless-iptables:v0.9.9",
}

// Images writes the images that tests ask for into a folder, with this
// machine's userland, and returns their paths.
func Images(ctx context.Context, folder string) ([]string, error) {
	agnhost, err := tools.Find("agnhost")
	if err != nil {
		return nil, err
	}
	coredns, err := tools.Find("coredns")
	if err != nil {
		return nil, err
	}
	source, err := kubernetes(ctx)
	if err != nil {
		return nil, err
	}
	files := rootfs.Tree{
		"/agnhost": rootfs.Program(agnhost), "/agnhost-2": rootfs.Program(agnhost), "/coredns": rootfs.Program(coredns),
		"/localhost.crt": rootfs.Copy(filepath.Join(source, "test/images/agnhost/porter/localhost.crt")),
		"/localhost.key": rootfs.Copy(filepath.Join(source, "test/images/agnhost/porter/localhost.key")),
		"/etc/passwd":    rootfs.Copy("/etc/passwd"), "/etc/group": rootfs.Copy("/etc/group"),
		"/etc/nsswitch.conf": rootfs.Copy("/etc/nsswitch.conf"),
		"/uploads":           rootfs.Folder(fs.ModeSticky | 0o777), "/tmp": rootfs.Folder(fs.ModeSticky | 0o777),
	}
	if err := addUserland(files); err != nil {
		return nil, err
	}
	image, err := oci.Layers{}.Image(oci.Config{
		Architecture: runtime.GOARCH, Entrypoint: []string{"/agnhost"}, Cmd: []string{"pause"},
	}, oci.Layer{Files: files})
	if err != nil {
		return nil, err
	}
	path := filepath.Join(folder, "agnhost.tar")
	return []string{path}, image.WriteArchive(path, names...)
}

// addUserland adds programs of this machine, with their libraries.
func addUserland(files rootfs.Tree) error {
	var missing []string
	needed := true
	for _, name := range userland {
		if name == "" {
			needed = false
			continue
		}
		path, err := exec.LookPath(name)
		if errors.Is(err, exec.ErrNotFound) {
			if needed {
				missing = append(missing, name)
			}
			continue
		}
		if err != nil {
			return fmt.Errorf("find %s: %w", name, err)
		}
		if err := addProgram(files, filepath.Join("/bin", name), path); err != nil {
			return fmt.Errorf("find what %s needs: %w", name, err)
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("the tests' image needs %s from this machine: install %s", strings.Join(missing, ", "), packages)
	}
	return nil
}

// kubernetes is the folder of Kubernetes' source.
func kubernetes(ctx context.Context) (string, error) {
	root, err := tools.Root()
	if err != nil {
		return "", err
	}
	list := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", "k8s.io/kubernetes")
	list.Dir = filepath.Join(root, "test/tools/kubernetes")
	list.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=-mod=readonly")
	found, err := list.Output()
	if err != nil {
		return "", fmt.Errorf("find Kubernetes' source: %w", err)
	}
	return strings.TrimSpace(string(found)), nil
}
