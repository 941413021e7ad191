package keeper_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"k8s.io/apimachinery/pkg/types"

	"github.com/fairwaynet/fairway/proxy/keeper"
	"github.com/fairwaynet/fairway/proxy/nft"
	"github.com/fairwaynet/fairway/proxy/nft/conntrack"
	"github.com/fairwaynet/fairway/proxy/service"
	"github.com/fairwaynet/fairway/test/netns"
)

func TestMain(m *testing.M) { netns.Main(m) }

// The node is this namespace. A client is outside, and another node has pods, too.
//
//	client 198.51.100.2 ── node 198.51.100.1, 192.0.2.1 ── other node 192.0.2.2
//	                         │ pods 10.244.1.N                │ pods 10.244.2.N
const (
	podsOfNode = 3
	podsOfPeer = 2
)

type world struct {
	client, peer *netns.Namespace
	pods         []*netns.Namespace // of this node
	engine       *nft.Engine
	keeper       *keeper.Keeper
	committed    chan keeper.Report
	stop         func() // ends the keeper, and leaves its tables
	health       map[types.NamespacedName]service.Health
}

// Addresses by family; IPv6 is true.
var (
	nodeAddress   = map[bool]string{false: "198.51.100.1", true: "2001:db8:1::1"}
	clientAddress = map[bool]string{false: "198.51.100.2", true: "2001:db8:1::2"}
)

// pod is the address of a pod: of this node first, then of the other.
func pod(i int, ipv6 bool) string {
	node, n := 1, i+1
	if i >= podsOfNode {
		node, n = 2, i-podsOfNode+1
	}
	if ipv6 {
		return fmt.Sprintf("fd00:244:%d::%d", node, n)
	}
	return fmt.Sprintf("10.244.%d.%d", node, n)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// on runs a function in a namespace, and fails the test if it fails.
func on(t testing.TB, n *netns.Namespace, do func() error) {
	t.Helper()
	var err error
	n.Do(func() { err = do() })
	must(t, err)
}

func newWorld(t testing.TB) *world {
	t.Helper()
	netns.Forward(t)
	// Refusals of datagrams are bounded by time otherwise.
	for _, path := range []string{"/proc/sys/net/ipv4/icmp_ratelimit", "/proc/sys/net/ipv6/icmp/ratelimit"} {
		must(t, os.WriteFile(path, []byte("0"), 0))
	}
	w := &world{
		client: netns.New(t), peer: netns.New(t),
		health: map[types.NamespacedName]service.Health{},
	}
	netns.Join(t, "uplink", nil, []string{"198.51.100.1/24", "2001:db8:1::1/64"}, w.client, []string{"198.51.100.2/24", "2001:db8:1::2/64"})
	netns.Join(t, "peer", nil, []string{"192.0.2.1/24", "2001:db8:2::1/64"}, w.peer, []string{"192.0.2.2/24", "2001:db8:2::2/64"})
	for i := range podsOfNode {
		w.pods = append(w.pods, w.pod(t, i))
	}
	for i := podsOfNode; i < podsOfNode+podsOfPeer; i++ {
		w.peer.Give(t, "lo", pod(i, false)+"/32", pod(i, true)+"/128")
	}
	routes := [][3]string{{"0.0.0.0/0", "198.51.100.1", "192.0.2.1"}, {"::/0", "2001:db8:1::1", "2001:db8:2::1"}}
	for _, r := range routes {
		w.client.Route(t, r[0], "uplink", r[1], "")
		w.peer.Route(t, r[0], "peer", r[2], pod(podsOfNode, strings.Contains(r[0], ":"))) // what it sends, a pod sends
	}
	var own *netns.Namespace
	for _, r := range [][3]string{
		{"0.0.0.0/0", "uplink", "198.51.100.2"}, {"::/0", "uplink", "2001:db8:1::2"},
		{"10.244.2.0/24", "peer", "192.0.2.2"}, {"fd00:244:2::/64", "peer", "2001:db8:2::2"},
	} {
		own.Route(t, r[0], r[1], r[2], "")
	}
	for _, n := range append([]*netns.Namespace{w.peer}, w.pods...) {
		answer(t, n)
	}
	return w
}

// pod makes a pod of this node.
func (w *world) pod(t testing.TB, i int) *netns.Namespace {
	t.Helper()
	n, device := netns.New(t), fmt.Sprintf("pod%d", i)
	netns.Join(t, device, nil, []string{"169.254.1.1/32", "fd00:1::1/128"}, n, []string{pod(i, false) + "/32", pod(i, true) + "/128"})
	var own *netns.Namespace
	own.Route(t, pod(i, false)+"/32", device, "", nodeAddress[false])
	own.Route(t, pod(i, true)+"/128", device, "", nodeAddress[true])
	for _, r := range [][2]string{{"169.254.1.1/32", ""}, {"0.0.0.0/0", "169.254.1.1"}, {"fd00:1::1/128", ""}, {"::/0", "fd00:1::1"}} {
		n.Route(t, r[0], device, r[1], "")
	}
	return n
}

// Ports at which endpoints answer.
var endpointPorts = []int{8080, 8081}

// answer says to each client who answers, and whom it sees.
func answer(t testing.TB, n *netns.Namespace) {
	t.Helper()
	for _, port := range endpointPorts {
		at := fmt.Sprintf("[::]:%d", port)
		n.Serve(t, at, func(c net.Conn) {
			fmt.Fprintf(c, "%s %s", plain(c.LocalAddr()), plain(c.RemoteAddr()).Addr())
		})
		for _, address := range []string{"0.0.0.0", "::"} {
			answerDatagrams(t, n, net.JoinHostPort(address, fmt.Sprint(port)))
		}
	}
}

func plain(a net.Addr) netip.AddrPort {
	at := netip.MustParseAddrPort(a.String())
	return netip.AddrPortFrom(at.Addr().Unmap(), at.Port())
}

// answerDatagrams answers each datagram from the address at which it came.
func answerDatagrams(t testing.TB, n *netns.Namespace, at string) {
	t.Helper()
	ipv6 := strings.Contains(at, "[")
	kind := "udp4"
	if ipv6 {
		kind = "udp6"
	}
	var socket *net.UDPConn
	on(t, n, func() error {
		packets, err := (&net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
			var wrong error
			err := c.Control(func(fd uintptr) {
				if ipv6 {
					wrong = unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1)
				} else {
					wrong = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_PKTINFO, 1)
				}
			})
			return errors.Join(err, wrong)
		}}).ListenPacket(t.Context(), kind, at)
		if err == nil {
			socket = packets.(*net.UDPConn)
		}
		return err
	})
	t.Cleanup(func() { _ = socket.Close() })
	go func() {
		buffer, control := make([]byte, 2048), make([]byte, 256)
		for {
			_, size, _, from, err := socket.ReadMsgUDPAddrPort(buffer, control)
			if err != nil {
				return
			}
			to, reply := destination(control[:size])
			_, port, _ := net.SplitHostPort(at)
			text := fmt.Sprintf("%s %s", net.JoinHostPort(to.String(), port), from.Addr().Unmap())
			_, _, _ = socket.WriteMsgUDPAddrPort([]byte(text), reply, from) // a client that is gone misses nothing
		}
	}()
}

