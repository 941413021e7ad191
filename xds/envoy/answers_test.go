package envoy_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/fairwaynet/fairway/test/freeport"
	"github.com/fairwaynet/fairway/xds/route"
)

// refusing is an address of a port on which nobody listens.
func refusing(t testing.TB) string {
	return fmt.Sprintf("127.0.0.1:%d", freeport.Get(t))
}

func TestAConnectionThatFailsIsTriedOnceMoreElsewhere(t *testing.T) {
	for _, name := range []string{"shop.test", "*.shop.test", "*"} {
		t.Run(name, func(t *testing.T) {
			g := newGateway(t, testSettings(t), host(name, prefix("/", "web")))
			g.backend(port("web"), refusing(t), reporting(t, "web"))
			request := strings.Replace(name, "*", "a", 1)
			g.eventually("served", func() error { return want(g.get(request, "/"), http.StatusOK) })
			for range 50 {
				if r := g.get(request, "/"); r.StatusCode != http.StatusOK {
					t.Fatalf("%d %q, want the endpoint that works", r.StatusCode, r.Text)
				}
				status, body, err := g.post(false, "http://"+request+"/", 200<<10, true)
				if err != nil || status != http.StatusOK {
					t.Fatalf("a request with a body: %d %q %v", status, body, err)
				}
			}
		})
	}
}

// A request that a backend has begun to work on is never sent twice.
func TestARequestThatWasReceivedIsNotSentTwice(t *testing.T) {
	var received atomic.Int32
	g := newGateway(t, testSettings(t), host("shop.test", prefix("/", "web")))
	hangUp := serving(t, func(_ http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			received.Add(1)
			panic(http.ErrAbortHandler)
		}
	})
	g.backend(port("web"), hangUp)
	g.ready("shop.test")
	status, _, err := g.post(false, "http://shop.test/", 10, true)
	if err != nil || status != http.StatusBadGateway && status != http.StatusServiceUnavailable {
		t.Errorf("%d %v, want 502 or 503", status, err)
	}
	if n := received.Load(); n != 1 {
		t.Errorf("the backend received it %d times", n)
	}
}

func TestWhatCannotBeServedSaysSo(t *testing.T) {
	missing := route.Route{Match: route.Match{Path: "/missing"}, Status: 503, Reason: "BackendNotFound"}
	g := newGateway(t, testSettings(t), host("shop.test", missing, prefix("/empty", "empty"), prefix("/dead", "dead")))
	g.backend(port("empty"))
	g.backend(port("dead"), refusing(t))
	for _, c := range []struct {
		path   string
		status int
		text   string
	}{
		{"/missing/x", 503, "What is served at this path is not available.\n"},
		{"/empty", 503, "What is served at this path is not available.\n"},
		{"/dead", 503, "What is served at this path is not available.\n"},
		{"/other", 404, "Nothing is served at this path.\n"},
	} {
		r := g.get("shop.test", c.path)
		if r.StatusCode != c.status || r.Text != c.text {
			t.Errorf("%s: %d %q, want %d %q", c.path, r.StatusCode, r.Text, c.status, c.text)
		}
		for _, secret := range []string{"empty", "dead", "BackendNotFound", "127.0.0.1", "shop/"} {
			if strings.Contains(r.Text, secret) {
				t.Errorf("%s tells strangers of %q: %q", c.path, secret, r.Text)
			}
		}
	}
}

