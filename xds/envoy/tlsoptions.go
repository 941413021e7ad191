package envoy

import (
	"slices"

	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"

	"github.com/fairwaynet/fairway/xds/route"
)

// tlsParameters are the versions, ciphers and key exchanges that clients may
// choose from. All are explicit, so that an Envoy release cannot change them.
func tlsParameters(t route.TLS) *tlsv3.TlsParameters {
	return &tlsv3.TlsParameters{
		TlsMinimumProtocolVersion: tlsVersion(t.MinVersion, tlsv3.TlsParameters_TLSv1_2),
		TlsMaximumProtocolVersion: tlsVersion(t.MaxVersion, tlsv3.TlsParameters_TLSv1_3),
		CipherSuites:              chosenOr(t.Ciphers, route.TLSCiphers(), defaultCiphers()),
		EcdhCurves:                chosenOr(t.Curves, route.TLSCurves(), defaultCurves()),
	}
}

func tlsVersion(version route.TLSVersion, unset tlsv3.TlsParameters_TlsProtocol) tlsv3.TlsParameters_TlsProtocol {
	switch version {
	case route.TLSv12:
		return tlsv3.TlsParameters_TLSv1_2
	case route.TLSv13:
		return tlsv3.TlsParameters_TLSv1_3
	default:
		return unset
	}
}

// defaultCiphers are all ciphers of TLS 1.2 that clients may choose from. The
// client decides between those in brackets: it knows whether its processor has
// AES instructions. Without them ChaCha20 is faster.
func defaultCiphers() []string {
	return []string{
		"[ECDHE-ECDSA-AES128-GCM-SHA256|ECDHE-ECDSA-CHACHA20-POLY1305]",
		"[ECDHE-RSA-AES128-GCM-SHA256|ECDHE-RSA-CHACHA20-POLY1305]",
		"ECDHE-ECDSA-AES256-GCM-SHA384",
		"ECDHE-RSA-AES256-GCM-SHA384",
	}
}

// defaultCurves begin with the one that also withstands quantum computers.
func defaultCurves() []string { return []string{"X25519MLKEM768", "X25519", "P-256", "P-384"} }

// applicationProtocols are the protocols that ALPN offers.
func applicationProtocols(t route.TLS) []string {
	return chosenOr(t.ALPN, route.TLSProtocols(), []string{"h2", "http/1.1"})
}

// chosenOr is the known names among chosen, or unset if there are none.
func chosenOr(chosen, of, unset []string) []string {
	var known []string
	for _, name := range chosen {
		if slices.Contains(of, name) {
			known = append(known, name)
		}
	}
	if known == nil {
		return unset
	}
	return known
}
