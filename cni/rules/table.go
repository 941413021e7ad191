package rules

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/fairwaynet/fairway/proxy/nft"
)

// name of the tables, and the version of what they hold.
const (
	name    = "fairway-pods"
	version = 1
)

// Wires is how the names of the interfaces begin that the rules guard.
const Wires = "fw"

// Counters of what was dropped.
const (
	Spoofed      = "spoofed"               // from a pod, with an address that is not its own
	Loopback     = "loopback"              // from a pod to 127.0.0.0/8 of the node
	RouterAdvert = "router-advertisements" // or redirects, from a pod
	FromPod      = "overlay-from-pods"     // to the overlay's port and VNI
	FromStranger = "overlay-from-strangers"
)

// Overlay is what identifies the packets between nodes. The zero value is none.
type Overlay struct {
	Port uint16 // UDP
	VNI  uint32
}

// families are those of the tables.
func families() []nft.Family { return []nft.Family{nft.IPv4, nft.IPv6} }

// Key of the table of a family.
func Key(f nft.Family) nft.TableKey { return nft.TableKey{Family: f, Name: name} }

// Tables returns the tables without elements.
func Tables(overlay Overlay) []nft.Table {
	var all []nft.Table
	for _, f := range families() {
		t := table{f, overlay}
		all = append(all, nft.Table{
			Family: f, Name: name, Version: version,
			Counters: []string{Spoofed, Loopback, RouterAdvert, FromPod, FromStranger},
			Sets:     t.sets(),
			Chains:   t.chains(),
		})
	}
	return all
}

// table has the words of one family.
type table struct {
	nft.Family
	overlay Overlay
}

func (t table) sets() []nft.Set {
	a := t.Address()
	return []nft.Set{
		{Name: "pods", Comment: "of this node", Key: nft.Type{a}, Interval: true},
		{Name: "cluster", Comment: "reached without masquerade", Key: nft.Type{a}, Interval: true},
		{Name: "peers", Comment: "may send to the overlay", Key: nft.Type{a}},
		{Name: "ports", Comment: "host ports", Key: nft.Type{a, nft.InetProto, nft.InetService}, Value: nft.Type{a, nft.InetService}},
		{Name: "hairpin", Comment: "a pod that calls itself", Key: nft.Type{a, a}},
	}
}

func (t table) chains() []nft.Chain {
	hook := func(kind nft.ChainType, point nft.HookPoint, priority int32) *nft.Hook {
		return &nft.Hook{Type: kind, Point: point, Priority: priority}
	}
	return []nft.Chain{
		{Name: "guard", Hook: hook(nft.Filter, nft.Prerouting, -300), Rules: []nft.Rule{{Do: nft.Do(fromPod(), nft.Jump("wire"))}}},
		{Name: "wire", Rules: t.wire()},
		{Name: "input", Hook: hook(nft.Filter, nft.Input, -10), Rules: t.input()},
		{Name: "segments", Hook: hook(nft.Filter, nft.Forward, -150), Rules: []nft.Rule{{
			Comment: "TCP segments fit the route", Do: nft.Do(isProtocol(unix.IPPROTO_TCP),
				nft.IsMasked(nft.TCPFlags(), nft.Proto(nft.SYN|nft.RST), nft.Proto(nft.SYN)), nft.ClampMSS()),
		}}},
		{Name: "host-ports", Hook: hook(nft.NAT, nft.Prerouting, -95), Rules: t.hostPorts()},
		{Name: "host-ports-of-node", Hook: hook(nft.NAT, nft.Output, -95), Rules: t.hostPorts()},
		{Name: "sources", Hook: hook(nft.NAT, nft.Postrouting, 110), Rules: t.sources()},
	}
}

func fromPod() nft.Expression { return nft.Is(nft.IIFName(), nft.DevicePrefix(Wires)) }

func isProtocol(number uint8) nft.Expression { return nft.Is(nft.L4Proto(), nft.Proto(number)) }

func drop(counter string, steps ...nft.Expression) nft.Rule {
	return nft.Rule{Do: nft.Do(append(steps, nft.Count{Name: counter}, nft.Drop())...)}
}

