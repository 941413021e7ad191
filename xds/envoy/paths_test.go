package envoy_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/fairwaynet/fairway/xds/route"
)

func pathsGateway(t *testing.T, choice route.EscapedSlashes) *gateway {
	s := testSettings(t)
	s.EscapedSlashes = choice
	g := newGateway(t, s, host("shop.test",
		exactly("/cart/total", "total"),
		exactly("/cart/", "slash"),
		prefix("/admin", "admin"),
		prefix("/cart", "cart"),
		prefix("/café", "cafe"),
		prefix("/a?b", "never"),
		prefix("/", "root"),
	))
	for _, name := range []string{"total", "slash", "admin", "cart", "cafe", "never", "root"} {
		g.backend(port(name), reporting(t, name))
	}
	for _, path := range []string{"/cart/total", "/cart/", "/admin", "/cart", "/caf%C3%A9", "/"} {
		g.eventually(path+" is served", func() error { return want(g.get("shop.test", path), http.StatusOK) })
	}
	return g
}

func TestPaths(t *testing.T) {
	g := pathsGateway(t, route.EscapedSlashesRedirect)
	for _, c := range []struct{ path, want, uri string }{
		{"/cart/total", "total", "/cart/total"},
		{"/cart/total?a=b", "total", "/cart/total?a=b"},
		{"/cart/total/", "cart", "/cart/total/"},
		{"/cart/", "slash", "/cart/"},
		{"/cart", "cart", "/cart"},
		{"/cart/x", "cart", "/cart/x"},
		{"/cart?x", "cart", "/cart?x"},
		{"/cartoon", "root", "/cartoon"},
		{"/CART", "root", "/CART"},
		{"/", "root", "/"},
		{"/?q=/admin", "root", "/?q=/admin"},
		{"/caf%C3%A9/menu", "cafe", "/caf%C3%A9/menu"},
		// The gateway and the backend see one spelling of a path, whatever the
		// client sent.
		{"//cart//total", "total", "/cart/total"},
		{"/x/../cart/total", "total", "/cart/total"},
		{"/x/%2e%2e/cart/total", "total", "/cart/total"},
		{"/x/%2E./cart/./total", "total", "/cart/total"},
		{"/./admin/../cart", "cart", "/cart"},
		{"/%61dmin/x", "admin", "/admin/x"},
		{"/a%64min", "admin", "/admin"},
		{"/../../admin", "admin", "/admin"},
		{"/cart\\..\\admin", "admin", "/admin"},
		{"/x/..;a=b/admin", "admin", "/admin"},
		// What is escaped for a reason stays so.
		{"/x%3Fy", "root", "/x%3Fy"},
		{"/x%20y", "root", "/x%20y"},
		{"/x;a=b/cart", "root", "/x;a=b/cart"},
		{"/x?u=http://a//b/../c;/..;", "root", "/x?u=http://a//b/../c;/..;"},
	} {
		got := g.get("shop.test", c.path).seen()
		if got.Backend != c.want || got.URI != c.uri {
			t.Errorf("%s: %q sees %q, want %q sees %q", c.path, got.Backend, got.URI, c.want, c.uri)
		}
	}
	for _, path := range []string{"/x/%2e%2e;/admin", "/x/.%2e;y/admin", "/x/%2e;/admin"} {
		if r := g.get("shop.test", path); r.StatusCode != http.StatusForbidden {
			t.Errorf("%s: %d, and the backend saw %q, want 403", path, r.StatusCode, r.seen().URI)
		}
	}
	for _, path := range []string{"/a%00b", "/a\x01b"} {
		if r := g.get("shop.test", path); r.StatusCode != http.StatusBadRequest {
			t.Errorf("%q: %d, want 400", path, r.StatusCode)
		}
	}
}

