package policy

import (
	"net/netip"
	"slices"
)

// Covers says whether a rule matches whatever another one matches. It knows rules about every port whose peers are
// everybody or all pods, and says no of any other rule.
func (r Rule) Covers(other Rule) bool {
	switch {
	case !r.AnyPort:
		return false
	case r.Anybody || r.Blocks.everywhere():
		return true
	default:
		return slices.ContainsFunc(r.Peers, Selector.everyPod) && !other.Anybody && len(other.Blocks) == 0
	}
}

// everywhere says whether the ranges have all addresses of both families.
func (r Ranges) everywhere() bool {
	return slices.Contains(r, rangeOf(netip.PrefixFrom(netip.IPv4Unspecified(), 0))) &&
		slices.Contains(r, rangeOf(netip.PrefixFrom(netip.IPv6Unspecified(), 0)))
}

// everyPod says whether the selector means all pods of the cluster.
func (s Selector) everyPod() bool {
	return s.namespaces != nil && s.namespaces.Empty() && s.pods.Empty()
}
