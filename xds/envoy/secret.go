package envoy

import (
	"fmt"
	"net/url"
	"strings"

	"k8s.io/apimachinery/pkg/types"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"

	"github.com/fairwaynet/fairway/xds/route"
)

// Secret is a certificate chain and its private key, both PEM. Its name is the
// server name (SNI) that it is served for.
func Secret(name string, chain, key []byte) Resource {
	return resource(&tlsv3.Secret{
		Name: name,
		Type: &tlsv3.Secret_TlsCertificate{TlsCertificate: &tlsv3.TlsCertificate{
			CertificateChain: inline(chain),
			PrivateKey:       inline(key),
		}},
	})
}

// pair is how many certificates a pair has.
const pair = 2

// PairSecretName is the name of the secret with one of the two certificates of
// a name that has both: 0 or 1.
func PairSecretName(name route.Hostname, i int) string {
	return unaskable(fmt.Sprintf("certificate %d of %s", i, hostName(name)))
}

// ClientCAName is the name of the secret with the authorities of clients that a
// Kubernetes Secret holds.
func ClientCAName(secret types.NamespacedName) string {
	return unaskable("client CA " + url.PathEscape(secret.Namespace) + "/" + url.PathEscape(secret.Name))
}

// maxServerName is the longest that TLS lets a client send, in bytes.
const maxServerName = 255

// IsServerName reports whether the name of a secret can be one that a client
// sent.
func IsServerName(secret string) bool { return len(secret) <= maxServerName }

// unaskable is a name that no client can send as a server name: Envoy asks for
// certificates by whatever clients send, and one that asked for this one would
// have it refuse what it gets.
func unaskable(name string) string { return name + " " + strings.Repeat(".", maxServerName) }

// ClientCA is the authorities of clients, in PEM.
func ClientCA(secret types.NamespacedName, authorities []byte) Resource {
	return resource(&tlsv3.Secret{
		Name: ClientCAName(secret),
		Type: &tlsv3.Secret_ValidationContext{ValidationContext: &tlsv3.CertificateValidationContext{
			TrustedCa: inline(authorities),
		}},
	})
}

func inline(b []byte) *corev3.DataSource {
	return &corev3.DataSource{Specifier: &corev3.DataSource_InlineBytes{InlineBytes: b}}
}
