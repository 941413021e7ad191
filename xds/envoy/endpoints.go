package envoy

import (
	"net/netip"
	"slices"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"

	"github.com/fairwaynet/fairway/xds/route"
)

// Endpoints are the addresses of a Service port, one locality per zone.
func Endpoints(b route.Backend) Resource {
	load := &endpointv3.ClusterLoadAssignment{ClusterName: EndpointsName(b.Port)}
	byZone := make(map[string][]*endpointv3.LbEndpoint)
	for _, endpoint := range b.Endpoints {
		if reachable(endpoint.Address) {
			byZone[endpoint.Zone] = append(byZone[endpoint.Zone], lbEndpoint(endpoint.Address))
		}
	}
	zones := make([]string, 0, len(byZone))
	for zone := range byZone {
		zones = append(zones, zone)
	}
	slices.Sort(zones)
	for _, zone := range zones {
		load.Endpoints = append(load.Endpoints, &endpointv3.LocalityLbEndpoints{
			Locality:    locality(zone),
			LbEndpoints: byZone[zone],
		})
	}
	return Resource{Type: TypeEndpoints, Name: load.ClusterName, Body: marshal(load)}
}

// reachable reports whether Envoy can use the address. The zone of a link-local
// address names an interface of another machine.
func reachable(a netip.AddrPort) bool {
	return a.IsValid() && a.Port() != 0 && a.Addr().Zone() == ""
}

func locality(zone string) *corev3.Locality {
	if zone == "" {
		return nil
	}
	return &corev3.Locality{Zone: strings.ToValidUTF8(zone, "%")}
}

func lbEndpoint(a netip.AddrPort) *endpointv3.LbEndpoint {
	return &endpointv3.LbEndpoint{
		HostIdentifier: &endpointv3.LbEndpoint_Endpoint{
			Endpoint: &endpointv3.Endpoint{Address: socketAddress(a.Addr().Unmap().String(), a.Port())},
		},
	}
}

func socketAddress(address string, port uint16) *corev3.Address {
	return &corev3.Address{Address: &corev3.Address_SocketAddress{
		SocketAddress: &corev3.SocketAddress{
			Address:       address,
			PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: uint32(port)},
		},
	}}
}