// destination reads at which address a datagram came, and returns what makes the answer
// leave from there.
func destination(control []byte) (netip.Addr, []byte) {
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return netip.Addr{}, nil
	}
	for _, m := range messages {
		switch {
		case m.Header.Level == unix.IPPROTO_IP && m.Header.Type == unix.IP_PKTINFO:
			a, _ := netip.AddrFromSlice(m.Data[8:12])
			return a, unix.PktInfo4(&unix.Inet4Pktinfo{Spec_dst: a.As4()})
		case m.Header.Level == unix.IPPROTO_IPV6 && m.Header.Type == unix.IPV6_PKTINFO:
			a, _ := netip.AddrFromSlice(m.Data[:16])
			return a, unix.PktInfo6(&unix.Inet6Pktinfo{Addr: a.As16()})
		}
	}
	return netip.Addr{}, nil
}

// keep runs a keeper, as after a start of the agent.
func (w *world) keep(t testing.TB, options nft.Options) {
	t.Helper()
	var err error
	w.committed = make(chan keeper.Report, 1)
	w.engine, err = nft.New(t.Context(), options)
	must(t, err)
	table, err := conntrack.Open(conntrack.Options{})
	must(t, err)
	w.keeper, err = keeper.New(keeper.Options{
		Engine: w.engine, Connections: table, Health: w, Now: time.Now,
		Committed: func(_ context.Context, r keeper.Report) { w.committed <- r },
	})
	must(t, err)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- w.keeper.Run(ctx) }()
	w.stop = sync.OnceFunc(func() {
		cancel()
		for done := false; !done; {
			select {
			case <-w.committed: // a report that nobody waits for
			case err := <-ended:
				must(t, err)
				done = true
			}
		}
		must(t, w.engine.Close())
		must(t, table.Close())
	})
	t.Cleanup(w.stop)
	w.keeper.PublishCluster(cluster())
}

