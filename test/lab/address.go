package lab

import (
	"fmt"
	"net/netip"
	"strings"
)

// ranges are a lab's addresses of one family. All labs use the same ones, because
// no lab can see another lab or the real machine.
type ranges struct {
	fabrics  [2]netip.Prefix
	pods     netip.Prefix
	services netip.Prefix
	nodePods int // prefix length of a node's range of pods
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

// The last part of a machine's address on a fabric. A node has firstNode plus its
// number.
const (
	routerHost  = 1
	controlHost = 10
	firstNode   = 10
	clientHost  = 200
	dnsHost     = 10
)

// ranges are the ranges of the families, the first family first.
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

// addresses are a machine's addresses on a fabric, the first family first.
func (o Options) addresses(fabric, n int) []netip.Addr {
	var found []netip.Addr
	for _, r := range o.Families.ranges() {
		found = append(found, host(r.fabrics[fabric], n))
	}
	return found
}

// join joins one part of each family's ranges with commas.
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

// apiURL is the URL of the API server for machines.
func (o Options) apiURL() string {
	return "https://" + netip.AddrPortFrom(o.addresses(0, controlHost)[0], apiPort).String()
}

const apiPort = 6443

// nodeNames are the names of all nodes.
func (o Options) nodeNames() []string {
	var names []string
	if o.hasNetwork() {
		names = append(names, controlName)
	}
	for n := 1; n <= o.Nodes; n++ {
		names = append(names, nodeName(n))
	}
	return names
}
