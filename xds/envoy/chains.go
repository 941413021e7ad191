package envoy

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/wrapperspb"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	tcpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"

	"github.com/fairwaynet/fairway/xds/route"
)

// ChainName is the name of a filter chain. The zero Chain is HTTPS; other names
// say what the chain does: "client shop/staff-ca required", "pair *.shop.test",
// "passthrough shop/cart:443". Different chains have different names.
func ChainName(c route.Chain) string {
	name := ""
	if c.Client != (route.ClientPolicy{}) {
		name = "client " + c.Client.String()
	}
	if c.Pair != "" {
		name += " pair " + hostName(c.Pair)
	}
	switch {
	case c.Closed:
		return closed
	case c.IsPassthrough():
		return "passthrough " + ClusterName(c.Passthrough)
	}
	return cmp.Or(strings.TrimSpace(name), HTTPS)
}

// closed is the name of a filter chain that does not exist. Envoy closes the
// connections for which the matcher chooses it.
const closed = "closed"

// filterChains are the chains of the HTTPS listener, each once: the default
// chain, the chain for TLS-ALPN-01, and then the chains of single server names,
// sorted by name.
func filterChains(s route.Settings, chains map[route.Hostname]route.Chain) []*listenerv3.FilterChain {
	own := make(map[string]route.Chain)
	for _, c := range chains {
		if !c.Closed && c != (route.Chain{}) {
			own[ChainName(c)] = c
		}
	}
	out := []*listenerv3.FilterChain{filterChain(HTTPS, downstreamTLS(s.TLS, route.Chain{}), nil, s), acmeChain()}
	for _, name := range slices.Sorted(maps.Keys(own)) {
		out = append(out, ownChain(name, own[name], s))
	}
	return out
}

func ownChain(name string, c route.Chain, s route.Settings) *listenerv3.FilterChain {
	switch {
	case c.IsPassthrough():
		return passthrough(name, c.Passthrough, s)
	case c.Client != (route.ClientPolicy{}):
		return filterChain(name, downstreamTLS(s.TLS, c), &c.Client, s)
	}
	return filterChain(name, downstreamTLS(s.TLS, c), nil, s)
}

// passthrough forwards connections without terminating TLS.
func passthrough(name string, to route.Cluster, s route.Settings) *listenerv3.FilterChain {
	return &listenerv3.FilterChain{
		Name: name,
		Filters: []*listenerv3.Filter{networkFilter("envoy.filters.network.tcp_proxy", &tcpv3.TcpProxy{
			StatPrefix:         "passthrough",
			ClusterSpecifier:   &tcpv3.TcpProxy_Cluster{Cluster: ClusterName(to)},
			IdleTimeout:        duration(passthroughIdle(s)),
			MaxConnectAttempts: wrapperspb.UInt32(1 + retries),
			AccessLog:          passthroughLog(s),
		})},
	}
}

// passthroughIdle is the idle timeout of a passed-through connection. Its content
// is unknown, so Envoy treats it as one long request.
func passthroughIdle(s route.Settings) time.Duration { return s.StreamIdleTimeout }

// authenticate makes a TLS context serve the certificates of a chain and request
// client certificates.
func authenticate(tls *tlsv3.DownstreamTlsContext, c route.Chain) {
	common := tls.CommonTlsContext
	if c.Pair != "" {
		common.CustomTlsCertificateSelector = nil
		for i := range pair {
			common.TlsCertificateSdsSecretConfigs = append(common.TlsCertificateSdsSecretConfigs, secretOverADS(PairSecretName(c.Pair, i)))
		}
	}
	if c.Client != (route.ClientPolicy{}) {
		tls.RequireClientCertificate = wrapperspb.Bool(c.Client.Required)
		common.ValidationContextType = &tlsv3.CommonTlsContext_ValidationContextSdsSecretConfig{
			ValidationContextSdsSecretConfig: secretOverADS(ClientCAName(c.Client.CA)),
		}
	}
}

func secretOverADS(name string) *tlsv3.SdsSecretConfig {
	return &tlsv3.SdsSecretConfig{Name: name, SdsConfig: ads()}
}
