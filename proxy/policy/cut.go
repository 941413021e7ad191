//go:build linux

package policy

import "github.com/fairwaynet/fairway/proxy/nft"

// Cut are the elements that end connections: flows, each with the ports of its clients. A packet of either
// direction that belongs to no known connection is refused; the beginning of a new TCP connection is judged
// like any other.
//
// The delete of a connection in the kernel alone does not end it: the next packet of the side that may
// speak makes it known again, and the other side's are answers to that.
func Cut(flows map[Flow][]uint16) map[nft.Family]nft.Part {
	parts := map[nft.Family]nft.Part{}
	for _, f := range families() {
		parts[f] = nft.Part{Elements: map[string][]nft.Element{}}
	}
	for flow, ports := range flows {
		elements := parts[familyOf(flow.From)].Elements
		for _, port := range ports {
			from, to := nft.Concat(nft.Addr(flow.From), nft.Port(port)), nft.Concat(nft.Addr(flow.To), nft.Port(flow.Port))
			protocol := nft.Concat(nft.Proto(flow.Protocol))
			elements[cut] = append(elements[cut], nft.Element{Key: protocol + from + to}, nft.Element{Key: protocol + to + from})
		}
	}
	return parts
}
