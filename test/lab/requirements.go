package lab

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/fairwaynet/fairway/test/lab/cgroup"
	"github.com/fairwaynet/fairway/test/tools"
)

// check says everything that this machine lacks, and how to fix it.
func (o Options) check() error {
	var missing []error
	lack := func(format string, args ...any) { missing = append(missing, fmt.Errorf(format, args...)) }
	if os.Geteuid() != 0 {
		lack("a lab needs root: it makes network and mount namespaces and control groups")
	}
	for _, name := range o.programs() {
		if _, err := tools.Find(name); err != nil {
			lack("%s is not installed: run `make tools-lab tools-acme tools-helm`", name)
		}
	}
	if _, err := exec.LookPath("nsenter"); err != nil {
		lack("nsenter is missing: install util-linux")
	}
	if o.ReferenceNetwork || o.KubeProxy {
		if _, err := exec.LookPath("nft"); err != nil {
			lack("nft is missing, which kube-proxy and the plugin portmap run: install nftables")
		}
	}
	if known, err := os.ReadFile("/proc/filesystems"); err == nil && !bytes.Contains(known, []byte("\toverlay\n")) {
		lack("the kernel has no overlay file system: run `modprobe overlay`")
	}
	if err := cgroup.Check(); err != nil {
		lack("%w: mount it, or start Linux with control groups", err)
	}
	if len(missing) > 0 {
		return fmt.Errorf("this machine cannot run a lab:\n%w", errors.Join(missing...))
	}
	return nil
}

// programs are the programs that the lab runs.
func (o Options) programs() []string {
	needed := []string{
		"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl",
		"kubelet", "containerd", "containerd-shim-runc-v2", "ctr", "runc", "pause", "cni/loopback",
	}
	if o.ReferenceNetwork {
		needed = append(needed, "cni/ptp", "cni/host-local", "cni/portmap")
	}
	if o.KubeProxy {
		needed = append(needed, "kube-proxy")
	}
	if o.CoreDNS {
		needed = append(needed, "coredns")
	}
	if o.Fairway != "" || o.DNS {
		needed = append(needed, "helm4")
	}
	if o.Shop {
		needed = append(needed, "pebble")
	}
	return needed
}

// toolsDir is the folder of the programs.
func toolsDir() (string, error) {
	kubelet, err := tools.Find("kubelet")
	if err != nil {
		return "", err
	}
	return filepath.Dir(kubelet), nil
}
