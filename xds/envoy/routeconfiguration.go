package envoy

import (
	"google.golang.org/protobuf/encoding/protowire"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
)

// virtualHostsField is the number of RouteConfiguration.virtual_hosts.
const virtualHostsField protowire.Number = 2

// RouteConfiguration assembles the shard of that name from marshalled virtual
// hosts, in the order given, without marshalling them again.
func RouteConfiguration(name string, virtualHosts [][]byte) Resource {
	frame := resource(&routev3.RouteConfiguration{
		Name:                   name,
		VhostHeader:            hostHeader,
		RequestHeadersToRemove: []string{hostHeader, "x-envoy-external-address"},
	})
	size := len(frame.Body)
	for _, host := range virtualHosts {
		size += protowire.SizeTag(virtualHostsField) + protowire.SizeBytes(len(host))
	}
	body := make([]byte, 0, size)
	body = append(body, frame.Body...)
	for _, host := range virtualHosts {
		body = protowire.AppendTag(body, virtualHostsField, protowire.BytesType)
		body = protowire.AppendBytes(body, host)
	}
	frame.Body = body
	return frame
}
