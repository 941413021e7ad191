package mesh

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
)

// Peer is how the pods of one other node are reached. It is one value, so that a change
// of a node is a change of one peer.
type Peer struct {
	Node string
	// Routes are one for each range of the node, in the order of its ranges.
	Routes []Route
}

// Route leads a range of pods to their node.
type Route struct {
	Range netip.Prefix
	Way   Way
	// Node is the other node's address: the next hop of a direct route, the other end of
	// the overlay.
	Node netip.Addr
	// VTEP is the MAC address of the other end of the overlay.
	VTEP HardwareAddr
	// MTU is the largest packet that arrives, in bytes.
	MTU int
}

// Way is how packets get to another node.
type Way string

// The ways.
const (
	ByLink    Way = "link"
	ByOverlay Way = "overlay"
)

// Problem is what a person should know of a node.
type Problem struct {
	Node    string
	Message string
}

// Build returns how this node reaches the pods of the others, by name, and what is wrong.
func Build(own Node, uplinks []Uplink, others []Node, mode Mode) ([]Peer, []Problem) {
	b := builder{own: own, mode: mode, taken: map[netip.Addr]string{}}
	b.home(uplinks)
	others = slices.Clone(others)
	slices.SortFunc(others, func(a, b Node) int { return cmp.Compare(a.Name, b.Name) })
	b.claim(own)
	for _, other := range others {
		b.claim(other)
	}
	b.claims = newClaims(others)
	var peers []Peer
	for _, other := range others {
		if other.Name == own.Name {
			continue
		}
		if peer := b.peer(other); len(peer.Routes) > 0 {
			peers = append(peers, peer)
		}
	}
	slices.SortStableFunc(b.problems, func(a, b Problem) int { return cmp.Compare(a.Node, b.Node) })
	return peers, b.problems
}

// builder gathers what is wrong.
type builder struct {
	own      Node
	mode     Mode
	links    map[bool]Uplink // that has this node's address, by family: IPv4 is true
	taken    map[netip.Addr]string
	twice    map[netip.Addr]bool
	claims   *claims
	problems []Problem
}

func (b *builder) tell(node, format string, args ...any) {
	b.problems = append(b.problems, Problem{node, fmt.Sprintf(format, args...)})
}

// home finds the interfaces that have this node's addresses. They carry the routes to the
// others, not the one with the default route.
func (b *builder) home(uplinks []Uplink) {
	b.links, b.twice = map[bool]Uplink{}, map[netip.Addr]bool{}
	for _, is4 := range []bool{true, false} {
		address, ok := b.own.address(is4)
		if !ok {
			continue
		}
		at := slices.IndexFunc(uplinks, func(u Uplink) bool { return u.has(address) })
		if at < 0 {
			b.tell(b.own.Name, "no interface has the node's InternalIP %s: set --node-ip of the kubelet to an address of the node", address)
			continue
		}
		b.links[is4] = uplinks[at]
	}
}

// claim notes the addresses of a node. Two nodes with one address are both unreachable by
// it: packets of one would go to the other.
func (b *builder) claim(node Node) {
	for _, is4 := range []bool{true, false} {
		address, ok := node.address(is4)
		if !ok {
			continue
		}
		if other, ok := b.taken[address]; ok && other != node.Name {
			b.twice[address] = true
			b.tell(node.Name, "its InternalIP %s is also that of node %s: no pods of either are reached by it", address, other)
			continue
		}
		b.taken[address] = node.Name
	}
}

// peer decides how the ranges of another node are reached.
func (b *builder) peer(other Node) Peer {
	peer := Peer{Node: other.Name}
	for _, pods := range other.Ranges {
		if rival := b.rival(other, pods); rival != "" {
			b.tell(other.Name, "its range %s overlaps with one of node %s, which has it", pods, rival)
			continue
		}
		if route, ok := b.route(other, pods); ok {
			peer.Routes = append(peer.Routes, route)
		}
	}
	return peer
}

// rival returns the node that has a range that overlaps, and is this node or comes
// first by name.
func (b *builder) rival(other Node, pods netip.Prefix) string {
	if slices.ContainsFunc(b.own.Ranges, pods.Overlaps) {
		return b.own.Name
	}
	if rival := b.claims.rival(pods, other.Name); rival < other.Name {
		return rival
	}
	return ""
}

