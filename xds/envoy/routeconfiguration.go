package envoy

import (
	"strings"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/types/known/anypb"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
)

// virtualHostsField is the number of RouteConfiguration.virtual_hosts.
const virtualHostsField protowire.Number = 2

// RouteConfiguration assembles a shard from marshalled virtual hosts, in the
// order given, without marshalling them again.
func RouteConfiguration(name string, virtualHosts [][]byte) Resource {
	config := &routev3.RouteConfiguration{
		Name:                   name,
		VhostHeader:            hostHeader,
		RequestHeadersToRemove: []string{hostHeader, clientHeader, "x-envoy-external-address"},
		RequestHeadersToAdd:    []*corev3.HeaderValueOption{header("x-real-ip", "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%")},
	}
	if strings.HasPrefix(name, exactPrefix) {
		config.TypedPerFilterConfig = map[string]*anypb.Any{
			spellingFilter: disabled(),
			fallbackFilter: disabled(),
		}
	}
	frame := resource(config)
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

// disabled switches a filter off for a host.
func disabled() *anypb.Any { return typed(&routev3.FilterConfig{Disabled: true}) }
