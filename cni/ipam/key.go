package ipam

import (
	"fmt"
	"net/netip"
	"strings"
	"unicode"
	"unicode/utf8"
)

// A name in a folder has up to 255 bytes, and an interface of Linux 15.
const (
	longestInterface = 15
	longestContainer = 255 - len("@") - longestInterface
)

// Key is what the container runtime calls a lease by: CNI_CONTAINERID, and
// CNI_IFNAME, the interface inside the pod.
type Key struct{ Container, Interface string }

// String is the name of the lease's file: CONTAINER@INTERFACE. Both parts may
// have dots, so a dot between them would make one name of two keys. No container
// has an at sign.
func (k Key) String() string { return k.Container + "@" + k.Interface }

// Validate refuses what CNI refuses, and what cannot be the name of a file:
// https://www.cni.dev/docs/spec/#parameters.
func (k Key) Validate() error {
	if !isContainer(k.Container) {
		return fmt.Errorf("check container ID %q: it is 1 to %d letters, digits, '.', '-' and '_', and begins with a letter or digit",
			k.Container, longestContainer)
	}
	if !isInterface(k.Interface) {
		return fmt.Errorf("check interface name %q: it is 1 to %d printed characters without '/', ':' and spaces",
			k.Interface, longestInterface)
	}
	return nil
}

func isContainer(id string) bool {
	for i := range len(id) {
		c := id[i]
		letter := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
		if !letter && (i == 0 || !strings.ContainsRune("._-", rune(c))) {
			return false
		}
	}
	return id != "" && len(id) <= longestContainer
}

func isInterface(name string) bool {
	odd := func(r rune) bool { return r == '/' || r == ':' || unicode.IsSpace(r) || !unicode.IsGraphic(r) }
	return name != "" && name != "." && name != ".." && len(name) <= longestInterface &&
		utf8.ValidString(name) && !strings.ContainsFunc(name, odd)
}

// keyOf reads the name of a file.
func keyOf(name string) (Key, bool) {
	container, iface, found := strings.Cut(name, "@")
	k := Key{Container: container, Interface: iface}
	return k, found && k.Validate() == nil
}

// addressOf reads the name of a file. An address has one name only: 10.1.2.3 is
// also ::ffff:10.1.2.3, which would be a second file for it.
func addressOf(name string) (netip.Addr, bool) {
	if name == "" || !strings.ContainsRune("0123456789abcdef:", rune(name[0])) {
		return netip.Addr{}, false // most names are of containers: no error needs to be made for them
	}
	a, err := netip.ParseAddr(name)
	return a, err == nil && a == a.Unmap() && a.Zone() == "" && a.String() == name
}

// isLeaseName says whether a file of this name belongs to a lease.
func isLeaseName(name string) bool {
	_, address := addressOf(name)
	_, key := keyOf(name)
	return address || key
}
