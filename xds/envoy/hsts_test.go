package envoy_test

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/fairwaynet/fairway/test/freeport"
	"github.com/fairwaynet/fairway/xds/envoy"
	"github.com/fairwaynet/fairway/xds/route"
)

// Strict-Transport-Security is in answers over HTTPS alone, also of hosts that
// are found by a wildcard or have many paths, and never in place of a backend's.
func TestHSTS(t *testing.T) {
	s := testSettings(t)
	s.HTTPSPort, s.TrustedHops = freeport.Get(t), 1
	s.TLS.HSTS = &route.HSTS{MaxAge: 600, IncludeSubDomains: true}
	asks := func(path string, hsts *route.HSTS) route.Route {
		r := prefix(path, "web")
		r.HSTS = hsts
		return r
	}
	inherited := &route.HSTS{Inherited: true}
	routes := []route.Route{asks("/own", &route.HSTS{MaxAge: 5}), asks("/none", nil)}
	missing := route.Route{Match: route.Match{Path: "/missing"}, Status: http.StatusServiceUnavailable, HSTS: inherited}
	many := append([]route.Route{missing}, routes...)
	for i := range 30 {
		many = append(many, asks(fmt.Sprintf("/p%d", i), inherited))
	}
	redirected := asks("/", inherited)
	redirected.Redirect = true
	g := newGateway(t, s,
		host("few.test", append(routes, missing, asks("/", inherited))...),
		host("many.test", append(many, asks("/", inherited))...),
		host("*.wild.test", append(routes, missing, asks("/", inherited))...),
		host("redirected.test", redirected))
	g.backend(port("web"), serving(t, func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/backend") {
			w.Header().Set("Strict-Transport-Security", "max-age=1")
		}
	}))
	g.ready("few.test")
	for _, name := range []string{"few.test", "many.test", "a.wild.test", "redirected.test"} {
		chain, key := certificate(t, name)
		g.ads.publish(envoy.Secret(name, chain, key))
		for path, want := range map[string]string{
			"/": "max-age=600; includeSubDomains", "/p7": "max-age=600; includeSubDomains", "/missing": "max-age=600; includeSubDomains",
			"/own": "max-age=5", "/none": "", "/backend": "max-age=1", "/own/backend": "max-age=1",
		} {
			if name == "redirected.test" && want != "" && !strings.HasSuffix(path, "backend") {
				want = "max-age=600; includeSubDomains"
			}
			if name == "redirected.test" && path == "/none" {
				continue
			}
			if got := g.hstsOver(t, name, path); got != want {
				t.Errorf("https://%s%s: %q, want %q", name, path, got, want)
			}
			if want == "max-age=1" {
				continue // a backend may say it to whom it likes
			}
			if got := g.get(name, path).Header.Get("Strict-Transport-Security"); got != "" {
				t.Errorf("http://%s%s: %q, want nothing", name, path, got)
			}
			// A proxy in front of us that ends TLS.
			if got := g.get(name, path, "X-Forwarded-Proto: https").Header.Get("Strict-Transport-Security"); got != want {
				t.Errorf("https://%s%s by a proxy: %q, want %q", name, path, got, want)
			}
		}
	}
}

func (g *gateway) hstsOver(t *testing.T, name, path string) string {
	t.Helper()
	conn, err := tls.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", g.settings.HTTPSPort), &tls.Config{ServerName: name, InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", path, name)
	r, err := readReplyFrom(conn)
	if err != nil {
		t.Fatal(err)
	}
	if values := r.Header.Values("Strict-Transport-Security"); len(values) > 1 {
		t.Errorf("https://%s%s: %q, want one at most", name, path, values)
	}
	return r.Header.Get("Strict-Transport-Security")
}