// wire judges what comes from a pod: only the addresses whose way back is the same wire.
// That needs no element for the pod, and does not depend on rp_filter.
func (t table) wire() []nft.Rule {
	rules := []nft.Rule{drop(Loopback, nft.Within(nft.Daddr(nft.IPv4), netip.MustParsePrefix("127.0.0.0/8")))}
	if t.Family == nft.IPv6 {
		linkLocal := netip.MustParsePrefix("fe80::/10")
		icmp := isProtocol(unix.IPPROTO_ICMPV6)
		rules = []nft.Rule{
			drop(RouterAdvert, icmp, nft.Is(nft.ICMPType(), nft.Proto(134))),
			drop(RouterAdvert, icmp, nft.Is(nft.ICMPType(), nft.Proto(137))),
			{Comment: "neighbour discovery", Do: nft.Do(nft.Within(nft.Saddr(nft.IPv6), linkLocal), icmp, nft.IsBetween(nft.ICMPType(), nft.Proto(130), nft.Proto(136)), nft.Return())},
			{Comment: "multicast listeners", Do: nft.Do(nft.Within(nft.Saddr(nft.IPv6), linkLocal), icmp, nft.Is(nft.ICMPType(), nft.Proto(143)), nft.Return())},
			drop(Spoofed, nft.Within(nft.Saddr(nft.IPv6), linkLocal)),
		}
	}
	rules = append(rules, drop(Spoofed, nft.Is(nft.FibSaddrIIF(), nft.Number(0))))
	if t.overlay != (Overlay{}) {
		rules = append(rules, drop(FromPod, t.isOverlay()))
	}
	return rules
}

// input takes packets of the overlay from other nodes alone. What has another VNI is
// somebody else's.
func (t table) input() []nft.Rule {
	if t.overlay == (Overlay{}) {
		return nil
	}
	return []nft.Rule{drop(FromStranger, t.isOverlay(), nft.NotIn("peers", nft.Saddr(t.Family)))}
}

// isOverlay matches the overlay's port and VNI. The VNI is in the fifth to seventh byte
// after the UDP header (RFC 7348).
func (t table) isOverlay() nft.Expression {
	vni := binary.BigEndian.AppendUint32(nil, t.overlay.VNI)[1:]
	const udpHeader, before = 8, 4
	return nft.Sequence{
		isProtocol(unix.IPPROTO_UDP), nft.Is(nft.Dport(), nft.Port(t.overlay.Port)),
		nft.Is(nft.Payload{Base: unix.NFT_PAYLOAD_TRANSPORT_HEADER, Offset: udpHeader + before, Length: uint32(len(vni))}, nft.Value(vni)),
	}
}

// unspecified stands for every address of the node.
func unspecified(f nft.Family) nft.Value {
	if f == nft.IPv6 {
		return nft.Addr(netip.IPv6Unspecified())
	}
	return nft.Addr(netip.IPv4Unspecified())
}

// hostPorts leads a port of one address of the node, or of all, to a pod.
func (t table) hostPorts() []nft.Rule {
	return []nft.Rule{
		{Do: nft.Do(nft.DNATMap(t.Family, "ports", nft.Daddr(t.Family), nft.L4Proto(), nft.Dport()))},
		{Do: nft.Do(nft.Is(nft.FibDaddrType(), nft.Number(unix.RTN_LOCAL)),
			nft.DNATMap(t.Family, "ports", nft.Constant(unspecified(t.Family)), nft.L4Proto(), nft.Dport()))},
	}
}

// sources gives the node's address to what must come back to it: what a pod sends out of
// the cluster, what a pod sends to itself by a host port, and what the node sends to a host
// port from 127.0.0.1.
func (t table) sources() []nft.Rule {
	f := t.Family
	rules := []nft.Rule{
		{Do: nft.Do(nft.In("hairpin", nft.Saddr(f), nft.Daddr(f)), nft.HasAny(nft.CtStatus(), nft.CtDNAT), nft.Masquerade{})},
		{Do: nft.Do(nft.In("pods", nft.Saddr(f)), nft.NotIn("cluster", nft.Daddr(f)), nft.Masquerade{})},
	}
	if f == nft.IPv4 {
		rules = append(rules, nft.Rule{Do: nft.Do(nft.Within(nft.Saddr(f), netip.MustParsePrefix("127.0.0.0/8")),
			nft.Is(nft.OIFName(), nft.DevicePrefix(Wires)), nft.Masquerade{})})
	}
	return rules
}
