package envoy_test

import (
	"fmt"
	"strings"
	"testing"
)

// Backends and the access log get the client address that the trusted proxies
// give, in any notation.
func TestTheClientsAddressBehindProxies(t *testing.T) {
	// proxy stands for the last sender, which counts if a header holds no
	// address.
	const v4, v6, proxy = "203.0.113.7", "2001:db8::7", "127.0.0.1"
	spellings := []struct{ said, want string }{
		{v4, v4},
		{v4 + ":41234", v4},
		{`"` + v4 + `:41234"`, v4},
		{"[" + v4 + "]:41234", v4},
		{"::ffff:" + v4, v4},
		{"[::FFFF:" + v4 + "]:41234", v4},
		{v6, v6},
		{"[" + v6 + "]", v6},
		{"[" + v6 + "]:41234", v6},
		{`"[` + v6 + `]:41234"`, v6},
		{"unknown", proxy},
		{"_hidden", proxy},
		{v4 + ":", proxy},
		{v4 + ":port", proxy},
		{"[" + v6, proxy},
		{"[]", proxy},
		{"300.0.113.7:80", proxy},
		{"for=" + v4, proxy},
		{"", proxy},
	}
	for hops := range uint32(4) {
		t.Run(fmt.Sprintf("%d hops", hops), func(t *testing.T) {
			t.Parallel()
			s := testSettings(t)
			s.TrustedHops = hops
			g := newGateway(t, s, host("shop.test", prefix("/", "web")), host("*", prefix("/", "web")))
			g.backend(port("web"), reporting(t, "web"))
			g.ready("shop.test", "other.test")
			for i, c := range spellings {
				if hops == 0 {
					c.want = proxy
				}
				trusted := strings.Repeat(", 192.0.2.1:80", max(int(hops), 1)-1)
				for j, untrusted := range []string{"", "198.51.100.1, ", "198.51.100.1:1,[2001:db8::1]:2 , ", ",, :, [x, ", `"a, b", `} {
					id := fmt.Sprintf("%d-%d", i, j)
					host := []string{"shop.test", "other.test"}[j%2]
					got := g.get(host, "/", "X-Forwarded-For: "+untrusted+c.said+trusted, "X-Request-Id: "+id).seen().Header
					if got.Get("X-Real-Ip") != c.want {
						t.Errorf("%q: X-Real-IP is %q, want %q", untrusted+c.said+trusted, got.Get("X-Real-Ip"), c.want)
					}
					if logged := g.logged(id)["client"]; logged != c.want {
						t.Errorf("%q: the access log says %q, want %q", untrusted+c.said+trusted, logged, c.want)
					}
				}
			}
			// Two lines are one list; without any, or with too few addresses, it is the proxy.
			if hops == 2 {
				if got := g.get("shop.test", "/", "X-Forwarded-For: "+v4+":1", "X-Forwarded-For: 192.0.2.1").seen().Header; got.Get("X-Real-Ip") != v4 {
					t.Errorf("two lines: X-Real-IP is %q", got.Get("X-Real-Ip"))
				}
				if got := g.get("shop.test", "/", "X-Forwarded-For: "+v4+":1").seen().Header; got.Get("X-Real-Ip") != proxy {
					t.Errorf("one address of two: X-Real-IP is %q", got.Get("X-Real-Ip"))
				}
			}
			if got := g.get("shop.test", "/").seen().Header; got.Get("X-Real-Ip") != proxy || strings.Contains(got.Get("X-Forwarded-For"), ",") {
				t.Errorf("without X-Forwarded-For: X-Real-IP is %q, X-Forwarded-For %q", got.Get("X-Real-Ip"), got.Get("X-Forwarded-For"))
			}
			long := strings.Repeat("203.0.113.9:80, ", 3000) + v4 + ":41234" + strings.Repeat(", 192.0.2.1", max(int(hops), 1)-1)
			if got := g.get("shop.test", "/", "X-Forwarded-For: "+long).seen().Header.Get("X-Real-Ip"); hops > 0 && got != v4 {
				t.Errorf("a long list: X-Real-IP is %q, want %q", got, v4)
			}
		})
	}
}

// Of so many proxies as settings may name, and of more, as a flag may.
func TestManyTrustedHops(t *testing.T) {
	for hops, want := range map[uint32]string{16: "203.0.113.7", 1 << 20: "127.0.0.1"} {
		s := testSettings(t)
		s.TrustedHops = hops
		g := newGateway(t, s, host("shop.test", prefix("/", "web")))
		g.backend(port("web"), reporting(t, "web"))
		g.ready("shop.test")
		list := "203.0.113.7:1" + strings.Repeat(", 192.0.2.1:1", 15)
		if got := g.get("shop.test", "/", "X-Forwarded-For: "+list).seen().Header.Get("X-Real-Ip"); got != want {
			t.Errorf("%d hops: X-Real-IP is %q, want %q", hops, got, want)
		}
	}
}
