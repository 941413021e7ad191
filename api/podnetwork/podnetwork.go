// Package podnetwork is what an agent of the pod network writes onto its Node: facts for
// the other agents, and a status for people.
//
// They are two annotations, because every agent of a cluster hears of a change of the facts
// and acts on it, while nothing acts on a status. The package decides nothing.
package podnetwork

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
)

// The annotations of a Node. Both hold JSON.
const (
	FactsAnnotation  = "fairway.dev/network"
	StatusAnnotation = "fairway.dev/network-status"
)

// Facts are what other agents must know of a node.
type Facts struct {
	// VTEP is the MAC address of the node's end of the overlay.
	VTEP string `json:"vtep,omitempty"`
	// MTU is that of the node's uplink, in bytes.
	MTU int `json:"mtu,omitempty"`
}

// Status is what people should know of a node's pod network.
type Status struct {
	// Version of the agent.
	Version string `json:"version"`
	// Mode is how the node may reach the others.
	Mode string `json:"mode,omitempty"`
	// MTU is that of its pods' interfaces, in bytes; 0: no pod can start.
	MTU    int     `json:"mtu,omitempty"`
	Ranges []Usage `json:"ranges,omitempty"`
	Peers  Peers   `json:"peers"`
	// Problems are what is wrong with the node's network, in sentences.
	Problems []string `json:"problems,omitempty"`
	// PeerProblems are why pods of other nodes cannot be reached.
	PeerProblems []PeerProblem `json:"peerProblems,omitempty"`
}

// PeerProblem is what is wrong with another node.
type PeerProblem struct {
	Node    string `json:"node"`
	Message string `json:"message"`
}

// Usage is how full a range of the node's pods is.
type Usage struct {
	Range netip.Prefix `json:"range"`
	Used  uint64       `json:"used"`
	Size  uint64       `json:"size"` // addresses that pods can have
}

// Peers count the other nodes that have ranges, by the way that leads to their pods.
type Peers struct {
	Link    int `json:"link"`
	Overlay int `json:"overlay"`
	// Unreached have a range to which no way leads. Their agents may not have started yet.
	Unreached int `json:"unreached,omitempty"`
}

// maxProblems bounds how many problems are told, so that the annotation stays small.
const maxProblems = 10

// Text is the annotation.
func (f Facts) Text() string { return text(f) }

// Text is the annotation. It has the first problems only; how many peers have some is known
// from their number.
func (s Status) Text() string {
	if more := len(s.Problems) - maxProblems; more > 0 {
		s.Problems = append(s.Problems[:maxProblems:maxProblems], fmt.Sprintf("and %d more", more))
	}
	s.PeerProblems = s.PeerProblems[:min(len(s.PeerProblems), maxProblems)]
	return text(s)
}

func text(of any) string {
	encoded, err := json.Marshal(of)
	if err != nil { // it is made of texts and numbers
		return ""
	}
	return string(encoded)
}

// ReadFacts reads the facts among a Node's annotations; found: the node has had an agent.
func ReadFacts(annotations map[string]string) (facts Facts, found bool, err error) {
	return read[Facts](annotations, FactsAnnotation)
}

// ReadStatus reads the status among a Node's annotations.
func ReadStatus(annotations map[string]string) (status Status, found bool, err error) {
	return read[Status](annotations, StatusAnnotation)
}

func read[T any](annotations map[string]string, name string) (value T, found bool, _ error) {
	written := annotations[name]
	if written == "" {
		return value, false, nil
	}
	if err := json.Unmarshal([]byte(written), &value); err != nil {
		var none T
		return none, true, fmt.Errorf("read annotation %s: %w", name, err)
	}
	return value, true, nil
}

// Differs reports whether a status tells people something else than an earlier one. The use
// of a range and the number of peers change all the time: of them it counts if a range
// becomes full or has room again, or if a sixteenth of the whole has changed.
func (s Status) Differs(earlier Status) bool {
	if s.Version != earlier.Version || s.Mode != earlier.Mode || s.MTU != earlier.MTU || len(s.Ranges) != len(earlier.Ranges) {
		return true
	}
	for i, is := range s.Ranges {
		was := earlier.Ranges[i]
		full := func(u Usage) bool { return u.Used >= u.Size }
		if is.Range != was.Range || full(is) != full(was) || much(is.Used, was.Used, min(is.Size, largeRange)) {
			return true
		}
	}
	all := uint64(max(s.Peers.Link+s.Peers.Overlay+s.Peers.Unreached, 0)) //nolint:gosec // it is not negative
	for _, pair := range [][2]int{
		{s.Peers.Link, earlier.Peers.Link}, {s.Peers.Overlay, earlier.Peers.Overlay}, {s.Peers.Unreached, earlier.Peers.Unreached},
	} {
		if (pair[0] == 0) != (pair[1] == 0) || much(uint64(max(pair[0], 0)), uint64(max(pair[1], 0)), all) { //nolint:gosec // as above
			return true
		}
	}
	return !slices.Equal(s.Problems, earlier.Problems) || !slices.Equal(s.PeerProblems, earlier.PeerProblems)
}

// largeRange is how many addresses of a range count at most: a node has hundreds of pods,
// and a /64 of IPv6 never fills up.
const largeRange = 1024

// much reports whether two numbers differ by a sixteenth of a whole.
func much(a, b, whole uint64) bool {
	const parts = 16
	return a != b && (max(a, b)-min(a, b))*parts >= whole
}