func TestEscapedSlashes(t *testing.T) {
	paths := []string{"/x/..%2fadmin", "/x/..%2Fadmin", "/x%5c..%5Cadmin", "/%2fadmin"}
	t.Run("redirected to the path they stand for", func(t *testing.T) {
		g := pathsGateway(t, route.EscapedSlashesRedirect)
		for _, path := range paths {
			r := g.get("shop.test", path)
			want := "/admin"
			if path == "/%2fadmin" {
				want = "/.//admin" // another host would be meant by "//admin"
			}
			if r.StatusCode != http.StatusTemporaryRedirect || r.Header.Get("Location") != want {
				t.Errorf("%s: %d to %q, want 307 to %s", path, r.StatusCode, r.Header.Get("Location"), want)
			}
		}
	})
	t.Run("refused", func(t *testing.T) {
		g := pathsGateway(t, route.EscapedSlashesReject)
		for _, path := range paths {
			if r := g.get("shop.test", path); r.StatusCode != http.StatusBadRequest {
				t.Errorf("%s: %d, want 400", path, r.StatusCode)
			}
		}
	})
	t.Run("kept", func(t *testing.T) {
		g := pathsGateway(t, route.EscapedSlashesKeep)
		for _, path := range paths {
			if got := g.get("shop.test", path).seen(); got.Backend != "root" || got.URI != path {
				t.Errorf("%s: %q sees %q, want root sees it unchanged", path, got.Backend, got.URI)
			}
		}
	})
}

// A request stays one request: conflicting lengths are refused, and the bytes
// after it are never taken for another request.
func TestSmuggling(t *testing.T) {
	g := pathsGateway(t, route.EscapedSlashesRedirect)
	const hidden = "0\n\nGET /admin HTTP/1.1\nHost: shop.test\n\n"
	for _, headers := range []string{
		"Content-Length: 6\nTransfer-Encoding: chunked",
		"Transfer-Encoding: chunked\nContent-Length: 6",
		"Content-Length: 0\nContent-Length: 6",
		"Content-Length: 0, 6",
		"Content-Length: +6",
		"Content-Length: 0x6",
		"Content-Length : 6",
		"Content-Length: -1",
		"Transfer-Encoding: xchunked",
		"Transfer-Encoding : chunked",
		"Transfer-Encoding: chunked\nTransfer-Encoding: identity",
		"Transfer-Encoding: identity, chunked, identity",
		"Transfer-Encoding:\x0bchunked",
		"X: a\x00b",
	} {
		request := "POST / HTTP/1.1\nHost: shop.test\n" + headers + "\n\n" + hidden
		r, err := g.tryRaw(request)
		if err != nil {
			continue // the connection was closed: refused
		}
		if r.StatusCode < 400 {
			t.Errorf("%q: %d from %q, want a refusal", headers, r.StatusCode, r.seen().Backend)
		}
		if r.StatusCode >= 400 && !r.Close {
			t.Errorf("%q: the connection stays open", headers)
		}
	}
	// Old line folding and bare carriage returns do not reach a backend that
	// might see a line end in them.
	for _, header := range []string{"X: a\n Transfer-Encoding: chunked", "X: a\rTransfer-Encoding: chunked"} {
		got := g.get("shop.test", "/", header).seen().Header
		if x := got.Get("X"); !strings.HasSuffix(x, "Transfer-Encoding: chunked") || strings.ContainsAny(x, "\r\n") {
			t.Errorf("%q arrived as %q", header, x)
		}
	}
}

func TestBigHeaders(t *testing.T) {
	g := pathsGateway(t, route.EscapedSlashesRedirect)
	big := "X-Big: " + strings.Repeat("b", 50<<10)
	if got := g.get("shop.test", "/", big).seen(); len(got.Header.Get("X-Big")) != 50<<10 {
		t.Errorf("a header of 50 KiB arrived with %d bytes", len(got.Header.Get("X-Big")))
	}
	if r := g.get("shop.test", "/", big, big); r.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("headers of 100 KiB: %d, want 431", r.StatusCode)
	}
	var many []string
	for i := range 150 {
		many = append(many, fmt.Sprintf("X-%d: v", i))
	}
	if r := g.get("shop.test", "/", many...); r.StatusCode != http.StatusOK {
		t.Errorf("150 headers: %d, want 200", r.StatusCode)
	}
	if r := g.get("shop.test", "/", append(many, many...)...); r.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("300 headers: %d, want 431", r.StatusCode)
	}
}
