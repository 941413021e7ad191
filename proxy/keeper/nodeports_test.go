package keeper_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"

	"github.com/fairwaynet/fairway/proxy/nft"
	"github.com/fairwaynet/fairway/proxy/nft/conntrack"
	"github.com/fairwaynet/fairway/proxy/service"
	"github.com/fairwaynet/fairway/test/netns"
	"github.com/fairwaynet/fairway/test/soak"
)

// The node ports that a cluster has by default.
const (
	firstNodePort = 30000
	lastNodePort  = 32767
)

func atNodePort(port int32) change {
	return func(s *corev1.Service) { s.Spec.Type, s.Spec.Ports[0].NodePort = corev1.ServiceTypeNodePort, port }
}

// atAllNodePorts gives a Service all node ports there are.
func atAllNodePorts(s *service.Service) *service.Service {
	for i, p := range s.Ports {
		for _, f := range p.Fronts {
			if f.Address.IsValid() {
				continue
			}
			for f.Port = firstNodePort; f.Port <= lastNodePort; f.Port++ {
				if f.Port != 30080 { // it has that one
					s.Ports[i].Fronts = append(s.Ports[i].Fronts, f)
				}
			}
		}
	}
	return s
}

// away is where the node's programs connect to, outside of the cluster.
const away = 7000

// kinds are the networks of Go of both protocols and families.
func kinds() []string { return []string{"tcp4", "tcp6", "udp4", "udp6"} }

// talk echoes at a port of two addresses of a namespace, and counts the clients that it sees
// whose port is a node port.
func talk(t *testing.T, n *netns.Namespace, port int, addresses ...string) *atomic.Int64 {
	t.Helper()
	among := &atomic.Int64{}
	see := func(from net.Addr) {
		if p := plain(from).Port(); p >= firstNodePort && p <= lastNodePort {
			among.Add(1)
		}
	}
	n.Serve(t, fmt.Sprintf("[::]:%d", port), func(c net.Conn) { see(c.RemoteAddr()); _, _ = io.Copy(c, c) })
	for _, address := range addresses {
		socket := datagrams(t, n, net.JoinHostPort(address, fmt.Sprint(port)))
		go func() {
			buffer := make([]byte, 64)
			for {
				n, from, err := socket.ReadFrom(buffer)
				if err != nil {
					return
				}
				see(from)
				_, _ = socket.WriteTo(buffer[:n], from) // a client that is gone misses nothing
			}
		}()
	}
	return among
}

func datagrams(t *testing.T, n *netns.Namespace, at string) (socket net.PacketConn) {
	t.Helper()
	on(t, n, func() (err error) {
		socket, err = (&net.ListenConfig{}).ListenPacket(t.Context(), "udp", at)
		return err
	})
	t.Cleanup(func() { _ = socket.Close() })
	return socket
}

// from opens a socket of a namespace that is bound to a port, 0 for any, of an address.
func from(t *testing.T, n *netns.Namespace, kind, address string, port int, to string) net.Conn {
	t.Helper()
	dialer := net.Dialer{Timeout: patience, LocalAddr: &net.TCPAddr{IP: net.ParseIP(address), Port: port}}
	if strings.HasPrefix(kind, "udp") {
		dialer.LocalAddr = &net.UDPAddr{IP: net.ParseIP(address), Port: port}
	}
	var c net.Conn
	var err error
	n.Do(func() { c, err = dialer.DialContext(t.Context(), kind, to) })
	if err != nil {
		t.Fatalf("from port %d to %s/%s: %v", port, to, kind, err)
	}
	return c
}

// Sockets of the node whose own port is a node port lose nothing, whether they connected
// before a Service has got it or after that: their answers belong to a connection that the
// kernel knows.
func testSocketsAtNodePorts(t *testing.T, w *world) {
	talk(t, w.client, away, clientAddress[false], clientAddress[true])
	open := map[string]net.Conn{}
	connect := func(port int) {
		for _, kind := range kinds() {
			ipv6 := strings.HasSuffix(kind, "6")
			c := from(t, nil, kind, nodeAddress[ipv6], port, net.JoinHostPort(clientAddress[ipv6], fmt.Sprint(away)))
			t.Cleanup(func() { _ = c.Close() })
			open[fmt.Sprint(kind, " from ", port)] = c
		}
	}
	connect(30080)
	for _, c := range open {
		says(t, c, "before")
	}
	late := lateAnswers(t, w)
	w.write(t, atAllNodePorts(made(t, 1, []int{0}, nodePort)),
		made(t, 2, []int{0}, udp, nodePort), made(t, 3, []int{0}, udp, atNodePort(30081)), made(t, 4, []int{0}, udp, atNodePort(30082)))
	connect(30081)
	for i := range soak.Pick(200, 10_000) {
		for _, c := range open {
			says(t, c, fmt.Sprint("after ", i))
		}
	}
	for ipv6, address := range nodeAddress {
		for _, network := range []string{"tcp", "udp"} {
			to := net.JoinHostPort(address, "30080")
			if got := ask(t, w.client, network, to, patience); got.endpoint != net.JoinHostPort(pod(0, ipv6), "8080") {
				t.Errorf("%s/%s: %+v", to, network, got)
			}
		}
	}

	late(patience)
	forget(t, conntrack.Tuple{Destination: netip.MustParseAddr(clientAddress[false]), Protocol: unix.IPPROTO_UDP, DestinationPort: latePort})
	late(silence) // the limit: what the kernel has forgotten goes to the Service
}

