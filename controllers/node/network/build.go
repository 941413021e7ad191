package network

import (
	"crypto/sha256"
	"net"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/fairwaynet/fairway/api/podnetwork"
	"github.com/fairwaynet/fairway/api/problem"
	"github.com/fairwaynet/fairway/cni/keeper"
	"github.com/fairwaynet/fairway/cni/link"
	"github.com/fairwaynet/fairway/cni/mesh"
	"github.com/fairwaynet/fairway/cni/rules"
)

// The reasons of Problems of Nodes.
const (
	ReasonNoPodRange      problem.Reason = "NoPodRange"      // the node has no range of addresses for its pods
	ReasonNodeAddress     problem.Reason = "NodeAddress"     // its InternalIP is missing or unusable
	ReasonPeerUnreachable problem.Reason = "PeerUnreachable" // pods of another node cannot be reached
)

// OverlayName is the name of the node's end of the overlay.
const OverlayName = link.Prefix + "overlay"

// Config is what an operator decides.
type Config struct {
	Mode    mesh.Mode
	Overlay rules.Overlay
	// SoftwareChecksums is for network cards that send wrong checksums of the overlay.
	SoftwareChecksums bool
	// Pods are all ranges of pods of the cluster.
	Pods []netip.Prefix
	// Direct are networks outside of the cluster that see pods' own addresses.
	Direct []netip.Prefix
	// Allocated is whether the leader of the agents gives nodes their ranges.
	Allocated bool
	// Version of the agent, for people.
	Version string
}

// Picture is what a node's network should be.
type Picture struct {
	Wanted keeper.Wanted
	Facts  podnetwork.Facts
	// Status has neither Problems nor the use of the ranges.
	Status podnetwork.Status
}

// Build returns the network of the node of a name. A mistake of another node costs its pods
// alone.
func (c Config) Build(name string, objects []corev1.Node, interfaces []link.Interface) (*Picture, []problem.Problem) {
	b := builder{Config: c, name: name}
	own, others := b.nodes(objects)
	uplinks := uplinksOf(interfaces)
	picture := &Picture{Status: podnetwork.Status{Version: c.Version, Mode: string(c.Mode)}}
	for _, each := range interfaces {
		picture.Wanted.Uplinks = append(picture.Wanted.Uplinks, each.Name)
	}
	if len(own.Ranges) == 0 {
		b.tell(name, ReasonNoPodRange, "the node has no range of addresses for its pods (spec.podCIDRs), so no pod can start on it: "+c.allocation())
	}
	peers, problems := mesh.Build(own, uplinks, others, c.Mode)
	picture.Status.Peers = count(others, peers)
	for _, p := range problems {
		reason := ReasonPeerUnreachable
		if p.Node == name {
			reason = ReasonNodeAddress
		}
		b.tell(p.Node, reason, p.Message)
	}
	mtu, err := mesh.PodMTU(own, uplinks, c.Mode)
	if err != nil {
		b.tell(name, ReasonNodeAddress, err.Error())
		return picture, problem.Sort(b.problems)
	}
	w := &picture.Wanted
	w.Ranges, w.MTU = own.Ranges, mtu
	w.Sources = present(own.Addresses, interfaces)
	w.Network = b.network(own, others, peers)
	picture.Facts.MTU, picture.Status.MTU = uplinkMTU(w.Sources, interfaces), mtu
	if c.Mode != mesh.Direct && len(w.Sources) > 0 {
		w.Overlay = c.overlay(name, own, w.Sources[0], uplinkMTU(w.Sources[:1], interfaces))
		picture.Facts.VTEP = w.Overlay.MAC.String()
	}
	w.Routes = routes(peers)
	return picture, problem.Sort(b.problems)
}

// allocation says who gives a node its range.
func (c Config) allocation() string {
	if c.Allocated {
		return "the leader of the agents gives it one (--allocate-pod-cidrs) as soon as one is free"
	}
	return "let kube-controller-manager allocate them (--allocate-node-cidrs, --cluster-cidr), or Fairway (--allocate-pod-cidrs)"
}

// Decided reports whether the picture says what the kernel should have.
func (p *Picture) Decided() bool { return p.Wanted.MTU != 0 }

type builder struct {
	Config

	name     string
	problems []problem.Problem
}

func (b *builder) tell(node string, reason problem.Reason, message string) {
	object := problem.Object{Kind: "Node", Name: types.NamespacedName{Name: node}}
	b.problems = append(b.problems, problem.Problem{Object: object, Reason: reason, Message: message})
}

// nodes reads this node and the others.
func (b *builder) nodes(objects []corev1.Node) (own mesh.Node, others []mesh.Node) {
	own.Name = b.name
	for i := range objects {
		node, mistakes := nodeOf(&objects[i])
		reason := ReasonPeerUnreachable
		if node.Name == b.name {
			own, reason = node, ReasonNodeAddress
		} else {
			others = append(others, node)
		}
		for _, mistake := range mistakes {
			b.tell(node.Name, reason, mistake)
		}
	}
	return own, others
}

