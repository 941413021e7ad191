package envoy_test

import (
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/fairwaynet/fairway/test/freeport"
	"github.com/fairwaynet/fairway/xds/envoy"
	"github.com/fairwaynet/fairway/xds/route"
)

// grpcMessage is one of gRPC: no compression, its length, and that many bytes.
const grpcMessage = "\x00\x00\x00\x00\x05hello"

// grpcEcho is a backend that answers a call with its message, and with a status
// in trailers, as gRPC does. It refuses everything but gRPC over HTTP/2.
func grpcEcho(t *testing.T) string {
	return serving(t, func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor != 2 || r.Header.Get("Content-Type") != "application/grpc" || r.Header.Get("Te") != "trailers" {
			http.Error(w, fmt.Sprintf("%s %v is no gRPC", r.Proto, r.Header), http.StatusUnsupportedMediaType)
			return
		}
		w.Header().Set("Content-Type", "application/grpc")
		w.Header().Set("Trailer", "Grpc-Status, Grpc-Message")
		io.Copy(w, r.Body) //nolint:errcheck // the client would miss it
		w.Header().Set("Grpc-Status", "0")
		w.Header().Set("Grpc-Message", "fine")
	})
}

// grpcWebCall is a call in binary or in base64.
func grpcWebCall(host string, inText bool) string {
	kind, body := "application/grpc-web", grpcMessage
	if inText {
		kind, body = "application/grpc-web-text", base64.StdEncoding.EncodeToString([]byte(grpcMessage))
	}
	return fmt.Sprintf("POST /shop.Cart/Add HTTP/1.1\nHost: %s\nContent-Type: %s\nAccept: %[2]s\nX-Grpc-Web: 1\nContent-Length: %d\n\n%s", host, kind, len(body), body)
}

// A browser's call reaches a backend that speaks gRPC, under every kind of host and
// spelling, and the status comes back in the body; only where it is switched on.
func TestGRPCWeb(t *testing.T) {
	for _, enabled := range []bool{true, false} {
		t.Run(fmt.Sprint(enabled), func(t *testing.T) {
			s := testSettings(t)
			s.GRPCWeb, s.HTTPSPort = enabled, freeport.Get(t)
			speaks := func() route.Route {
				r := prefix("/", "grpc")
				r.Cluster.Protocol = route.HTTP2
				return r
			}
			hosts := []*route.Host{host("shop.test", speaks()), host("*.shop.test", speaks()), host("*", speaks()), guardedHost("staff.test", "staff-ca optional", speaks())}
			g := newGateway(t, s, hosts...)
			g.backend(port("grpc"), grpcEcho(t))
			g.ads.publish(envoy.ClientCA(policyOf("staff-ca optional").CA, newSigner(t, "staff").pem))
			chain, key := certificate(t, "staff.test")
			g.ads.publish(envoy.Secret("staff.test", chain, key))
			g.listen(chainsOf(hosts...))
			g.ready("shop.test")
			for _, host := range []string{"shop.test", "SHOP.TEST.:80", "a.shop.test", "unknown.test"} {
				for _, inText := range []bool{false, true} {
					checkGRPCWeb(t, fmt.Sprintf("%s in text %t", host, inText), g.raw(grpcWebCall(host, inText)), enabled, inText)
				}
			}
			g.eventually("the chain of staff.test is in use", func() error {
				if r := g.rawOverHTTPS("staff.test", grpcWebCall("staff.test", false)); r.StatusCode == http.StatusMisdirectedRequest {
					return fmt.Errorf("status %d", r.StatusCode)
				}
				return nil
			})
			checkGRPCWeb(t, "mutual TLS", g.rawOverHTTPS("staff.test", grpcWebCall("staff.test", false)), enabled, false)
		})
	}
}

// fromText decodes base64 of which each frame is padded on its own.
func fromText(t *testing.T, text string) string {
	t.Helper()
	var plain []byte
	for len(text) >= 4 {
		decoded, err := base64.StdEncoding.DecodeString(text[:4])
		if err != nil {
			t.Errorf("%q is not base64: %v", text, err)
		}
		plain, text = append(plain, decoded...), text[4:]
	}
	return string(plain)
}

func checkGRPCWeb(t *testing.T, what string, r reply, enabled, inText bool) {
	t.Helper()
	if !enabled {
		if r.StatusCode != http.StatusUnsupportedMediaType {
			t.Errorf("%s: %d %q although it is switched off", what, r.StatusCode, r.Text)
		}
		return
	}
	body := r.Text
	if inText {
		body = fromText(t, body)
	}
	if r.StatusCode != http.StatusOK || !strings.HasPrefix(body, grpcMessage) || !strings.Contains(body, "grpc-status:0") || !strings.Contains(body, "grpc-message:fine") {
		t.Errorf("%s: %d %v %q", what, r.StatusCode, r.Header, body)
	}
	if got := r.Header.Get("Content-Type"); !strings.HasPrefix(got, "application/grpc-web") || strings.Contains(got, "text") != inText {
		t.Errorf("%s: Content-Type is %q", what, got)
	}
}
