package cni

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/fairwaynet/fairway/cni/agent"
	"github.com/fairwaynet/fairway/cni/link"
	"github.com/fairwaynet/fairway/cni/rules"
	"github.com/fairwaynet/fairway/proxy/nft"
	"github.com/fairwaynet/fairway/test/netns"
)

// path leads from one pod to another.
type path struct {
	name     string
	from, to *netns.Namespace
	at       netip.Addr // the other pod's
	pair     *path      // one hop, the limit of all
	limit    *path      // the same hops without a network plugin
	rival    *path      // what the path is measured against; nil: nothing

	rounds []packets
}

// paths are all that are measured, each in namespaces of its own.
func paths(b *testing.B) []*path {
	b.Helper()
	pair := plainPair(b)
	routed := plainNodes(b, "one node, routes alone", 1)
	across := plainNodes(b, "two nodes, routes alone", 2)
	bridged := bridgedNode(b)
	overlay := flannel(b)
	all := []*path{pair, routed, bridged, fairwayNodes(b, "one node, fairway", 1, false), across,
		fairwayNodes(b, "two nodes, fairway direct", 2, false), overlay, fairwayNodes(b, "two nodes, fairway VXLAN", 2, true)}
	for i, p := range all {
		p.pair, p.limit = pair, routed
		if i > 3 {
			p.limit = across
		}
	}
	all[3].rival, all[7].rival = bridged, overlay
	return all
}

// plainPair is two namespaces and one pair of interfaces between them: the limit of all.
func plainPair(b *testing.B) *path {
	b.Helper()
	p := &path{name: "one pair of interfaces", from: netns.New(b), to: netns.New(b), at: netip.MustParseAddr("10.0.0.2")}
	netns.Join(b, "eth0", p.from, []string{"10.0.0.1/24"}, p.to, []string{"10.0.0.2/24"})
	return p
}

// node is a machine.
type node struct {
	*netns.Namespace
	address netip.Addr
	pods    netip.Prefix
}

// nodes are one or two machines on one link, with ranges of pods.
func nodes(b *testing.B, n int) []node {
	b.Helper()
	var all []node
	for i := range n {
		m := node{netns.New(b), netip.AddrFrom4([4]byte{192, 0, 2, byte(i + 1)}), netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 244, byte(i + 1), 0}), 24)}
		m.Do(func() { netns.Forward(b) })
		all = append(all, m)
	}
	if n == 2 {
		netns.Join(b, "uplink", all[0].Namespace, []string{all[0].address.String() + "/24"}, all[1].Namespace, []string{all[1].address.String() + "/24"})
	}
	return all
}

// on runs a function in a namespace that must not fail.
func on(b *testing.B, n *netns.Namespace, do func() error) {
	b.Helper()
	var err error
	n.Do(func() { err = do() })
	if err != nil {
		b.Fatal(err)
	}
}

// route leads a network by an address of a neighbour.
func route(network string, via netip.Addr) error {
	_, to, err := net.ParseCIDR(network)
	if err != nil {
		return err
	}
	return netlink.RouteAdd(&netlink.Route{Dst: to, Gw: via.AsSlice()})
}

// plainNodes is two pods on one machine, or one on each of two, with pairs of interfaces and
// routes alone.
func plainNodes(b *testing.B, name string, n int) *path {
	b.Helper()
	p := &path{name: name, from: netns.New(b), to: netns.New(b)}
	machines := nodes(b, n)
	for i, pod := range []*netns.Namespace{p.from, p.to} {
		m := machines[i%n]
		gateway := netip.AddrFrom4([4]byte{10, 244, byte(i + 1), 254})
		p.at = netip.AddrFrom4([4]byte{10, 244, byte(i + 1), 1})
		netns.Join(b, fmt.Sprint("pod", i), m.Namespace, []string{gateway.String() + "/24"}, pod, []string{p.at.String() + "/24"})
		on(b, pod, func() error { return route("0.0.0.0/0", gateway) })
	}
	if n == 2 {
		on(b, machines[0].Namespace, func() error { return route(machines[1].pods.String(), machines[1].address) })
		on(b, machines[1].Namespace, func() error { return route(machines[0].pods.String(), machines[0].address) })
	}
	return p
}

