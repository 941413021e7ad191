package envoy_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// named is a backend that says its name, and what it was asked.
func namedBackend(t testing.TB, name string) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("backend", name)
		fmt.Fprintf(w, "host: %s\n", r.Host)
		fmt.Fprintf(w, "uri: %s\n", r.RequestURI)
		r.Header.Write(w) //nolint:errcheck // a test's own
	}))
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

// raw sends a request as it is written here and reads one response.
func (g *gateway) raw(request string) (*http.Response, string) {
	g.t.Helper()
	conn, err := net.Dial("tcp", g.address())
	if err != nil {
		g.t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience)) //nolint:errcheck // a TCP connection has deadlines
	if _, err := io.WriteString(conn, strings.ReplaceAll(request, "\n", "\r\n")); err != nil {
		g.t.Fatal(err)
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		g.t.Fatalf("read the response to %q: %v", request, err)
	}
	defer response.Body.Close()
	body, _ := io.ReadAll(response.Body)
	return response, string(body)
}

func TestProbe(t *testing.T) {
	s := testSettings(t)
	g := newGateway(t, s,
		host("shop.test", prefix("/only", "exact")),
		host("full.test", prefix("/", "exact")),
		host("*.shop.test", prefix("/", "wildcard")),
		host("*", prefix("/", "default")),
	)
	for _, name := range []string{"exact", "wildcard", "default"} {
		g.backend(port(name), namedBackend(t, name))
	}
	g.eventually("served", func() error {
		response, body := g.raw("GET / HTTP/1.1\nHost: full.test\n\n")
		if response.StatusCode != 200 {
			return fmt.Errorf("%d %s", response.StatusCode, body)
		}
		return nil
	})
	for _, h := range []string{"full.test", "FULL.test", "full.test.", "Full.Test.:8080", "full.test:80", "shop.test", "a.shop.test", "A.shop.test.:80", "a.b.shop.test", "other.test", "[::1]:8080", "[::1]", "10.0.0.1:80", "", "*", "*.shop.test", "shard exact-1", "localhost", ".", ":80", "a..b", "shop.test:abc"} {
		response, body := g.raw("GET /x//y/../z?q=1 HTTP/1.1\nHost: " + h + "\nX-Fairway-Host: full.test\nX-Forwarded-For: 1.2.3.4\nX-Forwarded-Host: evil\nX-Forwarded-Proto: https\nX-Forwarded-Port: 1\nX-Real-Ip: 6.6.6.6\nForwarded: for=6.6.6.6\nX-Envoy-Foo: 1\nX-Envoy-Retry-On: 5xx\nX-Request-Id: 01234567-89ab-cdef-0123-456789abcdef\nA_b: 1\n\n")
		t.Logf("%q: %d %s %q", h, response.StatusCode, response.Header.Get("backend"), body)
	}
	time.Sleep(100 * time.Millisecond)
	t.Logf("%s", g.read("access.log"))
	t.Logf("%s", g.read("envoy.log"))
}
