package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Version is that of the form of Node. A reader refuses a newer one.
const Version = 1

// maxNode bounds the file, in bytes.
const maxNode = 4 << 20

// ErrNotStarted says that the agent has not completed its start since the node booted: no
// pod may have a network yet.
var ErrNotStarted = errors.New("the agent of this node (fairway node) has not completed its start since the node booted")

// Node is what holds on a node. The agent writes it once routes, service proxy and
// policy of this boot are complete, and again when something changes. It is in a folder
// that does not survive a boot.
type Node struct {
	Version int `json:"version"`
	// Boot identifies the boot of the node, as the kernel does.
	Boot string `json:"boot"`
	// Ranges have the addresses of pods, in the order in which they are used.
	Ranges []netip.Prefix `json:"ranges"`
	// MTU is that of pods' interfaces, in bytes.
	MTU int `json:"mtu"`
	// Addresses are the node's own, by which it speaks to its pods.
	Addresses []netip.Addr `json:"addresses,omitempty"`
	// Isolated are the namespaces whose pods must wait for their policies: those that have
	// a NetworkPolicy, or All.
	Isolated []string `json:"isolated,omitempty"`
}

// All stands for every namespace.
const All = "*"

// Waits reports whether a pod of a namespace must wait for the agent before it starts.
func (n Node) Waits(namespace string, hostPorts bool) bool {
	return hostPorts || slices.Contains(n.Isolated, namespace) || slices.Contains(n.Isolated, All)
}

// nodeFile is the file's name in the folder of what does not survive a boot.
const nodeFile = "node.json"

// Read reads what the agent has written into a folder in this boot. If it has written
// nothing, the error wraps ErrNotStarted.
func Read(dir string) (Node, error) {
	path := filepath.Join(dir, nodeFile)
	boot, err := Boot()
	if err != nil {
		return Node{}, err
	}
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Node{}, fmt.Errorf("read %s: %w: there is no such file", path, ErrNotStarted)
	}
	if err != nil {
		return Node{}, fmt.Errorf("read what holds on this node: %w", err)
	}
	defer func() { _ = file.Close() }() // it was only read
	node := Node{}
	if err := json.NewDecoder(io.LimitReader(file, maxNode)).Decode(&node); err != nil {
		return Node{}, fmt.Errorf("read %s: %w", path, err)
	}
	switch {
	case node.Version > Version:
		return Node{}, fmt.Errorf("read %s: its version is %d, this plugin knows %d: the agent is newer than the plugin that it should have written", path, node.Version, Version)
	case node.Boot != boot:
		return Node{}, fmt.Errorf("read %s: %w: the file is of an earlier boot", path, ErrNotStarted)
	}
	return node, nil
}

// Write puts the file in place of an earlier one, whole.
func (n Node) Write(dir string) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("tell the plugin what holds on this node: %w", err)
		}
	}()
	n.Version = Version
	content, err := json.Marshal(n)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	file, err := os.CreateTemp(dir, "."+nodeFile+"-*")
	if err != nil {
		return err
	}
	_, err = file.Write(append(content, '\n'))
	if err = errors.Join(err, file.Close()); err == nil {
		err = os.Rename(file.Name(), filepath.Join(dir, nodeFile))
	}
	if err != nil {
		return errors.Join(err, os.Remove(file.Name()))
	}
	return nil
}

// Remove takes the file away, so that no further pod starts.
func Remove(dir string) error {
	if err := os.Remove(filepath.Join(dir, nodeFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("take away what was told the plugin: %w", err)
	}
	return nil
}

// HostKernel is where a container of the agent has the node's /proc/sys/kernel/random: a
// node that is itself a container has a boot of its own.
const HostKernel = "/host/proc/sys/kernel/random"

// Boot identifies the present boot of the machine.
func Boot() (string, error) {
	id, err := os.ReadFile(HostKernel + "/boot_id")
	if errors.Is(err, fs.ErrNotExist) {
		id, err = os.ReadFile("/proc/sys/kernel/random/boot_id")
	}
	if err != nil {
		return "", fmt.Errorf("identify the boot: %w", err)
	}
	return strings.TrimSpace(string(id)), nil
}
