package keeper

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	"github.com/fairwaynet/fairway/cni/link"
	"github.com/fairwaynet/fairway/cni/rules"
	"github.com/fairwaynet/fairway/proxy/nft"
)

// blockers are others' chains that lose pods' packets.
type blockers struct {
	suspected []nft.Blocker // at the last look
	standing  []nft.Blocker // at the last two looks
	err       error         // of the last look
}

// look looks for blockers, and says whether those that stand are others than before. One
// that only one look has found does not count: firewalld drops everything while it loads.
func (b *blockers) look(ctx context.Context, engine *nft.Engine, packets []nft.Packet) (changed bool) {
	var found []nft.Blocker
	if found, b.err = engine.Blockers(ctx, packets); b.err != nil {
		return false
	}
	before, standing := b.suspected, b.standing
	b.suspected, b.standing = found, nil
	for _, each := range found {
		again := func(x nft.Blocker) bool { return x.Table == each.Table && x.Chain == each.Chain }
		if slices.ContainsFunc(before, again) {
			b.standing = append(b.standing, each)
		}
	}
	same := func(x, y nft.Blocker) bool {
		return x.Table == y.Table && x.Chain == y.Chain && x.Priority == y.Priority && x.At == y.At &&
			x.Owned == y.Owned && x.Doubtful == y.Doubtful && slices.Equal(x.Lost, y.Lost)
	}
	return !slices.EqualFunc(b.standing, standing, same)
}

// The names of two wires for packets that no pod sends. Others' rules cannot mean them.
const (
	podWire       = rules.Wires + "pod"
	neighbourWire = rules.Wires + "neighbour"
)

// crossing are packets that the node must forward: from pod to pod, and between its pods and
// those of other nodes, one for each interface that leads there. What pods send out of the
// cluster is not among them: somebody may forbid that on purpose.
func crossing(wanted Wanted, interfaces []link.Interface) []nft.Packet {
	var all []nft.Packet
	for _, own := range wanted.Ranges {
		pod := host(own, 2)
		all = append(all, nft.Packet{In: podWire, Out: neighbourWire, From: pod, To: host(own, 3)})
		led := map[string]bool{}
		for _, route := range wanted.Routes {
			way := wayOf(route, interfaces)
			if way == "" || led[way] || route.Range.Addr().Is4() != pod.Is4() {
				continue
			}
			led[way] = true
			far := host(route.Range, 2)
			all = append(all, nft.Packet{In: podWire, Out: way, From: pod, To: far}, nft.Packet{In: way, Out: podWire, From: far, To: pod})
		}
	}
	return all
}

// host is the nth address of a range, or the last before it that the range has.
func host(prefix netip.Prefix, n int) netip.Addr {
	address := prefix.Masked().Addr()
	for range n {
		if next := address.Next(); prefix.Contains(next) {
			address = next
		}
	}
	return address
}

// wayOf is the interface that a route leads to; empty if it is not known.
func wayOf(route link.PeerRoute, interfaces []link.Interface) string {
	if route.Overlay != "" {
		return route.Overlay
	}
	for _, each := range interfaces {
		if slices.ContainsFunc(each.Networks, func(p netip.Prefix) bool { return p.Contains(route.Node) }) {
			return each.Name
		}
	}
	return ""
}

// tell adds to a report.
func (b *blockers) tell(report *Report) {
	report.Blocked = b.standing
	if b.err != nil {
		report.Failed = append(report.Failed, fmt.Errorf("see whether others' rules let pods pass: %w", b.err))
	}
}
