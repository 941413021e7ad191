package node

import (
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"k8s.io/apimachinery/pkg/types"

	"github.com/fairwaynet/fairway/cni/link"
	"github.com/fairwaynet/fairway/proxy/service"
)

// held are NodePorts: 31000/tcp of both families, 31001/tcp of IPv4, 31002/udp of IPv4.
func held() map[service.FrontKey]types.NamespacedName {
	name := func(name string) types.NamespacedName { return types.NamespacedName{Namespace: "shop", Name: name} }
	return map[service.FrontKey]types.NamespacedName{
		{Protocol: unix.IPPROTO_TCP, Port: 31000}:             name("both"),
		{IPv6: true, Protocol: unix.IPPROTO_TCP, Port: 31000}: name("both"),
		{Protocol: unix.IPPROTO_TCP, Port: 31001}:             name("four"),
		{Protocol: unix.IPPROTO_UDP, Port: 31002}:             name("datagrams"),
	}
}

// A socket is shadowed where a Service answers at its address, family, protocol and port.
func TestShadowedSockets(t *testing.T) {
	at := []netip.Prefix{netip.MustParsePrefix("192.0.2.1/32"), netip.MustParsePrefix("2001:db8::1/128")}
	for _, test := range []struct {
		what     string
		protocol uint8
		at       string
		both     bool
		want     string // name of the Service
	}{
		{what: "every address of IPv4", protocol: unix.IPPROTO_TCP, at: "0.0.0.0:31000", want: "both"},
		{what: "every address of IPv6", protocol: unix.IPPROTO_TCP, at: "[::]:31000", want: "both"},
		{what: "every address", protocol: unix.IPPROTO_TCP, at: "[::]:31001", both: true, want: "four"},
		{what: "another family", protocol: unix.IPPROTO_TCP, at: "[::]:31001"},
		{what: "the address of node ports", protocol: unix.IPPROTO_TCP, at: "192.0.2.1:31001", want: "four"},
		{what: "another address of the node", protocol: unix.IPPROTO_TCP, at: "198.51.100.1:31001"},
		{what: "the node itself", protocol: unix.IPPROTO_TCP, at: "127.0.0.1:31000"},
		{what: "the node itself by IPv6", protocol: unix.IPPROTO_TCP, at: "[::1]:31000"},
		{what: "another port", protocol: unix.IPPROTO_TCP, at: "0.0.0.0:31009"},
		{what: "another protocol", protocol: unix.IPPROTO_UDP, at: "0.0.0.0:31000"},
		{what: "datagrams", protocol: unix.IPPROTO_UDP, at: "0.0.0.0:31002", want: "datagrams"},
	} {
		l := link.Listener{Protocol: test.protocol, At: netip.MustParseAddrPort(test.at), Both: test.both}
		found := shadowed(held(), at, []link.Listener{l})
		var names []string
		for name := range maps.Keys(found) {
			names = append(names, name.Name)
		}
		if want := strings.Fields(test.want); !slices.Equal(names, want) {
			t.Errorf("%s: shadowed by %v, want %v", test.what, names, want)
		}
	}
	everywhere := []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")} // but never at 127.0.0.1
	own := link.Listener{Protocol: unix.IPPROTO_TCP, At: netip.MustParseAddrPort("127.0.0.1:31000")}
	if found := shadowed(held(), everywhere, []link.Listener{own}); len(found) > 0 {
		t.Errorf("a socket for the node itself is shadowed by %v", found)
	}
}

// The socket of a client that waits for an answer is not told; one that stays is, and its
// message is always the same.
func TestBriefSocketsOfDatagramsAreLeftOut(t *testing.T) {
	now := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	w := newPortWatch(&Agent{Name: "n1"}, nil)
	w.now = func() time.Time { return now }
	socket := func(inode uint32) link.Listener {
		return link.Listener{Protocol: unix.IPPROTO_UDP, At: netip.MustParseAddrPort("0.0.0.0:31002"), Inode: inode}
	}
	for _, step := range []struct {
		sockets []link.Listener
		want    int
	}{
		{[]link.Listener{socket(1), socket(2)}, 0},
		{[]link.Listener{socket(1), socket(3)}, 1},
		{[]link.Listener{socket(4)}, 0},
		{[]link.Listener{socket(1)}, 0}, // another socket, with the number of an old one
		{[]link.Listener{socket(1)}, 1},
	} {
		if got := w.lasting(step.sockets, held()); len(got) != step.want {
			t.Errorf("of %+v %+v last, want %d", step.sockets, got, step.want)
		}
		now = now.Add(time.Minute)
	}
	four, six := socket(1), socket(2)
	six.At = netip.MustParseAddrPort("[::]:31002")
	w.names = map[uint32]string{2: "named"}
	const want = "on node n1 a program listens at 0.0.0.0:31002/udp, and named listens at [::]:31002/udp, where this Service has its node port: " +
		"what others send there goes to the Service. Give one of them another port; ss -lntup names programs"
	for _, listeners := range [][]link.Listener{{four, six}, {six, four, six}} {
		if got := w.message(listeners); got != want {
			t.Errorf("it says\n%s, want\n%s", got, want)
		}
	}
}

// A node that gives away NodePorts is told of it, unless they are reserved.
func TestEphemeralNodePorts(t *testing.T) {
	w := newPortWatch(&Agent{Name: "n1"}, nil)
	for _, test := range []struct {
		first    uint16
		reserved []link.PortRange
		told     bool
	}{
		{first: 32768},
		{first: 20000, told: true},
		{first: 20000, reserved: []link.PortRange{{First: 30000, Last: 32767}}},
		{first: 20000, reserved: []link.PortRange{{First: 31000, Last: 31001}}, told: true},
	} {
		ephemeral := link.EphemeralPorts{PortRange: link.PortRange{First: test.first, Last: 60999}, Reserved: test.reserved}
		if got := w.ephemeral(ephemeral, held()); len(got) > 0 != test.told {
			t.Errorf("from %d on, without %v: %v", test.first, test.reserved, got)
		}
	}
}