// route decides how one range is reached.
func (b *builder) route(other Node, pods netip.Prefix) (Route, bool) {
	is4 := pods.Addr().Is4()
	address, ok := other.address(is4)
	if link, home := b.links[is4]; ok && home && b.mode != VXLAN && link.reaches(address) && !b.twice[address] {
		return Route{Range: pods, Way: ByLink, Node: address, MTU: b.mtu(link, other, 0)}, true
	}
	if b.mode == Direct {
		b.tell(other.Name, "its pods in %s cannot be reached: in mode direct a node of one family's pods needs an InternalIP of that family on a link of this node", pods)
		return Route{}, false
	}
	return b.overlay(other, pods)
}

// overlay leads a range over VXLAN. One overlay carries both families; its own packets are
// IPv4 if this node and the other have such addresses, else IPv6.
func (b *builder) overlay(other Node, pods netip.Prefix) (Route, bool) {
	for _, is4 := range []bool{true, false} {
		address, ok := other.address(is4)
		link, home := b.links[is4]
		if !ok || !home || b.twice[address] {
			continue
		}
		if other.VTEP == (HardwareAddr{}) {
			return Route{}, false // its agent has not started yet: that is no mistake
		}
		route := Route{Range: pods, Way: ByOverlay, Node: address, VTEP: other.VTEP, MTU: b.mtu(link, other, Overhead(is4))}
		switch {
		case is4: // the kernel sends the overlay's packets in two fragments where the uplink is too small
			route.MTU = atLeast6(route.MTU, pods)
		case pods.Addr().Is6() && route.MTU < leastMTU6: // and here it does not
			b.tell(other.Name, "packets of %d to %d bytes to its pods in %s are lost: the overlay over IPv6 needs uplinks with an MTU of %d on both nodes",
				route.MTU+1, leastMTU6, pods, leastMTU6+Overhead(is4))
		}
		return route, true
	}
	if len(other.Addresses) == 0 {
		b.tell(other.Name, "it has no InternalIP, so its pods cannot be reached")
	} else if len(b.links) > 0 && !b.allTwice(other) {
		b.tell(other.Name, "this node and it have no InternalIP of one family, so its pods in %s cannot be reached", pods)
	}
	return Route{}, false
}

// allTwice reports whether another node has each of the node's addresses, which was told.
func (b *builder) allTwice(node Node) bool {
	return !slices.ContainsFunc(node.Addresses, func(a netip.Addr) bool { return !b.twice[a] })
}

// mtu is the smaller of what both uplinks carry, less what the way adds.
func (b *builder) mtu(link Uplink, other Node, overhead int) int {
	mtu := link.MTU
	if other.MTU > 0 {
		mtu = min(mtu, other.MTU)
	}
	return mtu - overhead
}

// leastMTU6 is the smallest MTU with which an interface has IPv6 (RFC 8200, section 5), in
// bytes.
const leastMTU6 = 1280

// atLeast6 raises an MTU to what IPv6 needs, if one of the ranges is IPv6.
func atLeast6(mtu int, ranges ...netip.Prefix) int {
	if slices.ContainsFunc(ranges, func(p netip.Prefix) bool { return p.Addr().Is6() }) {
		return max(mtu, leastMTU6)
	}
	return mtu
}

// Overhead is what VXLAN adds to a packet, in bytes: the inner Ethernet header (14), VXLAN
// (8, RFC 7348), UDP (8) and IPv4 (20) or IPv6 (40).
func Overhead(over4 bool) int {
	if over4 {
		return 50
	}
	return 70
}

// PodMTU is the MTU of pods' interfaces. In any mode but direct it leaves room for the
// overlay, so that a pod's packets are of one size whichever node they go to. Pods with IPv6
// have at least what that needs.
func PodMTU(own Node, uplinks []Uplink, mode Mode) (int, error) {
	b := builder{own: own, mode: mode}
	b.home(uplinks)
	if len(b.links) == 0 {
		return 0, fmt.Errorf("find the MTU of pods: no interface has an InternalIP of node %s", own.Name)
	}
	mtu := 0
	for _, link := range b.links {
		if mtu == 0 || link.MTU < mtu {
			mtu = link.MTU
		}
	}
	if _, over4 := b.links[true]; mode != Direct {
		mtu -= Overhead(over4)
	}
	return atLeast6(mtu, own.Ranges...), nil
}
