// Package nodelinks is what an agent writes onto its Node about the links that the node is on:
// which load-balancer addresses it can answer for, and which are somebody's.
package nodelinks

import (
	"encoding/json"
	"net/netip"
	"slices"
)

// Annotation of a Node. It holds JSON.
const Annotation = "fairway.dev/links"

// Links are those of a node.
type Links struct {
	// Networks are the node's addresses with the length of their networks' prefix.
	Networks []netip.Prefix `json:"networks,omitempty"`
	// Routers are where the node's default routes lead.
	Routers []netip.Addr `json:"routers,omitempty"`
}

// Read reads the annotations of a Node. What is not there, or cannot be read, is empty.
func Read(annotations map[string]string) Links {
	var links Links
	if json.Unmarshal([]byte(annotations[Annotation]), &links) != nil {
		return Links{}
	}
	return links
}

// Text is the annotation.
func (l Links) Text() string {
	slices.SortFunc(l.Networks, netip.Prefix.Compare)
	slices.SortFunc(l.Routers, netip.Addr.Compare)
	text, err := json.Marshal(Links{slices.Compact(l.Networks), slices.Compact(l.Routers)})
	if err != nil {
		return "" // prefixes and addresses can be written
	}
	return string(text)
}

// On says whether the node has an interface in the network of an address.
func (l Links) On(a netip.Addr) bool {
	return slices.ContainsFunc(l.Networks, func(p netip.Prefix) bool { return p.Contains(a) && p.Bits() < a.BitLen() })
}
