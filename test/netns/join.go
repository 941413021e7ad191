package netns

import (
	"errors"
	"net"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Join makes a pair of interfaces of one name, one in each namespace, and sets them up with
// their addresses, such as "192.0.2.1/24". It ends with the test.
func Join(t testing.TB, device string, a *Namespace, ofA []string, b *Namespace, ofB []string) {
	t.Helper()
	other, err := unix.Open(b.Path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(other) }()
	attributes := netlink.NewLinkAttrs()
	attributes.Name = device
	pair := &netlink.Veth{LinkAttrs: attributes, PeerName: device, PeerNamespace: netlink.NsFd(other)}
	a.Do(func() {
		if err = netlink.LinkAdd(pair); err == nil {
			err = setUp(device, ofA)
		}
	})
	var err2 error
	b.Do(func() { err2 = setUp(device, ofB) })
	if err := errors.Join(err, err2); err != nil {
		t.Fatal(err)
	}
	if a == nil { // the test's own namespace lives on
		t.Cleanup(func() { _ = netlink.LinkDel(pair) })
	}
}

// setUp sets an interface up, with addresses that need no detection of duplicates.
func setUp(device string, addresses []string) error {
	link, err := netlink.LinkByName(device)
	if err != nil {
		return err
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return err
	}
	return add(link, addresses)
}

// Give gives an interface of the namespace further addresses.
func (n *Namespace) Give(t testing.TB, device string, addresses ...string) {
	t.Helper()
	var err error
	n.Do(func() {
		var link netlink.Link
		if link, err = netlink.LinkByName(device); err == nil {
			err = add(link, addresses)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
}

func add(link netlink.Link, addresses []string) error {
	for _, text := range addresses {
		address, err := netlink.ParseAddr(text)
		if err != nil {
			return err
		}
		address.Flags = unix.IFA_F_NODAD
		if err := netlink.AddrReplace(link, address); err != nil {
			return err
		}
	}
	return nil
}

// Route makes packets to a network, such as "10.0.0.0/8", leave by an interface. via is the
// next hop, and source the address that they have if nobody says otherwise; both may be empty.
func (n *Namespace) Route(t testing.TB, to, device, via, source string) {
	t.Helper()
	var err error
	n.Do(func() { err = route(to, device, via, source) })
	if err != nil {
		t.Fatal(err)
	}
}

func route(to, device, via, source string) error {
	link, err := netlink.LinkByName(device)
	if err != nil {
		return err
	}
	_, network, err := net.ParseCIDR(to)
	if err != nil {
		return err
	}
	r := netlink.Route{LinkIndex: link.Attrs().Index, Dst: network, Src: net.ParseIP(source)}
	if via != "" {
		r.Gw, r.Flags = net.ParseIP(via), int(netlink.FLAG_ONLINK)
	}
	return netlink.RouteReplace(&r)
}
