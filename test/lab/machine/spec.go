// Package machine is one machine of the lab: its specification (links, files,
// programs), and its first process, which sets it up.
//
// A machine is a set of namespaces (mount, PID, network, UTS, IPC). It sees the
// file system of the real machine, copy on write. What it writes stays in a
// folder of its own, survives a reboot and is invisible outside. When its first
// process ends, the machine loses memory, links, routes and mounts, like a
// machine that loses power. The kernel does that, so this package cleans up
// nothing.
package machine

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
)

// Spec is the complete specification of a machine. It is written once and read at
// each boot.
type Spec struct {
	// Name is the machine's host name, and its folder's name below the lab's
	// folder.
	Name string

	// Dir is the folder on the real machine with the machine's data.
	Dir string

	// Kind is the machine's purpose.
	Kind Kind

	Links   []Link
	Routes  []Route
	Sysctls map[string]string // by path below /proc/sys

	// Files are written before the first boot, by absolute path.
	Files map[string]File

	// Binds show parts of the real machine, or folders that must not be on the
	// machine's own copy-on-write file system.
	Binds []Bind

	// Programs are started in this order, and restarted when they end.
	Programs []Program

	// Forward is the address to which the machine forwards connections of the
	// API's listener on the real machine. Only one machine has it.
	Forward string
}

// Kind is the purpose of a machine.
type Kind string

// The kinds of machine.
const (
	Control Kind = "control" // etcd, API server, controller-manager, scheduler
	Node    Kind = "node"    // containerd, kubelet
	Router  Kind = "router"  // between the fabrics
	Client  Kind = "client"  // outside the cluster
)

// Link is a network interface whose other end is a port of a fabric.
type Link struct {
	Name      string
	Fabric    int
	MAC       string
	MTU       int
	Addresses []netip.Prefix
}

// Route is a route of the main table.
type Route struct {
	To  netip.Prefix
	Via netip.Addr
}

// File is a file's content and mode.
type File struct {
	Content []byte
	Mode    os.FileMode
}

// Bind shows From, a path of the real machine, as To.
type Bind struct {
	From, To string
	ReadOnly bool
}

// Program is a process that the machine runs. Its output goes to
// /var/log/NAME.log.
type Program struct {
	Name  string
	Path  string
	Args  []string // from the first argument on
	Argv0 string   // empty: Path

	// Needs must answer before the program is started, see probe.
	Needs string

	// Ready must answer before the next program is started. If empty, the next
	// program starts at once.
	Ready string

	// Once is a path. The program runs until it succeeds once; then the file is
	// made, and later boots skip the program.
	Once string
}

// Save writes the spec and the machine's files, before its first boot.
func (s *Spec) Save() error {
	for _, name := range []string{"upper", "work", "root", "log"} {
		if err := os.MkdirAll(filepath.Join(s.Dir, name), 0o755); err != nil {
			return fmt.Errorf("make machine %s: %w", s.Name, err)
		}
	}
	for name, file := range s.Files {
		path := filepath.Join(s.Dir, "upper", name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return fmt.Errorf("make machine %s: %w", s.Name, err)
		}
		if err := os.WriteFile(path, file.Content, file.Mode); err != nil {
			return fmt.Errorf("make machine %s: %w", s.Name, err)
		}
	}
	without := *s
	without.Files = nil // the files are already in place
	encoded, err := json.MarshalIndent(without, "", "  ")
	if err != nil {
		return fmt.Errorf("make machine %s: %w", s.Name, err)
	}
	if err := os.WriteFile(specPath(s.Dir), encoded, 0o600); err != nil {
		return fmt.Errorf("make machine %s: %w", s.Name, err)
	}
	return nil
}

// Load reads the spec of the machine whose folder is dir.
func Load(dir string) (*Spec, error) {
	encoded, err := os.ReadFile(specPath(dir))
	if err != nil {
		return nil, fmt.Errorf("read machine: %w", err)
	}
	s := &Spec{}
	if err := json.Unmarshal(encoded, s); err != nil {
		return nil, fmt.Errorf("read machine %s: %w", dir, err)
	}
	return s, nil
}

func specPath(dir string) string { return filepath.Join(dir, "machine.json") }
