package envoy_test

import (
	"crypto/tls"
	"fmt"
	"testing"

	"github.com/fairwaynet/fairway/test/freeport"
	"github.com/fairwaynet/fairway/xds/envoy"
	"github.com/fairwaynet/fairway/xds/route"
)

// What clients of every kind get, by the defaults and by settings.
func TestTLSOptions(t *testing.T) {
	const (
		aes128, aes256 = tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384
		chacha         = tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256
		cbc            = tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA
	)
	both := []string{"h2", "http/1.1"}
	for _, c := range []struct {
		name    string
		options route.TLS
		clients []*client
	}{
		{"defaults", route.TLS{}, []*client{
			{"new", tls.Config{NextProtos: both}, "1.3 X25519MLKEM768 h2"},
			{"before quantum computers", tls.Config{CurvePreferences: []tls.CurveID{tls.CurveP384, tls.X25519}}, "1.3 X25519 "},
			{"P-384 alone", tls.Config{CurvePreferences: []tls.CurveID{tls.CurveP384}}, "1.3 CurveP384 "},
			{"P-521 alone", tls.Config{CurvePreferences: []tls.CurveID{tls.CurveP521}}, ""},
			{"ten years old", tls.Config{MaxVersion: tls.VersionTLS12, NextProtos: both[1:]}, "1.2 X25519 http/1.1"},
			{"without AES", tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{chacha}}, "1.2 X25519 "},
			{"CBC alone", tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{cbc}}, ""},
			{"TLS 1.1", tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}, ""},
		}},
		{"TLS 1.3 alone", route.TLS{MinVersion: route.TLSv13, ALPN: []string{"http/1.1"}, Curves: []string{"P-521"}}, []*client{
			{"new", tls.Config{NextProtos: both}, "1.3 CurveP521 http/1.1"},
			{"ten years old", tls.Config{MaxVersion: tls.VersionTLS12}, ""},
			{"X25519 alone", tls.Config{CurvePreferences: []tls.CurveID{tls.X25519}}, ""},
		}},
		{"TLS 1.2 alone, the gateway's order", route.TLS{
			MaxVersion: route.TLSv12, Ciphers: []string{"ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-ECDSA-AES128-GCM-SHA256"},
			Curves: []string{"P-256", "X25519"}, ALPN: []string{"http/1.1", "h2"},
		}, []*client{
			{"new", tls.Config{NextProtos: both}, "1.2 CurveP256 http/1.1 TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"},
			{"TLS 1.3 alone", tls.Config{MinVersion: tls.VersionTLS13}, ""},
			{"one cipher", tls.Config{CipherSuites: []uint16{aes128, chacha}}, "1.2 CurveP256  TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"},
			{"another cipher", tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{chacha}}, ""},
			{"the best cipher", tls.Config{CipherSuites: []uint16{aes256}}, "1.2 CurveP256  TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"},
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := testSettings(t)
			s.HTTPSPort, s.TLS = freeport.Get(t), c.options
			g := newGateway(t, s, host("shop.test", prefix("/", "web")))
			chain, key := certificate(t, "shop.test")
			g.ads.publish(envoy.Secret("shop.test", chain, key))
			for _, client := range c.clients {
				if got := client.negotiates(s.HTTPSPort, c.options); got != client.want {
					t.Errorf("%s: negotiated %q, want %q", client.name, got, client.want)
				}
			}
		})
	}
}

// client is one of TLS, and what it gets: version, key exchange, protocol, and
// where ciphers are chosen the cipher; nothing if there is no handshake.
type client struct {
	name   string
	config tls.Config
	want   string
}

func (c *client) negotiates(port uint16, options route.TLS) string {
	config := c.config.Clone()
	config.ServerName, config.InsecureSkipVerify = "shop.test", true
	conn, err := tls.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port), config)
	if err != nil {
		return ""
	}
	defer conn.Close()
	state := conn.ConnectionState()
	version := map[uint16]string{tls.VersionTLS12: "1.2", tls.VersionTLS13: "1.3"}[state.Version]
	got := fmt.Sprintf("%s %s %s", version, state.CurveID, state.NegotiatedProtocol)
	if len(options.Ciphers) > 0 {
		got += " " + tls.CipherSuiteName(state.CipherSuite)
	}
	return got
}
