package rules_test

import (
	"context"
	"net"
	"net/netip"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/fairwaynet/fairway/cni/ipam"
	"github.com/fairwaynet/fairway/cni/link"
	"github.com/fairwaynet/fairway/cni/rules"
	"github.com/fairwaynet/fairway/proxy/nft"
	"github.com/fairwaynet/fairway/test/netns"
)

func TestMain(m *testing.M) { netns.Main(m) }

// The node is this namespace; client is a machine on its link.
var (
	node *netns.Namespace

	nodeAddresses   = []string{"198.51.100.1/24", "2001:db8::1/64", "198.51.100.11/24"}
	clientAddresses = []string{"198.51.100.2/24", "2001:db8::2/64"}
)

// world is a node with rules, two pods and a client.
type world struct {
	client   *netns.Namespace
	one, two *netns.Namespace
	engine   *nft.Engine
}

func newWorld(t *testing.T) *world {
	t.Helper()
	netns.Forward(t)
	w := &world{client: netns.New(t), one: netns.New(t), two: netns.New(t)}
	w.connectClient(t)
	ports := []ipam.HostPort{
		{Port: 80, PodPort: 8080, Protocol: "tcp"},
		{Port: 81, PodPort: 8080, Protocol: "tcp", Address: netip.MustParseAddr("198.51.100.11")},
		{Port: 53, PodPort: 8053, Protocol: "udp"},
	}
	connect(t, w.one, "one", nil, "10.244.1.1", "fd00:1::1")
	two := connect(t, w.two, "two", ports, "10.244.1.2", "fd00:1::2")

	var err error
	w.engine, err = nft.New(t.Context(), nft.Options{})
	must(t, err)
	t.Cleanup(func() {
		must(t, w.engine.Remove(context.Background(), rules.Key(nft.IPv4), rules.Key(nft.IPv6)))
		must(t, w.engine.Close())
	})
	for _, table := range rules.Tables(rules.Overlay{Port: 4790, VNI: 7}) {
		must(t, w.engine.Declare(table))
	}
	network := rules.Network{
		Pods:    prefixes("10.244.1.0/24", "fd00:1::/64"),
		Cluster: prefixes("10.244.0.0/16", "fd00::/16", "198.51.100.1/32", "198.51.100.11/32", "2001:db8::1/128"),
		Peers:   []netip.Addr{netip.MustParseAddr("198.51.100.9")},
	}
	for f, part := range network.Parts() {
		must(t, w.engine.Submit(rules.Key(f), "network", part))
	}
	for f, part := range rules.HostPorts(two) {
		must(t, w.engine.Submit(rules.Key(f), "two", part))
	}
	result, err := w.engine.Commit(t.Context())
	must(t, err)
	if len(result.Refused)+len(result.Conflicts) > 0 {
		t.Fatalf("%+v", result)
	}
	return w
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func prefixes(texts ...string) (all []netip.Prefix) {
	for _, text := range texts {
		all = append(all, netip.MustParsePrefix(text))
	}
	return all
}

// connectClient joins the client with the node.
func (w *world) connectClient(t *testing.T) {
	t.Helper()
	netns.Join(t, "uplink", nil, nodeAddresses, w.client, append(clientAddresses, "198.51.100.9/24"))
	var err error
	w.client.Do(func() {
		// The way back to pods, so that a missing masquerade shows as a wrong address, not as silence.
		for pods, via := range map[string]string{"10.244.0.0/16": "198.51.100.1", "fd00::/16": "2001:db8::1"} {
			_, network, _ := net.ParseCIDR(pods)
			if err == nil {
				err = netlink.RouteAdd(&netlink.Route{Dst: network, Gw: net.ParseIP(via)})
			}
		}
	})
	must(t, err)
}

// connect makes a pod, as the plugin does.
func connect(t *testing.T, pod *netns.Namespace, container string, ports []ipam.HostPort, addresses ...string) ipam.Lease {
	t.Helper()
	lease := ipam.Lease{Key: ipam.Key{Container: container, Interface: "eth0"}, HostPorts: ports}
	wire := link.Wire{Owner: link.Owner{Container: container, Interface: "eth0"}, MTU: 1450, HostPorts: len(ports) > 0}
	for _, address := range addresses {
		lease.Addresses = append(lease.Addresses, netip.MustParseAddr(address))
	}
	wire.Addresses = lease.Addresses
	for _, address := range nodeAddresses[:2] {
		wire.Sources = append(wire.Sources, netip.MustParsePrefix(address).Addr())
	}
	namespace, err := link.OpenNamespace(pod.Path)
	must(t, err)
	t.Cleanup(func() { _ = namespace.Close() })
	wire.Host, err = link.New(wire.Owner)
	must(t, err)
	_, err = link.Connect(namespace, wire)
	must(t, err)
	t.Cleanup(func() { must(t, link.Disconnect(wire.Owner, wire.Host)) })
	return lease
}

// ask connects and returns whom the other end sees, or "nothing".
func ask(t *testing.T, from *netns.Namespace, to string) string {
	t.Helper()
	said, err := from.Ask(t, to)
	if err != nil {
		return "nothing"
	}
	return said
}

func TestWhoIsSeen(t *testing.T) {
	w := newWorld(t)
	w.client.Answer(t, "[::]:9000")
	w.one.Answer(t, "[::]:8080")
	w.two.Answer(t, "[::]:8080")
	node.Answer(t, "[::]:9001")
	for _, test := range []struct {
		name string
		from *netns.Namespace
		to   string
		want string
	}{
		{"a pod outside has the node's address", w.one, "198.51.100.2:9000", "198.51.100.1"},
		{"also in IPv6", w.one, "[2001:db8::2]:9000", "2001:db8::1"},
		{"pods have their own among one another", w.one, "10.244.1.2:8080", "10.244.1.1"},
		{"also in IPv6", w.one, "[fd00:1::2]:8080", "fd00:1::1"},
		{"and towards the node", w.one, "198.51.100.1:9001", "10.244.1.1"},
		{"the node has its own", node, "10.244.1.2:8080", "198.51.100.1"},
		{"a client keeps its address at a host port", w.client, "198.51.100.1:80", "198.51.100.2"},
		{"also in IPv6", w.client, "[2001:db8::1]:80", "2001:db8::2"},
		{"another pod, too", w.one, "198.51.100.1:80", "10.244.1.1"},
		{"a host port of one address is of that one", w.client, "198.51.100.11:81", "198.51.100.2"},
		{"and of no other", w.client, "198.51.100.1:81", "nothing"},
		{"the node reaches a host port by its address", node, "198.51.100.1:80", "198.51.100.1"},
		{"and by 127.0.0.1", node, "127.0.0.1:80", "198.51.100.1"},
		{"a pod reaches itself by its host port", w.two, "198.51.100.1:80", "198.51.100.1"},
		{"also in IPv6", w.two, "[2001:db8::1]:80", "2001:db8::1"},
	} {
		if got := ask(t, test.from, test.to); got != test.want {
			t.Errorf("%s: %s sees %s, want %s", test.name, test.to, got, test.want)
		}
	}
}

// dropped returns what a counter has counted, as nft says it.
func dropped(t *testing.T, f nft.Family, counter string) string {
	t.Helper()
	said, err := exec.CommandContext(t.Context(), "nft", "list", "counter", f.String(), "fairway-pods", counter).CombinedOutput()
	if err != nil {
		t.Fatalf("nft: %v: %s", err, said)
	}
	return regexp.MustCompile(`packets \d+`).FindString(string(said))
}

// send sends a datagram from an address, which the sender may have taken.
func send(t *testing.T, from *netns.Namespace, source, to string, content []byte) {
	t.Helper()
	var err error
	from.Do(func() {
		var socket net.PacketConn
		if socket, err = (&net.ListenConfig{}).ListenPacket(t.Context(), "udp", net.JoinHostPort(source, "0")); err != nil {
			return
		}
		defer func() { _ = socket.Close() }()
		address := net.UDPAddrFromAddrPort(netip.MustParseAddrPort(to))
		_, err = socket.WriteTo(content, address)
	})
	must(t, err)
}

// receiver returns a function that says what arrives at the port until a last datagram, "end",
// comes from the node itself.
func receiver(t *testing.T, at *netns.Namespace, address string) func() []string {
	t.Helper()
	var socket net.PacketConn
	var err error
	at.Do(func() { socket, err = (&net.ListenConfig{}).ListenPacket(t.Context(), "udp", address) })
	must(t, err)
	t.Cleanup(func() { _ = socket.Close() })
	return func() []string {
		var all []string
		must(t, socket.SetReadDeadline(time.Now().Add(10*time.Second)))
		buffer := make([]byte, 2048)
		for {
			n, from, err := socket.ReadFrom(buffer)
			must(t, err)
			if string(buffer[:n]) == "end" {
				return all
			}
			all = append(all, netip.MustParseAddrPort(from.String()).Addr().Unmap().String())
		}
	}
}

// A pod that sends with another's address is heard by nobody, in both families, whosever it
// is; and it is counted.
func TestAPodSendsWithItsOwnAddressOnly(t *testing.T) {
	w := newWorld(t)
	w.one.Give(t, "eth0", "10.244.1.77/32", "198.51.100.2/32", "8.8.8.8/32", "fd00:1::77/128", "2001:db8::2/128")
	four, six := receiver(t, w.two, "10.244.1.2:7000"), receiver(t, w.two, "[fd00:1::2]:7000")
	for _, source := range []string{"10.244.1.77", "198.51.100.2", "8.8.8.8", "10.244.1.1"} {
		send(t, w.one, source, "10.244.1.2:7000", []byte("x"))
	}
	for _, source := range []string{"fd00:1::77", "2001:db8::2", "fd00:1::1"} {
		send(t, w.one, source, "[fd00:1::2]:7000", []byte("x"))
	}
	send(t, w.one, "10.244.1.1", "10.244.1.2:7000", []byte("end"))
	send(t, w.one, "fd00:1::1", "[fd00:1::2]:7000", []byte("end"))
	if got := strings.Join(append(four(), six()...), " "); got != "10.244.1.1 fd00:1::1" {
		t.Errorf("heard from %s", got)
	}
	if four, six := dropped(t, nft.IPv4, rules.Spoofed), dropped(t, nft.IPv6, rules.Spoofed); four != "packets 3" || six != "packets 2" {
		t.Errorf("counted %s, %s", four, six)
	}
}

// Packets of the overlay are taken from peers alone, and from no pod. Another's VXLAN on the
// same port, with another VNI, is not touched.
func TestTheOverlayIsOfPeers(t *testing.T) {
	w := newWorld(t)
	heard := receiver(t, node, "198.51.100.1:4790")
	vxlan := func(vni byte) []byte { return append([]byte{8, 0, 0, 0, 0, 0, vni, 0}, make([]byte, 40)...) }
	send(t, w.client, "198.51.100.9", "198.51.100.1:4790", vxlan(7)) // a peer
	send(t, w.client, "198.51.100.2", "198.51.100.1:4790", vxlan(7)) // a stranger
	send(t, w.client, "198.51.100.2", "198.51.100.1:4790", vxlan(8)) // somebody else's
	send(t, w.one, "10.244.1.1", "198.51.100.1:4790", vxlan(7))
	send(t, w.one, "10.244.1.1", "198.51.100.1:4790", vxlan(8))
	send(t, w.client, "198.51.100.9", "198.51.100.1:4790", []byte("end"))
	all := heard() // in whatever order: they come by two links
	slices.Sort(all)
	if got := strings.Join(all, " "); got != "10.244.1.1 198.51.100.2 198.51.100.9" {
		t.Errorf("heard from %s", got)
	}
	if strangers, pods := dropped(t, nft.IPv4, rules.FromStranger), dropped(t, nft.IPv4, rules.FromPod); strangers != "packets 1" || pods != "packets 1" {
		t.Errorf("counted %s of strangers, %s of pods", strangers, pods)
	}
}
