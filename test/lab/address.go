package lab

import (
	"fmt"
	"net/netip"
	"strings"
)

// ranges are a lab's addresses of one family. Labs have them all alike: none
// can see another, or the real machine.
type ranges struct {
	fabrics  [2]netip.Prefix
	pods     netip.Prefix
	services netip.Prefix
	nodePods int // bits of a node's range of pods
}

var (
	ranges4 = ranges{
		fabrics: [2]netip.Prefix{netip.MustParsePrefix("172.30.0.0/24"), netip.MustParsePrefix("172.30.1.0/24")},
		pods:    netip.MustParsePrefix("10.200.0.0/16"), nodePods: 24,
		services: netip.MustParsePrefix("10.96.0.0/16"),
	}
	ranges6 = ranges{
		fabrics: [2]netip.Prefix{netip.MustParsePrefix("fd00:30::/64"), netip.MustParsePrefix("fd00:30:0:1::/64")},
		pods:    netip.MustParsePrefix("fd00:10:200::/56"), nodePods: 64,
		services: netip.MustParsePrefix("fd00:10:96::/112"),
	}
)

// The last part of machines' addresses on a fabric. A node's is firstNode and
// its number.
const (
	routerHost  = 1
	controlHost = 10
	firstNode   = 10
	clientHost  = 200
	dnsHost     = 10
)

// ranges of the families, the first family first.
func (f Families) ranges() []ranges {
	switch f {
	case IPv6:
		return []ranges{ranges6}
	case DualStack:
		return []ranges{ranges4, ranges6}
	default:
		return []ranges{ranges4}
	}
}

// host is the address number n of a network.
func host(network netip.Prefix, n int) netip.Addr {
	bytes := network.Masked().Addr().AsSlice()
	bytes[len(bytes)-1] += byte(n)
	address, _ := netip.AddrFromSlice(bytes)
	return address
}

// addresses of a machine on a fabric, the first family first.
func (o Options) addresses(fabric, n int) []netip.Addr {
	var found []netip.Addr
	for _, r := range o.Families.ranges() {
		found = append(found, host(r.fabrics[fabric], n))
	}
	return found
}

// join writes one part of each family's ranges, separated by commas.
func (o Options) join(part func(ranges) string) string {
	var parts []string
	for _, r := range o.Families.ranges() {
		parts = append(parts, part(r))
	}
	return strings.Join(parts, ",")
}

// nodeFabric is the fabric of the node number n, from 1 on.
func (o Options) nodeFabric(n int) int { return (n - 1) % o.Fabrics }

func nodeName(n int) string { return fmt.Sprintf("n%d", n) }

// apiURL is where machines find the API server.
func (o Options) apiURL() string {
	return "https://" + netip.AddrPortFrom(o.addresses(0, controlHost)[0], apiPort).String()
}

const apiPort = 6443
