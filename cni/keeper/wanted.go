package keeper

import (
	"net/netip"

	"github.com/fairwaynet/fairway/cni/link"
	"github.com/fairwaynet/fairway/cni/rules"
	"github.com/fairwaynet/fairway/proxy/nft"
)

// Wanted is what the kernel of the node should have for the pod network, apart from its pods.
type Wanted struct {
	// Ranges have the addresses of this node's pods.
	Ranges []netip.Prefix
	// Uplinks are the interfaces of the node that are not ours.
	Uplinks []string
	// Overlay is this node's end of the overlay. Without a name there is none.
	Overlay link.Overlay
	// Routes lead to the pods of other nodes.
	Routes []link.PeerRoute
	// Network is what the tables hold of the nodes.
	Network rules.Network
	// MTU is that of pods' interfaces, in bytes.
	MTU int
	// Sources are the node's own addresses, by which it speaks to its pods.
	Sources []netip.Addr
}

// Report says what a pass found.
type Report struct {
	// Mended is what somebody else had changed and was put back, in sentences.
	Mended []string
	// Failed are the errors that cost one peer or pod.
	Failed []error
	// Err is what keeps the node from being complete: forwarding, overlay or tables.
	Err error
	// Blocked are others' chains that lose pods' packets. Nothing was done to them.
	Blocked []nft.Blocker
	// Wanted is what the pass made so.
	Wanted Wanted
}
