package envoy

import (
	"google.golang.org/protobuf/types/known/wrapperspb"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	proxyprotocolv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/proxy_protocol/v3"

	"github.com/fairwaynet/fairway/xds/route"
)

// listenerFilters read the PROXY header before the first byte of a connection.
func listenerFilters(s route.Settings) []*listenerv3.ListenerFilter {
	if s.ProxyProtocol == nil {
		return nil
	}
	return []*listenerv3.ListenerFilter{{
		Name: "envoy.filters.listener.proxy_protocol",
		ConfigType: &listenerv3.ListenerFilter_TypedConfig{TypedConfig: typed(&proxyprotocolv3.ProxyProtocol{
			AllowRequestsWithoutProxyProtocol: s.ProxyProtocol.Optional,
		})},
	}}
}

// filterChainMatch admits only peers that may send a PROXY header. It checks the
// address of the connection itself, not the one in the header. Envoy closes
// connections that no chain matches.
func filterChainMatch(s route.Settings) *listenerv3.FilterChainMatch {
	if s.ProxyProtocol == nil || len(s.ProxyProtocol.From) == 0 {
		return nil
	}
	match := &listenerv3.FilterChainMatch{}
	for _, prefix := range s.ProxyProtocol.From {
		match.DirectSourcePrefixRanges = append(match.DirectSourcePrefixRanges, &corev3.CidrRange{
			AddressPrefix: prefix.Addr().String(),
			PrefixLen:     wrapperspb.UInt32(uint32(prefix.Bits())),
		})
	}
	return match
}