func uplinksOf(interfaces []link.Interface) []mesh.Uplink {
	var uplinks []mesh.Uplink
	for _, each := range interfaces {
		uplinks = append(uplinks, mesh.Uplink(each))
	}
	return uplinks
}

// present are the first addresses of each family that an interface has, IPv4 first.
func present(addresses []netip.Addr, interfaces []link.Interface) []netip.Addr {
	var all []netip.Addr
	for _, is4 := range []bool{true, false} {
		at := slices.IndexFunc(addresses, func(a netip.Addr) bool { return a.Is4() == is4 })
		if at >= 0 && slices.ContainsFunc(interfaces, func(i link.Interface) bool { return has(i, addresses[at]) }) {
			all = append(all, addresses[at])
		}
	}
	return all
}

func has(i link.Interface, address netip.Addr) bool {
	return slices.ContainsFunc(i.Networks, func(p netip.Prefix) bool { return p.Addr() == address })
}

// uplinkMTU is the smallest MTU of the interfaces that have one of the addresses; 0: none has.
func uplinkMTU(addresses []netip.Addr, interfaces []link.Interface) int {
	mtu := 0
	for _, each := range interfaces {
		for _, address := range addresses {
			if has(each, address) && (mtu == 0 || each.MTU < mtu) {
				mtu = each.MTU
			}
		}
	}
	return mtu
}

// network is what the tables hold of the nodes. A node on a link of ours sees pods' own
// addresses, for it answers by the same way. One that only the overlay leads to does not:
// packets to its own address do not go by the overlay, and what is between may drop
// addresses that it does not know.
func (b *builder) network(own mesh.Node, others []mesh.Node, peers []mesh.Peer) rules.Network {
	n := rules.Network{Pods: own.Ranges, Cluster: slices.Concat(b.Pods, b.Direct, own.Ranges, singles(own.Addresses))}
	for _, node := range others {
		n.Cluster = append(n.Cluster, node.Ranges...)
		n.Peers = append(n.Peers, node.Addresses...)
	}
	for _, peer := range peers {
		for _, route := range peer.Routes {
			if route.Way == mesh.ByLink {
				n.Cluster = append(n.Cluster, singles([]netip.Addr{route.Node})...)
			}
		}
	}
	slices.SortFunc(n.Peers, netip.Addr.Compare)
	n.Peers = slices.Compact(n.Peers)
	return n
}

// singles are the networks of single addresses.
func singles(addresses []netip.Addr) []netip.Prefix {
	var all []netip.Prefix
	for _, address := range addresses {
		all = append(all, netip.PrefixFrom(address, address.BitLen()))
	}
	return all
}

// overlay is this node's end of the overlay.
func (c Config) overlay(name string, own mesh.Node, address netip.Addr, mtu int) link.Overlay {
	o := link.Overlay{
		Name: OverlayName, VNI: int(c.Overlay.VNI), Port: int(c.Overlay.Port), Own: address, MAC: vtep(name),
		MTU: mtu - mesh.Overhead(address.Is4()), SoftwareChecksums: c.SoftwareChecksums,
	}
	for _, is4 := range []bool{true, false} {
		at := slices.IndexFunc(own.Ranges, func(p netip.Prefix) bool { return p.Addr().Is4() == is4 })
		if at >= 0 {
			o.Gateways = append(o.Gateways, own.Ranges[at].Addr())
		}
	}
	return o
}

// vtep is the MAC address of a node's end of the overlay, locally administered. It follows
// from the name, so it is the same after a loss of the node's disk.
func vtep(name string) net.HardwareAddr {
	hash := sha256.Sum256([]byte("fairway overlay " + name))
	return net.HardwareAddr{0x02, 0xfc, hash[0], hash[1], hash[2], hash[3]}
}

func routes(peers []mesh.Peer) []link.PeerRoute {
	var all []link.PeerRoute
	for _, peer := range peers {
		for _, route := range peer.Routes {
			r := link.PeerRoute{Range: route.Range, Node: route.Node, MTU: route.MTU}
			if route.Way == mesh.ByOverlay {
				r.Overlay, r.VTEP = OverlayName, net.HardwareAddr(route.VTEP[:])
			}
			all = append(all, r)
		}
	}
	return all
}

// count counts the other nodes that have ranges by the way to them: by the overlay if one of
// their ranges needs it, and by none if one has no way.
func count(others []mesh.Node, peers []mesh.Peer) podnetwork.Peers {
	routes := map[string][]mesh.Route{}
	for _, peer := range peers {
		routes[peer.Node] = peer.Routes
	}
	var all podnetwork.Peers
	for _, other := range others {
		its := routes[other.Name]
		switch {
		case len(its) < len(other.Ranges):
			all.Unreached++
		case slices.ContainsFunc(its, func(r mesh.Route) bool { return r.Way == mesh.ByOverlay }):
			all.Overlay++
		case len(its) > 0:
			all.Link++
		}
	}
	return all
}
