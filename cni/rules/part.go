package rules

import (
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/fairwaynet/fairway/cni/ipam"
	"github.com/fairwaynet/fairway/proxy/nft"
)

// Parts are what one key wants in the tables, by family.
type Parts map[nft.Family]nft.Part

// add adds an element of an address' family.
func (p Parts) add(of netip.Addr, set string, element nft.Element) {
	f := nft.IPv4
	if of.Is6() {
		f = nft.IPv6
	}
	part := p[f]
	if part.Elements == nil {
		part.Elements = map[string][]nft.Element{}
	}
	part.Elements[set] = append(part.Elements[set], element)
	p[f] = part
}

// Network is what holds for all pods of the node.
type Network struct {
	// Pods are the ranges of this node.
	Pods []netip.Prefix
	// Cluster is what pods reach by their own address: all ranges of pods, nodes, and the
	// exceptions that were configured.
	Cluster []netip.Prefix
	// Peers are the addresses of the other nodes.
	Peers []netip.Addr
}

// Parts returns the elements of the network. A family without any has an empty part.
func (n Network) Parts() Parts {
	parts := Parts{nft.IPv4: {}, nft.IPv6: {}}
	for _, prefix := range n.Pods {
		parts.add(prefix.Addr(), "pods", nft.Prefix(prefix))
	}
	for _, prefix := range n.Cluster {
		parts.add(prefix.Addr(), "cluster", nft.Prefix(prefix))
	}
	for _, peer := range n.Peers {
		parts.add(peer, "peers", nft.Element{Key: nft.Addr(peer)})
	}
	return parts
}

// protocols of host ports.
var protocols = map[string]uint8{"tcp": unix.IPPROTO_TCP, "udp": unix.IPPROTO_UDP, "sctp": unix.IPPROTO_SCTP}

// HostPorts returns the elements of a lease's host ports, in each family that the pod has.
func HostPorts(lease ipam.Lease) Parts {
	parts := Parts{nft.IPv4: {}, nft.IPv6: {}}
	for _, pod := range lease.Addresses {
		f := nft.IPv4
		if pod.Is6() {
			f = nft.IPv6
		}
		used := false
		for _, port := range lease.HostPorts {
			at := unspecified(f)
			if port.Address.IsValid() {
				if port.Address.Is4() != pod.Is4() {
					continue
				}
				at = nft.Addr(port.Address)
			}
			used = true
			parts.add(pod, "ports", nft.Element{
				Key:   nft.Concat(at, nft.Proto(protocols[port.Protocol]), nft.Port(port.Port)),
				Value: nft.Concat(nft.Addr(pod), nft.Port(port.PodPort)),
			})
		}
		if used {
			parts.add(pod, "hairpin", nft.Element{Key: nft.Concat(nft.Addr(pod), nft.Addr(pod))})
		}
	}
	return parts
}
