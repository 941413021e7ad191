package network

import (
	"fmt"
	"net"
	"net/netip"

	corev1 "k8s.io/api/core/v1"

	"github.com/fairwaynet/fairway/api/podnetwork"
	"github.com/fairwaynet/fairway/cni/mesh"
)

// nodeOf reads what is known of a node. What cannot be read is left out, and told.
func nodeOf(object *corev1.Node) (node mesh.Node, mistakes []string) {
	node.Name = object.Name
	for _, address := range object.Status.Addresses {
		if address.Type != corev1.NodeInternalIP {
			continue
		}
		parsed, err := netip.ParseAddr(address.Address)
		if err != nil || parsed.IsUnspecified() || parsed.IsLoopback() || parsed.IsMulticast() || parsed.Zone() != "" {
			mistakes = append(mistakes, fmt.Sprintf("its InternalIP %q is no address by which a node can be reached", address.Address))
			continue
		}
		node.Addresses = append(node.Addresses, parsed.Unmap())
	}
	for _, text := range object.Spec.PodCIDRs {
		pods, err := netip.ParsePrefix(text)
		if err != nil {
			mistakes = append(mistakes, fmt.Sprintf("its range of pods %q is none", text))
			continue
		}
		node.Ranges = append(node.Ranges, pods.Masked())
	}
	facts, _, err := podnetwork.ReadFacts(object.Annotations)
	if err != nil {
		return node, append(mistakes, err.Error())
	}
	if facts.VTEP != "" {
		mac, err := net.ParseMAC(facts.VTEP)
		if err != nil || len(mac) != len(node.VTEP) || mac[0]&1 != 0 {
			return node, append(mistakes, fmt.Sprintf("its annotation %s has %q as MAC address", podnetwork.FactsAnnotation, facts.VTEP))
		}
		copy(node.VTEP[:], mac)
	}
	node.MTU = max(facts.MTU, 0)
	return node, mistakes
}
