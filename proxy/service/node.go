package service

import (
	"net/netip"
	"slices"
)

// Node is what Build must know of the node and of the cluster's addresses.
type Node struct {
	Name string
	Zone string // of its label topology.kubernetes.io/zone
	// ExternalIPs serves spec.externalIPs. With it, everybody who may write a Service can take
	// any address (CVE-2020-8554).
	ExternalIPs bool
	// Reserved are addresses that no Service may take from outside.
	Reserved Reserved
}

// Reserved are the addresses of the cluster itself.
type Reserved struct {
	Nodes    map[netip.Addr]string // by address: the name of the Node
	Pods     []netip.Prefix
	Services []netip.Prefix
}

// holder says who has an address; it is empty if nobody of the cluster does.
func (r Reserved) holder(a netip.Addr) string {
	within := func(p netip.Prefix) bool { return p.Contains(a) }
	switch {
	case r.Nodes[a] != "":
		return "is that of Node " + r.Nodes[a]
	case slices.ContainsFunc(r.Pods, within):
		return "is one of pods"
	case slices.ContainsFunc(r.Services, within):
		return "is in the range of cluster IPs"
	case a.IsLoopback(), a.IsUnspecified(), a.IsMulticast(), a.IsLinkLocalUnicast():
		return "is no address that others can reach"
	default:
		return ""
	}
}
