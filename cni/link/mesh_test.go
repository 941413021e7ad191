package link_test

import (
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/fairwaynet/fairway/cni/link"
	"github.com/fairwaynet/fairway/test/netns"
)

// machine is a node in a namespace of its own, with one pod.
type machine struct {
	*netns.Namespace
	addresses [2]netip.Addr // IPv4, IPv6
	ranges    [2]netip.Prefix
	overlay   link.Overlay
	pod       pod
}

// on runs a function on the machine that must not fail.
func (m *machine) on(t testing.TB, do func() error) {
	t.Helper()
	var err error
	m.Do(func() { err = do() })
	if err != nil {
		t.Fatal(err)
	}
}

// machines are two nodes on one link.
func machines(t *testing.T) (one, two *machine) {
	t.Helper()
	made := func(number string) *machine {
		m := &machine{
			Namespace: netns.New(t),
			addresses: [2]netip.Addr{netip.MustParseAddr("192.0.2." + number), netip.MustParseAddr("2001:db8::" + number)},
			ranges:    [2]netip.Prefix{netip.MustParsePrefix("10.244." + number + ".0/24"), netip.MustParsePrefix("fd00:" + number + "::/64")},
		}
		m.overlay = link.Overlay{
			Name: "fwoverlay", VNI: 7, Port: 4790, Own: m.addresses[0], MAC: net.HardwareAddr{2, 0xfa, 0, 0, 0, number[0]}, MTU: 1450,
			Gateways: []netip.Addr{m.ranges[0].Addr(), m.ranges[1].Addr()},
		}
		return m
	}
	one, two = made("1"), made("2")
	device := func(m *machine) []string {
		return []string{m.addresses[0].String() + "/24", m.addresses[1].String() + "/64"}
	}
	netns.Join(t, "eth0", one.Namespace, device(one), two.Namespace, device(two))
	for _, m := range []*machine{one, two} {
		m.Do(func() { netns.Forward(t) })
		m.pod = pod{Namespace: netns.New(t), wire: link.Wire{
			Owner: link.Owner{Container: "pod", Interface: "eth0"}, MTU: 1450, Sources: m.addresses[:],
			Addresses: []netip.Addr{m.ranges[0].Addr().Next(), m.ranges[1].Addr().Next()},
		}}
		namespace := m.pod.open(t)
		m.on(t, func() (err error) {
			if m.pod.wire.Host, err = link.New(m.pod.wire.Owner); err == nil {
				_, err = link.Connect(namespace, m.pod.wire)
			}
			return err
		})
	}
	return one, two
}

// to are the routes to a machine's pods by a way.
func (m *machine) to(overlay bool) []link.PeerRoute {
	var routes []link.PeerRoute
	for i, pods := range m.ranges {
		p := link.PeerRoute{Range: pods, Node: m.addresses[i], MTU: 1500}
		if overlay {
			p.Node, p.Overlay, p.VTEP, p.MTU = m.addresses[0], m.overlay.Name, m.overlay.MAC, m.overlay.MTU
		}
		if pods.Addr().Is6() {
			p.MTU = max(p.MTU, 1280)
		}
		routes = append(routes, p)
	}
	return routes
}

// reach makes the machine reach the pods of the other.
func (m *machine) reach(t *testing.T, other *machine, overlay bool) {
	t.Helper()
	for range 2 { // twice is as good as once
		m.on(t, func() error {
			if overlay {
				if _, err := m.overlay.Apply(); err != nil {
					return err
				}
			}
			for _, route := range other.to(overlay) {
				if err := route.Apply(); err != nil {
					return err
				}
			}
			return nil
		})
	}
	m.on(t, func() error {
		got, err := link.PeerRoutes()
		if diff := cmp.Diff(other.to(overlay), got, cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})); diff != "" {
			t.Errorf("the kernel has (-want +got):\n%s", diff)
		}
		return err
	})
}

// megabyte is more than fits into one packet.
var megabyte = make([]byte, 1<<20)

// serve answers at the pod's addresses with a megabyte after the client's address.
func (m *machine) serve(t *testing.T) (at [2]netip.AddrPort) {
	t.Helper()
	for i, address := range m.pod.wire.Addresses {
		at[i] = m.pod.Answer(t, netip.AddrPortFrom(address, 0).String(), megabyte...)
	}
	return at
}

// fetch asks a pod, and returns who it says the client is.
func fetch(t *testing.T, from *netns.Namespace, at netip.AddrPort) string {
	t.Helper()
	said, err := from.Ask(t, at.String())
	client, whole := strings.CutSuffix(said, string(megabyte))
	if err != nil || !whole {
		t.Errorf("ask %s: %d bytes, %v", at, len(said), err)
		return ""
	}
	return client
}

