package gateway

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net/netip"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	proxyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/proxy_protocol/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/fairwaynet/fairway/xds/proof"
)

// served is a certificate for shop.test as Envoy has it, and its fingerprint.
func served(t *testing.T, key crypto.Signer) (*tlsv3.TlsCertificate, proof.Fingerprint) {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(0xbeef), Subject: pkix.Name{CommonName: "shop.test"}, DNSNames: []string{"shop.test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	inline := func(kind string, bytes []byte) *corev3.DataSource {
		return &corev3.DataSource{Specifier: &corev3.DataSource_InlineBytes{InlineBytes: pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: bytes})}}
	}
	return &tlsv3.TlsCertificate{CertificateChain: inline("CERTIFICATE", der), PrivateKey: inline("PRIVATE KEY", private)}, proof.FingerprintOf(der)
}

// withTLS makes the listener one for TLS.
func withTLS(l *listenerv3.Listener, context *tlsv3.DownstreamTlsContext) {
	l.Name = httpsListener
	l.FilterChains[0].TransportSocket = &corev3.TransportSocket{
		Name:       "envoy.transport_sockets.tls",
		ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: typed(context)},
	}
}

// TestWhatAClientOnThisMachineSees shows statements to Envoys that are
// configured in all ways which make a handshake special.
func TestWhatAClientOnThisMachineSees(t *testing.T) {
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	ecCertificate, ec := served(t, ecKey)
	rsaCertificate, rsa := served(t, rsaKey)
	_, other := served(t, ecKey)
	loopback, elsewhere := netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("198.51.100.0/24")
	proxied := func(from netip.Prefix) func(*listenerv3.Listener, *tlsv3.DownstreamTlsContext) {
		return func(l *listenerv3.Listener, _ *tlsv3.DownstreamTlsContext) {
			l.ListenerFilters = []*listenerv3.ListenerFilter{{
				Name:       "envoy.filters.listener.proxy_protocol",
				ConfigType: &listenerv3.ListenerFilter_TypedConfig{TypedConfig: typed(&proxyv3.ProxyProtocol{})},
			}}
			l.FilterChains[0].FilterChainMatch = &listenerv3.FilterChainMatch{DirectSourcePrefixRanges: []*corev3.CidrRange{{
				AddressPrefix: from.Addr().String(), PrefixLen: wrapperspb.UInt32(uint32(from.Bits())),
			}}}
		}
	}
	for _, c := range []struct {
		name      string
		configure func(*listenerv3.Listener, *tlsv3.DownstreamTlsContext)
		statement proof.Statement
		says      string // the error
		noWay     bool
	}{
		{name: "the right certificate", statement: proof.Statement{Leaves: []proof.Fingerprint{ec}}},
		{
			name: "another certificate", statement: proof.Statement{Leaves: []proof.Fingerprint{other}},
			says: `clients get the certificate of ["shop.test"] with serial number beef`,
		},
		{
			name: "RSA and ECDSA", statement: proof.Statement{Leaves: []proof.Fingerprint{rsa, ec}},
			configure: func(_ *listenerv3.Listener, context *tlsv3.DownstreamTlsContext) {
				context.CommonTlsContext.TlsCertificates = append(context.CommonTlsContext.TlsCertificates, rsaCertificate)
			},
		},
		{
			name: "a client certificate is demanded", statement: proof.Statement{Leaves: []proof.Fingerprint{ec}},
			configure: func(_ *listenerv3.Listener, context *tlsv3.DownstreamTlsContext) {
				context.RequireClientCertificate = wrapperspb.Bool(true)
				context.CommonTlsContext.ValidationContextType = &tlsv3.CommonTlsContext_ValidationContext{
					ValidationContext: &tlsv3.CertificateValidationContext{TrustedCa: ecCertificate.GetCertificateChain()},
				}
			},
		},
		{
			name: "a PROXY header is demanded", configure: proxied(loopback),
			statement: proof.Statement{Leaves: []proof.Fingerprint{ec}, Proxy: true, From: []netip.Prefix{elsewhere, loopback}},
		},
		{
			name: "a PROXY header is not sent", configure: proxied(loopback),
			statement: proof.Statement{Leaves: []proof.Fingerprint{ec}}, says: "clients get no certificate: ",
		},
		{
			name: "a PROXY header from elsewhere is demanded", configure: proxied(elsewhere),
			statement: proof.Statement{Leaves: []proof.Fingerprint{ec}, Proxy: true, From: []netip.Prefix{elsewhere}}, noWay: true, says: "no such address",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			server, process := overSocket(t)
			context := &tlsv3.DownstreamTlsContext{CommonTlsContext: &tlsv3.CommonTlsContext{TlsCertificates: []*tlsv3.TlsCertificate{ecCertificate}}}
			if c.configure != nil {
				c.configure(server.listener, context)
			}
			withTLS(server.listener, context)
			r := run(t, process)
			eventually(t, func() error { return r.Ready(t.Context()) })
			c.statement.Name = "shop.test"
			d := &handshakeProbe{admin: r.Admin()}
			leaf, err := d.verify(t.Context(), c.statement)
			switch {
			case c.says == "" && err != nil:
				t.Error(err)
			case c.says == "" && leaf.SerialNumber.Int64() != 0xbeef:
				t.Errorf("the serial number is %x", leaf.SerialNumber)
			case c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)):
				t.Errorf("%v, want %q", err, c.says)
			}
			if errors.Is(err, errNoAllowedSource) != c.noWay {
				t.Errorf("%v: no way in: %t, want %t", err, !c.noWay, c.noWay)
			}
			r.stop()
			var unreachable *unreachableError
			eventually(t, func() error {
				if _, err := d.verify(t.Context(), proof.Statement{Name: "shop.test", Leaves: []proof.Fingerprint{ec}}); !errors.As(err, &unreachable) {
					return errors.Join(errors.New("an Envoy that is gone can be reached"), err)
				}
				return nil
			})
		})
	}
}

func TestOwnAddress(t *testing.T) {
	for _, c := range []struct {
		listener, within, want string
	}{
		{"0.0.0.0", "127.0.0.0/8", "127.0.0.1"},
		{"::", "127.0.0.0/8", "127.0.0.1"},
		{"127.0.0.1", "127.0.0.0/8", "127.0.0.1"},
		{"::1", "127.0.0.0/8", "invalid IP"},
		{"0.0.0.0", "198.51.100.0/24", "invalid IP"},
	} {
		got := ownAddress([]netip.Prefix{netip.MustParsePrefix(c.within)}, netip.MustParseAddr(c.listener))
		if got.String() != c.want {
			t.Errorf("listener %s, within %s: %s, want %s", c.listener, c.within, got, c.want)
		}
	}
}
