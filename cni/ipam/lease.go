package ipam

import (
	"errors"
	"net/netip"
	"time"
)

// Lease is what the plugin keeps of one interface of a pod.
type Lease struct {
	Key       `json:"-"`
	Boot      string     `json:"boot"` // of the kernel: /proc/sys/kernel/random/boot_id
	Namespace Namespace  `json:"namespace"`
	Pod       Pod        `json:"pod"`
	Link      string     `json:"link,omitempty"` // name of the interface on the host's side
	HostPorts []HostPort `json:"hostPorts,omitempty"`
	Created   time.Time  `json:"created"`
	// Addresses are the names of the lease's file, IPv4 first. One that ADD was
	// killed in has fewer, or none. They are not in the record.
	Addresses []netip.Addr `json:"-"`
}

// Namespace is a network namespace. Paths are used again, so device and inode
// (st_dev and st_ino of the path) say which one it is.
type Namespace struct {
	Path   string `json:"path"`
	Device uint64 `json:"device"`
	Inode  uint64 `json:"inode"`
}

// Pod is whose lease it is: K8S_POD_NAMESPACE, K8S_POD_NAME and K8S_POD_UID of CNI_ARGS.
type Pod struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	UID       string `json:"uid"`
}

// String is NAMESPACE/NAME.
func (p Pod) String() string { return p.Namespace + "/" + p.Name }

// HostPort is a port of the node that leads to the pod.
type HostPort struct {
	Address  netip.Addr `json:"address,omitzero"` // of the node; the zero address means all
	Port     uint16     `json:"port"`
	PodPort  uint16     `json:"podPort"`
	Protocol string     `json:"protocol"` // tcp, udp or sctp
}

// same says whether both are one lease, whatever addresses it had when it was
// read: a container gets an interface of one name only once at a time.
func (l Lease) same(other Lease) bool {
	return l.Key == other.Key && l.Boot == other.Boot && l.Created.Equal(other.Created)
}

// Unreadable is a file that takes an address or a key, but has no record that can
// be read.
type Unreadable struct {
	Name     string // in the folder
	Modified time.Time
	Err      error

	inode uint64
}

// Newer says that a newer version of Fairway wrote the file.
func (u Unreadable) Newer() bool { return errors.Is(u.Err, ErrVersion) }
