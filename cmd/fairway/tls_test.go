package main

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/fairwaynet/fairway/test/fairway"
)

const tlsSite = `
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: shop}
spec:
  tls: [{hosts: [shop.test], secretName: shop}]
  rules: [{host: shop.test}]
  defaultBackend: {service: {name: none, port: {number: 80}}}
---
apiVersion: v1
kind: Secret
metadata: {name: shop}
type: kubernetes.io/tls
stringData:
  tls.crt: |
%s
  tls.key: |
%s
`

// serve serves a folder's Secrets, reloads an edited one without a restart, and
// redirects to the HTTPS port.
func TestServeServesTLS(t *testing.T) {
	envoy := elsewhere(t)
	authority := fairway.NewAuthority(t)
	write := func(serial int64) {
		chain, key := authority.Issue(t, fairway.Wish{Names: []string{"shop.test"}, Serial: serial})
		indent := func(text []byte) string {
			return "    " + strings.ReplaceAll(strings.TrimSpace(string(text)), "\n", "\n    ")
		}
		if err := os.WriteFile("dir/site.yaml", fmt.Appendf(nil, tlsSite, indent(chain), indent(key)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir("dir", 0o700); err != nil {
		t.Fatal(err)
	}
	write(7)
	port := freePort(t)
	p := startServe(t, envoy, fmt.Sprintf("--https-port=%d", port))
	p.says(fmt.Sprintf("serving dir on http://127.0.0.1:%d and https://127.0.0.1:%d: 2 hosts (* shop.test), 1 problem", p.port, port))
	serves := func(serial int64) {
		t.Helper()
		eventually(t, time.Minute, func() error {
			conn, err := tls.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port), &tls.Config{ServerName: "shop.test", RootCAs: authority.Pool})
			if err != nil {
				return err
			}
			defer conn.Close()
			if got := conn.ConnectionState().PeerCertificates[0].SerialNumber.Int64(); got != serial {
				return fmt.Errorf("the certificate has the serial number %d, want %d", got, serial)
			}
			return nil
		})
	}
	serves(7)
	write(8)
	serves(8)
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d/a?b", p.port), nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Host = "shop.test"
	response, err := http.DefaultTransport.RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if want := fmt.Sprintf("https://shop.test:%d/a?b", port); response.StatusCode != http.StatusPermanentRedirect || response.Header.Get("Location") != want {
		t.Errorf("%d to %q, want %s", response.StatusCode, response.Header.Get("Location"), want)
	}
}
