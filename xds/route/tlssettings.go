package route

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/fairwaynet/fairway/api/v1alpha1"
)

// TLS is the settings of TLS with clients. Its zero value is safe on the open internet,
// and serves all clients of the last ten years.
type TLS struct {
	// MinVersion and MaxVersion bound the accepted versions; empty: TLSv1.2, TLSv1.3.
	MinVersion, MaxVersion TLSVersion
	// Ciphers are those of TLS 1.2, Curves the key exchanges, and ALPN the
	// protocols that are accepted, each in the gateway's order of preference; none:
	// the gateway's defaults.
	Ciphers, Curves, ALPN []string
	// HSTS is the header of hosts that Ingresses ask for over TLS, unless their
	// annotation says otherwise; nil: none.
	HSTS *HSTS
	// HTTP3 is served too, over UDP on the number of HTTPSPort.
	HTTP3 bool
}

// TLSVersion is a version of TLS. Versions compare as text does.
type TLSVersion string

// The versions that can be chosen. Older ones are broken (RFC 8996).
const (
	TLSv12 TLSVersion = "TLSv1.2"
	TLSv13 TLSVersion = "TLSv1.3"
)

// TLSCiphers are the cipher suites of TLS 1.2 that can be chosen: those with
// forward secrecy and authenticated encryption, by their names in OpenSSL.
func TLSCiphers() []string {
	return []string{
		"ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-RSA-AES128-GCM-SHA256",
		"ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-RSA-AES256-GCM-SHA384",
		"ECDHE-ECDSA-CHACHA20-POLY1305", "ECDHE-RSA-CHACHA20-POLY1305",
	}
}

// TLSCurves are the key exchanges that can be chosen.
func TLSCurves() []string {
	return []string{curveHybrid, "X25519", "P-256", "P-384", "P-521"}
}

// curveHybrid exists in TLS 1.3 alone.
const curveHybrid = "X25519MLKEM768"

// TLSProtocols are those that ALPN can offer.
func TLSProtocols() []string { return []string{"h2", "http/1.1"} }

// tls reads the settings of TLS. If some contradict one another, all stay as they were.
func (b *settingsBuilder) tls(spec *v1alpha1.TLS) {
	if spec == nil {
		return
	}
	read, before := b.TLS, len(b.faults)
	b.tlsVersion("tls.minVersion", spec.MinVersion, &read.MinVersion)
	b.tlsVersion("tls.maxVersion", spec.MaxVersion, &read.MaxVersion)
	choice(b, "tls.ciphers", spec.Ciphers, TLSCiphers(), &read.Ciphers)
	choice(b, "tls.curves", spec.Curves, TLSCurves(), &read.Curves)
	choice(b, "tls.alpn", spec.ALPN, TLSProtocols(), &read.ALPN)
	b.hsts(spec.HSTS, &read.HSTS)
	if spec.HTTP3 != nil {
		read.HTTP3 = *spec.HTTP3
	}
	if len(b.faults) == before {
		b.contradictions(read)
	}
	if len(b.faults) == before {
		b.TLS = read
	}
}

func (b *settingsBuilder) tlsVersion(field string, value *v1alpha1.TLSVersion, into *TLSVersion) {
	if value == nil {
		return
	}
	switch version := TLSVersion(*value); version {
	case TLSv12, TLSv13:
		*into = version
	default:
		b.wrong(field, "%q is neither %s nor %s", *value, TLSv12, TLSv13)
	}
}

// choice reads a list of values out of a set, in order of preference.
func choice[T ~string](b *settingsBuilder, field string, values []T, of []string, into *[]string) {
	if values == nil {
		return
	}
	var chosen []string
	for i, value := range values {
		switch at := fmt.Sprintf("%s[%d]", field, i); {
		case !slices.Contains(of, string(value)):
			b.wrong(at, "%q is none of %s", value, strings.Join(of, ", "))
		case slices.Contains(chosen, string(value)):
			b.wrong(at, "%s is there twice", value)
		default:
			chosen = append(chosen, string(value))
		}
	}
	if len(values) == 0 {
		b.wrong(field, "there is none; leave it out to have the defaults")
	}
	*into = chosen
}

// contradictions finds settings that are valid, but not together.
func (b *settingsBuilder) contradictions(read TLS) {
	least, most := cmp.Or(read.MinVersion, TLSv12), cmp.Or(read.MaxVersion, TLSv13)
	if least > most {
		b.wrong("tls.minVersion", "%s is above maxVersion, %s", least, most)
	}
	if least == TLSv13 && len(read.Ciphers) > 0 {
		b.wrong("tls.ciphers", "they are those of %s, which minVersion excludes", TLSv12)
	}
	if least == TLSv12 && len(read.Curves) > 0 && !slices.ContainsFunc(read.Curves, func(c string) bool { return c != curveHybrid }) {
		b.wrong("tls.curves", "%s needs %s; with minVersion %s there must be another one, too", curveHybrid, TLSv13, TLSv12)
	}
	if !read.HTTP3 {
		return
	}
	if most == TLSv12 {
		b.wrong("tls.http3", "HTTP/3 needs %s, which maxVersion excludes", TLSv13)
	}
	if b.HTTPSPort == 0 {
		b.wrong("tls.http3", "without an HTTPS port there is no HTTP/3")
	}
	if b.ProxyProtocol != nil {
		b.wrong("tls.http3", "HTTP/3 has no PROXY protocol: a client could come past the load balancers, as anybody")
	}
}