// Pods of two nodes reach one another by both ways, in both families, and see each other's
// address. The way can change, and what is removed is gone.
func TestPodsOfOtherNodes(t *testing.T) {
	one, two := machines(t)
	at := two.serve(t)
	for _, overlay := range []bool{false, true, false} {
		one.reach(t, two, overlay)
		two.reach(t, one, overlay)
		for i := range at {
			if client, want := fetch(t, one.pod.Namespace, at[i]), one.pod.wire.Addresses[i].String(); client != want {
				t.Errorf("overlay %t: the pod sees %s, want %s", overlay, client, want)
			}
			want := one.addresses[i].String()
			if overlay {
				want = one.ranges[i].Addr().String()
			}
			if client := fetch(t, one.Namespace, at[i]); client != want {
				t.Errorf("overlay %t: of the node the pod sees %s, want %s", overlay, client, want)
			}
		}
	}
	one.on(t, func() error {
		for _, overlay := range []bool{false, true} {
			for _, route := range two.to(overlay) {
				for range 2 {
					if err := route.Remove(); err != nil {
						return err
					}
				}
			}
		}
		if got, err := link.PeerRoutes(); err != nil || len(got) != 0 {
			t.Errorf("after removal there are %v, %v", got, err)
		}
		device, err := netlink.LinkByName(one.overlay.Name)
		if err != nil {
			return err
		}
		for _, family := range []int{unix.AF_INET, unix.AF_INET6, unix.AF_BRIDGE} {
			entries, err := netlink.NeighList(device.Attrs().Index, family)
			if err != nil {
				return err
			}
			for _, entry := range entries {
				if entry.State == netlink.NUD_PERMANENT && !entry.IP.IsMulticast() {
					t.Errorf("after removal there is %v", entry)
				}
			}
		}
		return nil
	})
}

// Routes of others stay, also where they lead to the same pods.
func TestRoutesOfOthersStay(t *testing.T) {
	one, two := machines(t)
	one.on(t, func() error {
		foreign := &netlink.Route{
			Dst: &net.IPNet{IP: net.IPv4(10, 244, 2, 0), Mask: net.CIDRMask(24, 32)}, Gw: net.IPv4(192, 0, 2, 9), Priority: 77, Protocol: unix.RTPROT_STATIC,
		}
		if err := netlink.RouteAdd(foreign); err != nil {
			return err
		}
		for _, route := range two.to(false) {
			if err := route.Apply(); err != nil {
				return err
			}
			if err := route.Remove(); err != nil {
				return err
			}
			if err := route.Remove(); err != nil {
				return err
			}
		}
		left, err := netlink.RouteListFiltered(netlink.FAMILY_V4, foreign, netlink.RT_FILTER_DST|netlink.RT_FILTER_PROTOCOL)
		if len(left) != 1 {
			t.Errorf("of the other's route there is %v", left)
		}
		return err
	})
}

// An uplink that carries no more than IPv6 needs leaves no room for the overlay: its packets go
// in fragments, and megabytes arrive.
func TestTheOverlayOfASmallUplink(t *testing.T) {
	one, two := machines(t)
	resize := func(in *netns.Namespace, name string) {
		var err error
		in.Do(func() {
			var device netlink.Link
			if device, err = netlink.LinkByName(name); err == nil {
				err = netlink.LinkSetMTU(device, 1280)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, m := range []*machine{one, two} {
		m.overlay.MTU = 1230
		resize(m.Namespace, "eth0")
		resize(m.Namespace, m.pod.wire.Host)
		resize(m.pod.Namespace, "eth0")
	}
	at := two.serve(t)
	one.reach(t, two, true)
	two.reach(t, one, true)
	for i := range at {
		if client, want := fetch(t, one.pod.Namespace, at[i]), one.pod.wire.Addresses[i].String(); client != want {
			t.Errorf("the pod sees %q, want %s", client, want)
		}
	}
}

// What others change of the overlay's device is set back, and what cannot be changed makes a
// new device.
func TestTheOverlayIsSetBack(t *testing.T) {
	one, two := machines(t)
	at := two.serve(t)
	one.reach(t, two, true)
	two.reach(t, one, true)
	for name, spoil := range map[string]func(device netlink.Link) error{
		"another MAC address": func(d netlink.Link) error {
			return netlink.LinkSetHardwareAddr(d, net.HardwareAddr{2, 1, 1, 1, 1, 1})
		},
		"another MTU": func(d netlink.Link) error { return netlink.LinkSetMTU(d, 1280) },
		"down":        netlink.LinkSetDown,
		"removed":     netlink.LinkDel,
		"another VNI": func(d netlink.Link) error {
			attributes := netlink.NewLinkAttrs()
			attributes.Name = one.overlay.Name
			if err := netlink.LinkDel(d); err != nil {
				return err
			}
			return netlink.LinkAdd(&netlink.Vxlan{LinkAttrs: attributes, VxlanId: 8, Port: 4790})
		},
	} {
		one.on(t, func() error {
			device, err := netlink.LinkByName(one.overlay.Name)
			if err != nil {
				return err
			}
			return spoil(device)
		})
		one.reach(t, two, true)
		for i := range at {
			if client, want := fetch(t, one.pod.Namespace, at[i]), one.pod.wire.Addresses[i].String(); client != want {
				t.Errorf("%s: the pod sees %q, want %s", name, client, want)
			}
		}
	}
}
