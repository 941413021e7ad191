package plugin

import (
	"net"
	"net/netip"

	"github.com/containernetworking/cni/pkg/types"
	current "github.com/containernetworking/cni/pkg/types/100"

	"github.com/fairwaynet/fairway/cni/link"
)

// describe adds a wire to the result of the plugins before.
func (c Config) describe(netns string, wire link.Wire, ends link.Ends) *current.Result {
	result := &current.Result{}
	if c.previous != nil {
		result = c.previous
	}
	result.CNIVersion = current.ImplementedSpecVersion
	pod := len(result.Interfaces) + 1
	result.Interfaces = append(result.Interfaces,
		&current.Interface{Name: wire.Host, Mac: ends.Host.String(), Mtu: wire.MTU},
		&current.Interface{Name: wire.Owner.Interface, Mac: ends.Pod.String(), Mtu: wire.MTU, Sandbox: netns})
	for _, address := range wire.Addresses {
		via := net.IP(link.Gateway(address).AsSlice())
		result.IPs = append(result.IPs, &current.IPConfig{Interface: &pod, Address: network(netip.PrefixFrom(address, address.BitLen())), Gateway: via})
		everything := netip.PrefixFrom(netip.IPv4Unspecified(), 0)
		if address.Is6() {
			everything = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
		}
		result.Routes = append(result.Routes, &types.Route{Dst: network(everything), GW: via})
	}
	if result.DNS.IsEmpty() {
		result.DNS = c.DNS
	}
	return result
}

func network(of netip.Prefix) net.IPNet {
	return net.IPNet{IP: of.Addr().AsSlice(), Mask: net.CIDRMask(of.Bits(), of.Addr().BitLen())}
}

// hasAddresses reports whether a result has the addresses of an interface in a sandbox.
func hasAddresses(result *current.Result, device string, addresses []netip.Addr) bool {
	has := map[netip.Addr]bool{}
	for _, ip := range result.IPs {
		if at := ip.Interface; at != nil && *at >= 0 && *at < len(result.Interfaces) && result.Interfaces[*at].Name == device {
			if address, ok := netip.AddrFromSlice(ip.Address.IP); ok {
				has[address.Unmap()] = true
			}
		}
	}
	for _, address := range addresses {
		if !has[address] {
			return false
		}
	}
	return true
}