// wipe removes the tables that a keeper has left.
func wipe(t testing.TB) {
	t.Helper()
	engine, err := nft.New(context.Background(), nft.Options{})
	must(t, err)
	must(t, engine.Remove(context.Background(), keeper.Tables()...))
	must(t, engine.Close())
}

// begin runs a keeper of a subtest, whose tables go with it.
func (w *world) begin(t testing.TB, options nft.Options) {
	t.Helper()
	t.Cleanup(func() { wipe(t) })
	w.keep(t, options)
	w.keeper.Complete()
	w.done(t)
}

// write publishes Services and waits until the kernel has them.
func (w *world) write(t testing.TB, all ...*service.Service) (last keeper.Report) {
	t.Helper()
	missing := map[types.NamespacedName]bool{}
	for _, s := range all {
		missing[s.Name] = true
		w.keeper.Publish(s.Name, s)
	}
	for len(missing) > 0 {
		last = w.done(t)
		for name := range last.Services {
			delete(missing, name)
		}
	}
	return last
}

// remove takes a Service away.
func (w *world) remove(t testing.TB, name types.NamespacedName) {
	t.Helper()
	w.keeper.Publish(name, nil)
	for {
		if _, there := w.done(t).Services[name]; there {
			return
		}
	}
}

func prefixes(texts ...string) (all []netip.Prefix) {
	for _, text := range texts {
		all = append(all, netip.MustParsePrefix(text))
	}
	return all
}

func cluster() service.Cluster {
	c := service.Cluster{
		Services:  prefixes("10.96.0.0/16", "fd00:96::/112"),
		Pods:      prefixes("10.244.0.0/16", "fd00:244::/32"),
		LocalPods: prefixes("10.244.1.0/24", "fd00:244:1::/64"),
	}
	for _, text := range nodeAddress {
		a := netip.MustParseAddr(text)
		c.NodeAddresses = append(c.NodeAddresses, a)
		c.NodePorts = append(c.NodePorts, netip.PrefixFrom(a, a.BitLen()))
	}
	return c
}

// Set implements keeper.Health.
func (w *world) Set(name types.NamespacedName, health service.Health) { w.health[name] = health }

// done waits for a commit.
func (w *world) done(t testing.TB) keeper.Report {
	t.Helper()
	select {
	case r := <-w.committed:
		must(t, r.Err)
		return r
	case <-time.After(10 * time.Second):
		t.Fatal("nothing is committed")
		return keeper.Report{}
	}
}

// heard is what a client hears: who answers and sees whom, or that it was refused, or
// nothing.
type heard struct{ endpoint, source, silence string }

const (
	refused = "refused"
	dropped = "dropped"
)

// How long to wait for an answer that must come, and to see that none comes.
const (
	patience = 10 * time.Second
	silence  = 150 * time.Millisecond
)

// ask sends to a front from a namespace.
func ask(t testing.TB, from *netns.Namespace, network, to string, patience time.Duration) heard {
	t.Helper()
	var c net.Conn
	var err error
	from.Do(func() { c, err = (&net.Dialer{Timeout: patience}).DialContext(t.Context(), network, to) })
	var said []byte
	if err == nil {
		defer func() { _ = c.Close() }()
		must(t, c.SetDeadline(time.Now().Add(patience)))
		if network == "udp" {
			if _, err = c.Write([]byte("x")); errors.Is(err, unix.EPERM) { // of the node itself: dropped or refused
				must(t, c.SetDeadline(time.Now().Add(silence)))
				err = nil
			}
			if err == nil {
				said = make([]byte, 256)
				var n int
				n, err = c.Read(said)
				said = said[:n]
			}
		} else {
			said, err = io.ReadAll(c)
		}
	}
	switch {
	case errors.Is(err, unix.ECONNREFUSED):
		return heard{silence: refused}
	case err != nil:
		if timeout := net.Error(nil); errors.As(err, &timeout) && timeout.Timeout() {
			return heard{silence: dropped}
		}
		t.Fatalf("%s %s: %v", network, to, err)
	}
	endpoint, source, _ := strings.Cut(string(said), " ")
	return heard{endpoint: endpoint, source: source}
}
