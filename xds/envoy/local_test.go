package envoy_test

import (
	"crypto/rand"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/fairwaynet/fairway/test/nameserver"
	"github.com/fairwaynet/fairway/xds/route"
)

// local is a backend on all addresses of this machine, which counts who connects.
type local struct {
	port      uint16
	connected atomic.Int64
}

func newLocal(t testing.TB) *local {
	t.Helper()
	l := &local{}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Write([]byte("local"))
	}))
	server.Listener.Close()
	var err error
	if server.Listener, err = net.Listen("tcp", ":0"); err != nil {
		t.Fatal(err)
	}
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			l.connected.Add(1)
		}
	}
	server.Config.Protocols = &http.Protocols{}
	server.Config.Protocols.SetHTTP1(true)
	server.Config.Protocols.SetUnencryptedHTTP2(true)
	server.Start()
	t.Cleanup(server.Close)
	l.port = netip.MustParseAddrPort(server.Listener.Addr().String()).Port()
	return l
}

// named is a route to the port of an ExternalName Service.
func (l *local) named(path, dns string) route.Route {
	r := prefix(path, "external")
	r.Cluster.DNS, r.Cluster.Port.Port = dns, int32(l.port)
	return r
}

// localAddresses are answers of a name server that mean the machine that asks, and
// whether Linux connects to itself by them.
var localAddresses = map[string]bool{
	"A 127.1.2.3": true, "A 0.0.0.0": true, "A 169.254.169.254": false, "A 224.0.0.1": false,
	"AAAA ::1": true, "AAAA ::": true, "AAAA ::ffff:127.0.0.1": false, "AAAA fe80::1": false,
	"AAAA 64:ff9b::7f00:1": false, "AAAA fd00:ec2::254": false,
}

// Envoy never connects to a name that resolves to the gateway's own machine, over
// any protocol, even if the name had another address before.
func TestNamesThatAreLocalOnceResolvedAreNotConnectedTo(t *testing.T) {
	for _, allowed := range []bool{false, true} {
		t.Run(fmt.Sprintf("allowed=%t", allowed), func(t *testing.T) {
			names := nameserver.Start(t, "127.0.0.1:0", "test", nil)
			backend := newLocal(t)
			served := host("shop.test")
			paths := map[string]bool{} // and whether Linux connects there
			what := map[string]string{}
			add := func(record string, connects bool, change func(*route.Cluster)) {
				name := fmt.Sprintf("n%d", len(paths))
				names.Add(t, name+" 1 IN "+record)
				r := backend.named("/"+name, name+".test")
				change(r.Cluster)
				served.Routes = append(served.Routes, r)
				paths["/"+name], what["/"+name] = connects, record
			}
			add("A 127.0.0.1", true, func(*route.Cluster) {})
			add("CNAME n0.test.", true, func(*route.Cluster) {})
			for record, connects := range localAddresses {
				add(record, connects, func(*route.Cluster) {})
			}
			add("A 127.0.0.1", true, func(c *route.Cluster) { c.Protocol = route.HTTP2 })
			add("A 127.0.0.1", false, func(c *route.Cluster) { c.TLS, c.Protocol = true, route.HTTPAuto })
			s := testSettings(t)
			s.LocalBackends = allowed
			g := newGatewayAsking(t, names.Address, s, served)
			for path, connects := range paths {
				switch {
				case !allowed:
					g.eventually(what[path]+" is refused", func() error { return g.refusedAsLocal(path) })
				case connects:
					g.eventually(what[path]+" is served", func() error { return want(g.get("shop.test", path), http.StatusOK) })
				}
			}
			if got := backend.connected.Load(); got > 0 != allowed {
				t.Errorf("%d connections", got)
			}
			if allowed {
				return
			}
			upgrade := g.get("shop.test", "/n0", "Connection: upgrade", "Upgrade: websocket", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version: 13")
			if err := want(upgrade, http.StatusServiceUnavailable); err != nil || backend.connected.Load() > 0 {
				t.Errorf("a WebSocket: %v, %d connections", err, backend.connected.Load())
			}
		})
	}
}

// refusedAsLocal is an error unless a request for a path is answered so.
func (g *gateway) refusedAsLocal(path string) error {
	id := rand.Text()
	r := g.get("shop.test", path, "X-Request-Id: "+id)
	if err := want(r, http.StatusServiceUnavailable); err != nil {
		return err
	}
	if details := fmt.Sprint(g.logged(id)["details"]); !strings.Contains(details, "BackendNotAllowed") {
		return fmt.Errorf("details %q", details)
	}
	if want := "What is served at this path is not available.\n"; r.Text != want {
		return fmt.Errorf("the client is told %q", r.Text)
	}
	return nil
}