// latePort is where a server answers more than it is asked.
const latePort = 7002

// lateAnswers opens a socket of the node at a node port. The function that it returns lets
// the server send a datagram, which arrives if the wait is patient, and else does not.
func lateAnswers(t *testing.T, w *world) func(wait time.Duration) {
	t.Helper()
	server := datagrams(t, w.client, fmt.Sprint("198.51.100.2:", latePort))
	c := from(t, nil, "udp4", nodeAddress[false], 30082, server.LocalAddr().String())
	t.Cleanup(func() { _ = c.Close() })
	_, err := c.Write([]byte("x"))
	must(t, err)
	buffer := make([]byte, 64)
	_, to, err := server.ReadFrom(buffer)
	must(t, err)
	return func(wait time.Duration) {
		t.Helper()
		_, err := server.WriteTo([]byte("late"), to)
		must(t, err)
		must(t, c.SetReadDeadline(time.Now().Add(wait)))
		_, err = c.Read(buffer)
		if arrives := err == nil; arrives != (wait == patience) {
			t.Errorf("a late answer: %v", err)
		}
	}
}

// forget makes the kernel forget connections.
func forget(t *testing.T, original conntrack.Tuple) {
	t.Helper()
	table, err := conntrack.Open(conntrack.Options{})
	must(t, err)
	defer table.Close()
	must(t, table.Delete(t.Context(), conntrack.Match{Original: original}))
}

// Connections whose source the node rewrites to one of its addresses, and a port that is a
// node port, lose nothing: not those to endpoints on other nodes, and not those of pods to
// the outside by the rules of a pod network.
func testMasqueradeAtNodePorts(t *testing.T, w *world) {
	everywhere := cluster()
	for _, text := range []string{"192.0.2.1", "2001:db8:2::1"} {
		a := netip.MustParseAddr(text)
		everywhere.NodeAddresses = append(everywhere.NodeAddresses, a)
		everywhere.NodePorts = append(everywhere.NodePorts, netip.PrefixFrom(a, a.BitLen()))
	}
	w.stop()
	w.keep(t, nft.Options{}) // a start looks once for connections to all these ports
	w.keeper.PublishCluster(everywhere)
	for i, protocol := range []change{func(*corev1.Service) {}, udp} {
		s := at(atAllNodePorts(made(t, i+1, []int{podsOfNode}, protocol, nodePort)), away)
		w.keeper.Publish(s.Name, s)
	}
	w.keeper.Complete()
	w.done(t)
	seenByPeer := talk(t, w.peer, away, pod(podsOfNode, false), pod(podsOfNode, true))
	seenOutside := talk(t, w.client, away+1, clientAddress[false], clientAddress[true])

	rules := "table inet pod-network { chain sources { type nat hook postrouting priority 100;\n"
	for _, protocol := range []string{"tcp", "udp"} { // as cni/rules has it, but for the ports, which are all node ports
		rules += fmt.Sprintf("oifname uplink ip saddr 10.244.1.0/24 meta l4proto %s masquerade to :%d-%d fully-random\n", protocol, firstNodePort, lastNodePort)
		rules += fmt.Sprintf("oifname uplink ip6 saddr fd00:244:1::/64 meta l4proto %s masquerade to :%d-%d fully-random\n", protocol, firstNodePort, lastNodePort)
	}
	command := exec.CommandContext(t.Context(), "/usr/sbin/nft", "-f", "-")
	command.Stdin = strings.NewReader(rules + "}\n}\n")
	if out, err := command.CombinedOutput(); err != nil {
		t.Fatalf("nft: %v\n%s", err, out)
	}
	t.Cleanup(func() {
		_ = exec.CommandContext(context.Background(), "/usr/sbin/nft", "delete", "table", "inet", "pod-network").Run()
	})

	const ports = lastNodePort - firstNodePort
	const inShort, inSoak = 500, 15_000 // of each protocol and family
	number, lost := soak.Pick(inShort, inSoak), 0
	try := func(n *netns.Namespace, kind, to string) {
		c := from(t, n, kind, "", 0, to)
		defer c.Close()
		must(t, c.SetDeadline(time.Now().Add(patience)))
		_, err := c.Write([]byte("x"))
		if err == nil {
			_, err = c.Read(make([]byte, 1))
		}
		if err != nil {
			lost++
			t.Errorf("%s/%s: %v", to, kind, err)
		}
	}
	for i := range number {
		for _, kind := range kinds() {
			ipv6 := strings.HasSuffix(kind, "6")
			try(w.client, kind, net.JoinHostPort(nodeAddress[ipv6], fmt.Sprint(firstNodePort+i%ports)))
			if i < ports/2 { // with fewer that are free the kernel does not always find one
				try(w.pods[1], kind, net.JoinHostPort(clientAddress[ipv6], fmt.Sprint(away+1)))
			}
			if lost > 10 {
				t.FailNow()
			}
		}
	}
	t.Logf("%d connections of each protocol and family, %d lost; ports of nodes: %d to endpoints, %d to outside", number, lost, seenByPeer.Load(), seenOutside.Load())
	if seenByPeer.Load() == 0 || seenOutside.Load() < int64(len(kinds())*min(number, ports/2)) {
		t.Error("their ports were no node ports")
	}
}
