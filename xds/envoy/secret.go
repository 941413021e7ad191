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
// server name (SNI) for which Envoy serves it.
func Secret(name string, chain, key []byte) Resource {
	return resource(&tlsv3.Secret{
		Name: name,
		Type: &tlsv3.Secret_TlsCertificate{TlsCertificate: &tlsv3.TlsCertificate{
			CertificateChain: inline(chain),
			PrivateKey:       inline(key),
		}},
	})
}

// pair is the number of certificates in a pair.
const pair = 2

// PairSecretName is the name of the secret with certificate i (0 or 1) of a host
// that has two certificates.
func PairSecretName(name route.Hostname, i int) string {
	return unaskable(fmt.Sprintf("certificate %d of %s", i, hostName(name)))
}

// ClientCAName is the name of the xDS secret with the client certificate
// authorities of a Kubernetes Secret.
func ClientCAName(secret types.NamespacedName) string {
	return unaskable("client CA " + url.PathEscape(secret.Namespace) + "/" + url.PathEscape(secret.Name))
}

// maxServerName is the longest server name that TLS lets a client send, in bytes.
const maxServerName = 255

// IsServerName reports whether a client can send the name of the secret as SNI.
func IsServerName(secret string) bool { return len(secret) <= maxServerName }

// unaskable makes a name that no client can send as SNI. Envoy requests
// certificates by the names that clients send. If a client could send this name,
// Envoy would reject the secret that it gets.
func unaskable(name string) string { return name + " " + strings.Repeat(".", maxServerName) }

// ClientCA holds the client certificate authorities, in PEM.
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