func TestAccessLog(t *testing.T) {
	missing := route.Route{Match: route.Match{Path: "/missing"}, Status: 503, Reason: "BackendNotFound"}
	g := newGateway(t, testSettings(t), host("shop.test", missing, prefix("/cart", "cart")))
	address := reporting(t, "cart")
	g.backend(port("cart"), address)
	g.eventually("served", func() error { return want(g.get("shop.test", "/cart"), http.StatusOK) })
	ask := func(id, host, path string) {
		g.get(host, path, "X-Request-Id: "+id, "User-Agent: curl/8", "Cookie: session=secret",
			"Authorization: Bearer secret", "Referer: http://secret/")
	}
	ask("served", "Shop.test:80", "/cart/1?token=secret")
	ask("missing", "shop.test", "/missing")
	ask("nopath", "shop.test", "/other")
	ask("nohost", "other.test", "/")
	common := map[string]any{
		"method": "GET", "protocol": "HTTP/1.1", "client": "127.0.0.1", "user_agent": "curl/8",
		"flags": "-", "bytes_received": 0.0, "upstream": nil, "upstream_cluster": nil,
		"upstream_failure": nil, "upstream_time": nil, "reason": nil,
	}
	for id, want := range map[string]map[string]any{
		"served": {"host": "Shop.test:80", "path": "/cart/1", "status": 200.0, "details": "via_upstream",
			"ingress": "shop/web", "upstream": address, "upstream_cluster": "shop/cart:80"},
		"missing": {"host": "shop.test", "path": "/missing", "status": 503.0, "details": "direct_response",
			"ingress": "shop/web", "reason": "BackendNotFound"},
		"nopath": {"host": "shop.test", "path": "/other", "status": 404.0, "details": "direct_response", "ingress": "-"},
		"nohost": {"host": "other.test", "path": "/", "status": 404.0, "details": "route_not_found",
			"ingress": nil, "flags": "NR"},
	} {
		for name, value := range common {
			if _, ok := want[name]; !ok {
				want[name] = value
			}
		}
		want["request_id"] = id
		got := g.logged(id)
		for _, name := range []string{"time", "duration", "bytes_sent", "upstream_received"} {
			if got[name] == nil {
				t.Errorf("%s: no %s", id, name)
			}
			delete(got, name)
		}
		if id == "served" {
			want["upstream_time"] = got["upstream_time"]
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", id, diff)
		}
	}
	if log := g.read("access.log"); strings.Contains(log, "secret") {
		t.Errorf("the access log tells secrets:\n%s", log)
	}
}

// logged waits for the line of that request.
func (g *gateway) logged(id string) map[string]any {
	g.t.Helper()
	var line map[string]any
	g.eventually("the request "+id+" is logged", func() error {
		for text := range strings.Lines(g.read("access.log")) {
			if !strings.Contains(text, id) {
				continue
			}
			if err := json.Unmarshal([]byte(text), &line); err == nil && line["request_id"] == id {
				return nil
			}
		}
		return fmt.Errorf("no line of it")
	})
	return line
}

// A request of many KiB is not as much of a log.
func TestALongRequestIsAShortLine(t *testing.T) {
	g := newGateway(t, testSettings(t))
	long := strings.Repeat("a", 12<<10)
	g.get(long, "/"+long, "X-Request-Id: long"+long, "User-Agent: "+long)
	g.eventually("logged", func() error {
		if log := g.read("access.log"); !strings.Contains(log, `"long`) {
			return errors.New("it is not")
		}
		return nil
	})
	if log := g.read("access.log"); len(log) > 4<<10 {
		t.Errorf("the line has %d bytes", len(log))
	}
}

func TestExternalNames(t *testing.T) {
	_, portNumber, err := net.SplitHostPort(reporting(t, "external"))
	if err != nil {
		t.Fatal(err)
	}
	var number int32
	fmt.Sscan(portNumber, &number) //nolint:errcheck // a port is a number
	named := prefix("/named", "external")
	named.Cluster.DNS, named.Cluster.Port.Port = "localhost", number
	numeric := prefix("/numeric", "external")
	numeric.Cluster.DNS, numeric.Cluster.Port.Port = "127.0.0.1", number
	broken := prefix("/broken", "external")
	broken.Cluster.DNS, broken.Cluster.Port.Port = "does-not-exist.invalid", number
	// A name that does not resolve neither delays the start nor breaks others.
	s := testSettings(t)
	s.LocalBackends = true
	g := newGateway(t, s, host("shop.test", named, numeric, broken))
	for _, path := range []string{"/named", "/numeric"} {
		g.eventually(path+" is served", func() error { return want(g.get("shop.test", path), http.StatusOK) })
	}
	if r := g.get("shop.test", "/broken"); r.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("/broken: %d, want 503", r.StatusCode)
	}
}
