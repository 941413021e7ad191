package envoy

import (
	_ "embed"
	"net/netip"
	"net/url"
	"strings"

	"google.golang.org/protobuf/types/known/wrapperspb"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"

	"github.com/fairwaynet/fairway/xds/route"
)

// maxDNSName limits the length of a server name, including the final dot.
const maxDNSName = 254

// upstreamTLS encrypts. Without an authority it does not verify, because the
// gateway cannot know the name in a pod's certificate.
func upstreamTLS(c route.Cluster) *corev3.TransportSocket {
	if !c.TLS {
		return nil
	}
	tls := &tlsv3.UpstreamTlsContext{CommonTlsContext: &tlsv3.CommonTlsContext{AlpnProtocols: alpn(c.Protocol)}}
	name := strings.TrimSuffix(c.ServerName(), ".")
	_, err := netip.ParseAddr(name)
	isAddress := err == nil
	if !isAddress && len(name) < maxDNSName {
		tls.Sni = dnsName(name)
	}
	if c.Authority != (route.Authority{}) {
		verify(tls.GetCommonTlsContext(), c, isAddress)
		tls.MaxSessionKeys = wrapperspb.UInt32(0) // a backend presents no certificate when a session is resumed
	}
	return transportSocket(tls)
}

// verify requires a certificate that the authority has signed for the server
// name. The authority's certificates come by SDS, so that replacing them closes
// no connection and changes no cluster.
func verify(tls *tlsv3.CommonTlsContext, c route.Cluster, isAddress bool) {
	matcher := &tlsv3.SubjectAltNameMatcher{
		SanType: tlsv3.SubjectAltNameMatcher_DNS,
		Matcher: &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{
			Exact: dnsName(strings.TrimSuffix(c.ServerName(), ".")),
		}},
	}
	if isAddress {
		matcher.SanType = tlsv3.SubjectAltNameMatcher_IP_ADDRESS
	}
	tls.ValidationContextType = &tlsv3.CommonTlsContext_CombinedValidationContext{
		CombinedValidationContext: &tlsv3.CommonTlsContext_CombinedCertificateValidationContext{
			DefaultValidationContext: &tlsv3.CertificateValidationContext{
				MatchTypedSubjectAltNames: []*tlsv3.SubjectAltNameMatcher{matcher},
			},
			ValidationContextSdsSecretConfig: &tlsv3.SdsSecretConfig{
				Name: AuthorityName(c.Authority), SdsConfig: ads(),
			},
		},
	}
}

// authorityPrefix begins the names of the secrets of authorities. Other secrets
// have the name that a client sent as SNI, which cannot hold a zero byte.
const authorityPrefix = "authority\x00"

// AuthorityName is the name of the secret with an authority's certificates.
func AuthorityName(a route.Authority) string {
	return authorityPrefix + url.PathEscape(a.Namespace) + "/" + url.PathEscape(a.Name)
}

// IsAuthorityName reports whether a secret of that name belongs to an authority.
func IsAuthorityName(name string) bool { return strings.HasPrefix(name, authorityPrefix) }

//go:embed nobody.pem
var nobody []byte

// Authority is the secret with the certificates, in PEM, by which Envoy verifies
// backends. Without certificates every handshake fails. An absent secret would
// not do: Envoy would keep using an earlier one, and clusters without an earlier
// one would never be ready.
func Authority(a route.Authority, certificates []byte) Resource {
	context := &tlsv3.CertificateValidationContext{TrustedCa: inline(certificates)}
	if len(certificates) == 0 {
		context.TrustedCa = inline(nobody)
		// No certificate has this hash. So verification fails even for someone
		// who has the key of nobody.pem.
		context.VerifyCertificateHash = []string{strings.Repeat("0", 64)}
	}
	return resource(&tlsv3.Secret{
		Name: AuthorityName(a),
		Type: &tlsv3.Secret_ValidationContext{ValidationContext: context},
	})
}

// alpn is nil for auto, for which Envoy offers both protocols by itself.
func alpn(p route.Protocol) []string {
	switch p {
	case route.HTTP2:
		return []string{"h2"}
	case route.HTTPAuto:
		return nil
	default:
		return []string{"http/1.1"}
	}
}
