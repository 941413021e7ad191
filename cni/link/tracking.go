package link

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// The least that connection tracking of a node has room for, as kube-proxy has it
// (conntrack.maxPerCore, conntrack.min, conntrack.tcpCloseWaitTimeout).
const (
	connectionsPerCore   = 32 << 10
	fewestConnections    = 128 << 10
	connectionsPerBucket = 4
	halfClosed           = 3600 // seconds
)

// floor is the least value of a setting below net, by its path.
type floor struct {
	path  string
	least int
}

// trackingFloors are those of a node with a number of cores. The buckets come first: a table
// that is larger than its buckets is slow.
func trackingFloors(cores int) []floor {
	connections := max(connectionsPerCore*cores, fewestConnections)
	return []floor{
		{"netfilter/nf_conntrack_buckets", connections / connectionsPerBucket},
		{"netfilter/nf_conntrack_max", connections},
		{"netfilter/nf_conntrack_tcp_timeout_close_wait", halfClosed},
	}
}

// RaiseTracking gives connection tracking the room that a node with a number of cores needs,
// and returns what it has raised. It lowers nothing, and leaves out what the kernel does not
// have. The error names what the kernel keeps as it is: the size of the table belongs to the
// initial network namespace, and a node that is itself a container is in another one.
func RaiseTracking(cores int) (raised []string, err error) {
	return raise(settingsDir(), trackingFloors(cores))
}

// raise raises what is lower in a folder.
func raise(dir string, floors []floor) (raised []string, err error) {
	for _, f := range floors {
		was, failed := f.raise(dir)
		name := "net." + strings.ReplaceAll(f.path, "/", ".")
		switch {
		case failed != nil:
			err = errors.Join(err, fmt.Errorf("raise %s to %d: %w", name, f.least, failed))
		case was < f.least:
			raised = append(raised, fmt.Sprintf("%s was %d, not %d", name, was, f.least))
		}
	}
	return raised, err
}

// raise raises the setting in a folder to the floor, and returns what it was; one that is
// not there counts as high enough.
func (f floor) raise(dir string) (was int, _ error) {
	path := filepath.Join(dir, f.path)
	content, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return f.least, nil
	}
	if err != nil {
		return 0, err
	}
	if was, err = strconv.Atoi(strings.TrimSpace(string(content))); err != nil {
		return 0, fmt.Errorf("read %s: %w", path, err)
	}
	if was >= f.least {
		return was, nil
	}
	return was, os.WriteFile(path, []byte(strconv.Itoa(f.least)), 0)
}
