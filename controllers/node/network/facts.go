package network

import (
	"encoding/json"
	"fmt"
	"net"
	"net/netip"

	corev1 "k8s.io/api/core/v1"

	"github.com/fairwaynet/fairway/cni/mesh"
)

// Annotation is what an agent tells the others of its node, on its Node.
const Annotation = "fairway.dev/network"

// Facts are in the annotation, as JSON.
type Facts struct {
	// Version of the agent.
	Version string `json:"version"`
	// VTEP is the MAC address of the node's end of the overlay.
	VTEP string `json:"vtep,omitempty"`
	// MTU is that of the node's uplink, in bytes.
	MTU int `json:"mtu,omitempty"`
	// PodMTU is that of its pods' interfaces, in bytes.
	PodMTU int `json:"podMTU,omitempty"`
	// Mode is how the node may reach the others.
	Mode mesh.Mode `json:"mode,omitempty"`
	// Problems are what is wrong with the node's network, in sentences.
	Problems []string `json:"problems,omitempty"`
}

// maxProblems bounds how many problems are told, so that the annotation stays small.
const maxProblems = 10

// text is the annotation.
func (f Facts) text() string {
	if len(f.Problems) > maxProblems {
		more := fmt.Sprintf("and %d more", len(f.Problems)-maxProblems)
		f.Problems = append(f.Problems[:maxProblems:maxProblems], more)
	}
	encoded, err := json.Marshal(f)
	if err != nil { // it is made of texts and numbers
		return ""
	}
	return string(encoded)
}

// ReadFacts reads the annotation of a Node. A Node without one has no agent yet.
func ReadFacts(node *corev1.Node) (Facts, error) {
	var facts Facts
	text := node.Annotations[Annotation]
	if text == "" {
		return facts, nil
	}
	if err := json.Unmarshal([]byte(text), &facts); err != nil {
		return Facts{}, fmt.Errorf("read annotation %s of node %s: %w", Annotation, node.Name, err)
	}
	return facts, nil
}

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
	facts, err := ReadFacts(object)
	if err != nil {
		return node, append(mistakes, err.Error())
	}
	if facts.VTEP != "" {
		mac, err := net.ParseMAC(facts.VTEP)
		if err != nil || len(mac) != len(node.VTEP) || mac[0]&1 != 0 {
			return node, append(mistakes, fmt.Sprintf("its annotation %s has %q as MAC address", Annotation, facts.VTEP))
		}
		copy(node.VTEP[:], mac)
	}
	node.MTU = max(facts.MTU, 0)
	return node, mistakes
}