// bridgedNode is two pods on one machine with the bridge plugin.
func bridgedNode(b *testing.B) *path {
	b.Helper()
	m := nodes(b, 1)[0]
	plugin := bridge(b, "bridge", m.pods.String(), 1450)
	plugin.node = m.Namespace
	p := &path{name: "one node, bridge", from: netns.New(b), to: netns.New(b)}
	plugin.start(b, p.from)
	p.at = plugin.start(b, p.to)
	return p
}

// start adds a pod, and returns its IPv4 address.
func (c *contender) start(b *testing.B, pod *netns.Namespace) netip.Addr {
	b.Helper()
	if _, err := c.run(b.Context(), "ADD", fmt.Sprintf("pod-%p", pod), pod); err != nil {
		b.Fatal(err)
	}
	var address netip.Addr
	on(b, pod, func() error {
		device, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		all, err := netlink.AddrList(device, netlink.FAMILY_V4)
		if err != nil || len(all) != 1 {
			return fmt.Errorf("the pod has %v: %w", all, err)
		}
		address, _ = netip.AddrFromSlice(all[0].IP.To4())
		return nil
	})
	return address
}

// identity of the overlay's packets.
var overlayPackets = rules.Overlay{Port: 4790, VNI: 7}

// fairwayNodes is two pods on one machine, or one on each of two, with our plugin, and with
// routes and rules as the agent of a node makes them.
func fairwayNodes(b *testing.B, name string, n int, overlay bool) *path {
	b.Helper()
	p := &path{name: name, from: netns.New(b), to: netns.New(b)}
	machines := nodes(b, n)
	plugins := make([]*contender, n)
	for i, m := range machines {
		guard(b, m, machines)
		plugins[i] = ours(b, name, agent.Node{MTU: 1450}, m.pods.String())
		plugins[i].node = m.Namespace
	}
	plugins[0].start(b, p.from)
	p.at = plugins[n-1].start(b, p.to)
	for i, m := range machines {
		if n == 2 {
			m.reach(b, machines[1-i], overlay)
		}
	}
	return p
}

// guard writes the tables of a machine.
func guard(b *testing.B, own node, all []node) {
	b.Helper()
	network := rules.Network{Pods: []netip.Prefix{own.pods}}
	for _, m := range all {
		network.Cluster = append(network.Cluster, m.pods, netip.PrefixFrom(m.address, 32))
		if m != own {
			network.Peers = append(network.Peers, m.address)
		}
	}
	on(b, own.Namespace, func() error {
		engine, err := nft.New(b.Context(), nft.Options{})
		if err != nil {
			return err
		}
		b.Cleanup(func() {
			_ = engine.Remove(context.Background(), rules.Key(nft.IPv4), rules.Key(nft.IPv6)) // the namespace ends, too
			_ = engine.Close()
		})
		for _, table := range rules.Tables(overlayPackets) {
			err = errors.Join(err, engine.Declare(table))
		}
		for f, part := range network.Parts() {
			err = errors.Join(err, engine.Submit(rules.Key(f), "network", part))
		}
		if err != nil {
			return err
		}
		result, err := engine.Commit(b.Context())
		if err == nil && len(result.Refused)+len(result.Conflicts) > 0 {
			err = fmt.Errorf("the kernel refuses the rules: %+v", result)
		}
		return err
	})
}

// overlayOf is a machine's end of the overlay.
func overlayOf(m node) link.Overlay {
	return link.Overlay{
		Name: "fwoverlay", VNI: int(overlayPackets.VNI), Port: int(overlayPackets.Port), Own: m.address, MTU: 1450,
		MAC: net.HardwareAddr{2, 0xfa, 0, 0, 0, m.address.As4()[3]}, Gateways: []netip.Addr{m.pods.Addr()},
	}
}

// reach leads a machine to the pods of the other.
func (n node) reach(b *testing.B, other node, overlay bool) {
	b.Helper()
	to := link.PeerRoute{Range: other.pods, Node: other.address, MTU: 1500}
	on(b, n.Namespace, func() error {
		if overlay {
			there := overlayOf(other)
			to.Overlay, to.VTEP, to.MTU = there.Name, there.MAC, there.MTU
			if _, err := overlayOf(n).Apply(); err != nil {
				return err
			}
		}
		return to.Apply()
	})
}
