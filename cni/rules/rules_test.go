package rules_test

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/fairwaynet/fairway/cni/ipam"
	"github.com/fairwaynet/fairway/cni/link"
	"github.com/fairwaynet/fairway/cni/rules"
	"github.com/fairwaynet/fairway/proxy/nft"
	"github.com/fairwaynet/fairway/test/netns"
)

func TestMain(m *testing.M) { netns.Main(m) }

// The node is this namespace; client is a machine on its link.
var (
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
	for _, path := range []string{"/proc/sys/net/ipv4/ip_forward", "/proc/sys/net/ipv6/conf/all/forwarding"} {
		must(t, os.WriteFile(path, []byte("1"), 0))
	}
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
	other, err := unix.Open(w.client.Path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	must(t, err)
	defer func() { _ = unix.Close(other) }()
	attributes := netlink.NewLinkAttrs()
	attributes.Name = "uplink"
	must(t, netlink.LinkAdd(&netlink.Veth{LinkAttrs: attributes, PeerName: "uplink", PeerNamespace: netlink.NsFd(other)}))
	t.Cleanup(func() { _ = netlink.LinkDel(&netlink.Veth{LinkAttrs: attributes}) })
	up := func(addresses ...string) error {
		device, err := netlink.LinkByName("uplink")
		if err == nil {
			err = netlink.LinkSetUp(device)
		}
		for _, address := range addresses {
			parsed, err := netlink.ParseAddr(address)
			if err != nil {
				return err
			}
			parsed.Flags = unix.IFA_F_NODAD
			if err := netlink.AddrAdd(device, parsed); err != nil {
				return err
			}
		}
		return err
	}
	must(t, up(nodeAddresses...))
	w.client.Do(func() {
		err = up(append(clientAddresses, "198.51.100.9/24")...)
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

// in runs a function in a namespace; nil is the node's.
func in(namespace *netns.Namespace, do func()) {
	if namespace == nil {
		do()
		return
	}
	namespace.Do(do)
}

// listen answers each connection with the client's address.
func listen(t *testing.T, at *netns.Namespace, address string) {
	t.Helper()
	var listener net.Listener
	var err error
	in(at, func() { listener, err = (&net.ListenConfig{}).Listen(t.Context(), "tcp", address) })
	must(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			fmt.Fprint(client, netip.MustParseAddrPort(client.RemoteAddr().String()).Addr().Unmap())
			_ = client.Close()
		}
	}()
}

// ask connects and returns whom the other end sees, or "nothing".
func ask(t *testing.T, from *netns.Namespace, to string) string {
	t.Helper()
	var client net.Conn
	var err error
	in(from, func() { client, err = (&net.Dialer{Timeout: 2 * time.Second}).DialContext(t.Context(), "tcp", to) })
	if err != nil {
		return "nothing"
	}
	defer client.Close()
	said := make([]byte, 64)
	n, _ := client.Read(said)
	return string(said[:n])
}

func TestWhoIsSeen(t *testing.T) {
	w := newWorld(t)
	listen(t, w.client, "[::]:9000")
	listen(t, w.one, "[::]:8080")
	listen(t, w.two, "[::]:8080")
	listen(t, nil, "[::]:9001")
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
		{"the node has its own", nil, "10.244.1.2:8080", "198.51.100.1"},
		{"a client keeps its address at a host port", w.client, "198.51.100.1:80", "198.51.100.2"},
		{"also in IPv6", w.client, "[2001:db8::1]:80", "2001:db8::2"},
		{"another pod, too", w.one, "198.51.100.1:80", "10.244.1.1"},
		{"a host port of one address is of that one", w.client, "198.51.100.11:81", "198.51.100.2"},
		{"and of no other", w.client, "198.51.100.1:81", "nothing"},
		{"the node reaches a host port by its address", nil, "198.51.100.1:80", "198.51.100.1"},
		{"and by 127.0.0.1", nil, "127.0.0.1:80", "198.51.100.1"},
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
	in(from, func() {
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
	in(at, func() { socket, err = (&net.ListenConfig{}).ListenPacket(t.Context(), "udp", address) })
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

// take gives a pod an address that is not its own.
func take(t *testing.T, pod *netns.Namespace, address string) {
	t.Helper()
	var err error
	pod.Do(func() {
		var device netlink.Link
		var taken *netlink.Addr
		if device, err = netlink.LinkByName("eth0"); err != nil {
			return
		}
		if taken, err = netlink.ParseAddr(address); err == nil {
			taken.Flags = unix.IFA_F_NODAD
			err = netlink.AddrAdd(device, taken)
		}
	})
	must(t, err)
}

// A pod that sends with another's address is heard by nobody, in both families, whosever it
// is; and it is counted.
func TestAPodSendsWithItsOwnAddressOnly(t *testing.T) {
	w := newWorld(t)
	for _, address := range []string{"10.244.1.77/32", "198.51.100.2/32", "8.8.8.8/32", "fd00:1::77/128", "2001:db8::2/128"} {
		take(t, w.one, address)
	}
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
	heard := receiver(t, nil, "198.51.100.1:4790")
	vxlan := func(vni byte) []byte { return append([]byte{8, 0, 0, 0, 0, 0, vni, 0}, make([]byte, 40)...) }
	send(t, w.client, "198.51.100.9", "198.51.100.1:4790", vxlan(7)) // a peer
	send(t, w.client, "198.51.100.2", "198.51.100.1:4790", vxlan(7)) // a stranger
	send(t, w.client, "198.51.100.2", "198.51.100.1:4790", vxlan(8)) // somebody else's
	send(t, w.one, "10.244.1.1", "198.51.100.1:4790", vxlan(7))
	send(t, w.one, "10.244.1.1", "198.51.100.1:4790", vxlan(8))
	send(t, w.client, "198.51.100.9", "198.51.100.1:4790", []byte("end"))
	if got := strings.Join(heard(), " "); got != "198.51.100.9 198.51.100.2 10.244.1.1" {
		t.Errorf("heard from %s", got)
	}
	if strangers, pods := dropped(t, nft.IPv4, rules.FromStranger), dropped(t, nft.IPv4, rules.FromPod); strangers != "packets 1" || pods != "packets 1" {
		t.Errorf("counted %s of strangers, %s of pods", strangers, pods)
	}
}
