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

// maxDNSName is how long a server name may be, with the dot at its end.
const maxDNSName = 254

// upstreamTLS encrypts. Without an authority it does not verify: a pod's
// certificate is for no name that we could know.
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
		tls.MaxSessionKeys = wrapperspb.UInt32(0) // who resumes a session presents no certificate
	}
	return transportSocket(tls)
}

// verify has the authority vouch for the certificate, which must be for the
// name. Its certificates come by SDS, so that others in their place close no
// connection and change no cluster.
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

// authorityPrefix begins the names of the secrets of authorities. A secret may
// also have the name that a client sent; that cannot hold a zero byte.
const authorityPrefix = "authority\x00"

// AuthorityName is the name of the secret that holds what an authority is known
// by.
func AuthorityName(a route.Authority) string {
	return authorityPrefix + url.PathEscape(a.Namespace) + "/" + url.PathEscape(a.Name)
}

// IsAuthorityName reports whether a secret of that name is an authority's.
func IsAuthorityName(name string) bool { return strings.HasPrefix(name, authorityPrefix) }

//go:embed nobody.pem
var nobody []byte

// Authority is the certificates, in PEM, that vouch for backends under that
// name. With none, nobody does: every handshake fails. An absent secret would do
// so too, but only for clusters of which Envoy has no earlier one, and those would
// never be ready.
func Authority(a route.Authority, certificates []byte) Resource {
	context := &tlsv3.CertificateValidationContext{TrustedCa: inline(certificates)}
	if len(certificates) == 0 {
		context.TrustedCa = inline(nobody)
		// Nobody has that certificate, whoever could have the key of nobody.pem.
		context.VerifyCertificateHash = []string{strings.Repeat("0", 64)}
	}
	return resource(&tlsv3.Secret{
		Name: AuthorityName(a),
		Type: &tlsv3.Secret_ValidationContext{ValidationContext: context},
	})
}

// alpn is nil for auto, for which Envoy offers both by itself.
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
