package explain

import (
	"net/http"
	"strings"
	"testing"

	"github.com/fairwaynet/fairway/xds/route"
)

func TestWhatAClientSendsForAURL(t *testing.T) {
	for _, test := range []struct {
		url, want string // scheme, authority and target
		says      string // what is said of letters beyond ASCII
	}{
		{url: "http://shop.test/cart?q=1", want: "http shop.test /cart?q=1"},
		{url: "shop.test", want: "http shop.test /"},
		{url: "shop.test/cart", want: "http shop.test /cart"},
		{url: "shop.test?q=1", want: "http shop.test /?q=1"},
		{url: "HTTPS://SHOP.test.:8443/", want: "https SHOP.test.:8443 /"},
		{url: "ws://shop.test/chat", want: "http shop.test /chat"},
		{url: "wss://shop.test/chat", want: "https shop.test /chat"},
		{url: "shop.test/go?to=http://other.test/", want: "http shop.test /go?to=http://other.test/"}, // the scheme of something else
		{url: "http://shop.test/cart#top?q=1", want: "http shop.test /cart"},                          // clients keep fragments to themselves
		{url: "shop.test#top", want: "http shop.test /"},
		{url: "http://user:secret@shop.test/", want: "http shop.test /"}, // and passwords out of the request line
		{url: "http://a@b@shop.test/", want: "http shop.test /"},
		{url: "http://shop.test/a@b", want: "http shop.test /a@b"},
		{url: `http://shop.test\cart`, want: `http shop.test /\cart`},
		{url: "http://[::1]:8080/", want: "http [::1]:8080 /"},
		{url: "http://10.0.0.1/", want: "http 10.0.0.1 /"},
		{url: "http://shop.test/a b\x00\x7f", want: "http shop.test /a%20b%00%7F"},
		{url: "http://shop.test/%2e%2E/%zz;x", want: "http shop.test /%2e%2E/%zz;x"}, // as it is
		{
			url: "http://shop.test/café", want: "http shop.test /caf%C3%A9",
			says: "letters beyond ASCII are escaped, as browsers do; sent as they are over HTTP/1.1, as curl does, they are answered 400: /caf%C3%A9",
		},
		{
			url: "http://shop.test/?q=café", want: "http shop.test /?q=caf%C3%A9",
			says: "letters beyond ASCII are escaped, as browsers do; sent as they are, as curl does, they are answered 400: /?q=caf%C3%A9",
		},
		{
			url: "http://shop.test/é?é", want: "http shop.test /%C3%A9?%C3%A9",
			says: "letters beyond ASCII are escaped, as browsers do; sent as they are, as curl does, they are answered 400: /%C3%A9?%C3%A9",
		},
		{url: "http://shop.test/\xff", want: "http shop.test /%FF", says: "letters beyond ASCII are escaped, as browsers do; sent as they are over HTTP/1.1, as curl does, they are answered 400: /%FF"},
	} {
		request, err := ParseURL(test.url)
		if err != nil {
			t.Errorf("%q: %v", test.url, err)
			continue
		}
		if got := request.Scheme + " " + request.Authority + " " + request.Target; got != test.want || request.Method != http.MethodGet || request.Length != 0 {
			t.Errorf("%q: %q, want %q", test.url, got, test.want)
		}
		if got := request.unescaped(); got != test.says {
			t.Errorf("%q: says %q, want %q", test.url, got, test.says)
		}
		again, err := ParseURL(request.String())
		if err != nil || again.String() != request.String() {
			t.Errorf("%q is %q, and that is %q, %v", test.url, request, again, err)
		}
	}
}

func TestWhatIsNoURLIsRefusedWithAReason(t *testing.T) {
	for url, want := range map[string]string{
		"":                        "the URL names no host",
		"http://":                 "the URL names no host",
		"http:///x":               "the URL names no host",
		"?x":                      "the URL names no host",
		"http://user@/x":          "the URL names no host",
		"://":                     `the scheme "" is neither http nor https`,
		"ftp://shop.test/":        `the scheme "ftp" is neither http nor https`,
		"javascript://shop.test/": `the scheme "javascript" is neither http nor https`,
		"http://bücher.test/":     "write an international name in its ASCII form (xn--…), as clients send it",
		"http://*.shop.test/":     `"*.shop.test" is a pattern: ask for a name that it covers, as clients do`,
		"*":                       `"*" is a pattern: ask for a name that it covers, as clients do`,
		"shop.test/" + strings.Repeat("a", maxURL): "the URL has 65546 bytes, more than 65536",
	} {
		if _, err := ParseURL(url); err == nil || err.Error() != want {
			t.Errorf("%.40q: %v, want %s", url, err, want)
		}
	}
}

func TestHeadersThatDecideAreTaken(t *testing.T) {
	for _, test := range []struct {
		headers   []string
		authority string
		server    string // name in a handshake
		length    int64
		wrong     string
	}{
		{headers: nil, authority: "shop.test", server: "shop.test"},
		{headers: []string{"Host: other.test"}, authority: "other.test", server: "shop.test"},
		{headers: []string{"hOsT :other.test"}, authority: "other.test", server: "shop.test"},
		{headers: []string{"Host: other.test", "host: third.test"}, authority: "third.test", server: "shop.test"},
		{headers: []string{"Accept: */*", "X: :"}, authority: "shop.test", server: "shop.test"},
		{headers: []string{"Content-Length: 12"}, authority: "shop.test", server: "shop.test", length: 12},
		{headers: []string{"Content-Length: 9223372036854775807"}, authority: "shop.test", server: "shop.test", length: 1<<63 - 1},
		{headers: []string{"Content-Length: -1"}, wrong: `Content-Length "-1" is no number of bytes`},
		{headers: []string{"Content-Length: 9223372036854775808"}, wrong: `Content-Length "9223372036854775808" is no number of bytes`},
		{headers: []string{"Content-Length:"}, wrong: `Content-Length "" is no number of bytes`},
		{headers: []string{"Host"}, wrong: `"Host" is no header: write it as "Name: value"`},
		{headers: []string{""}, wrong: `"" is no header: write it as "Name: value"`},
		{headers: []string{"Host:"}, wrong: "the URL names no host"},
		{headers: []string{"Host: *.test"}, wrong: `"*.test" is a pattern: ask for a name that it covers, as clients do`},
	} {
		request, err := ParseURL("https://shop.test/")
		if err != nil {
			t.Fatal(err)
		}
		for _, header := range test.headers {
			if err = request.AddHeader(header); err != nil {
				break
			}
		}
		if test.wrong != "" {
			if err == nil || err.Error() != test.wrong {
				t.Errorf("%q: %v, want %s", test.headers, err, test.wrong)
			}
			continue
		}
		server, sent, ok := request.serverName()
		if err != nil || request.Authority != test.authority || string(server) != test.server || !sent || !ok || request.Length != test.length {
			t.Errorf("%q: %v, authority %s, server name %s, length %d", test.headers, err, request.Authority, server, request.Length)
		}
	}
}

func TestWhatAClientSaysInAHandshake(t *testing.T) {
	for _, test := range []struct {
		authority string
		name      route.Hostname
		sent, ok  bool
	}{
		{"shop.test", "shop.test", true, true},
		{"SHOP.Test.:8443", "shop.test", true, true},
		{"10.0.0.1", "10.0.0.1", false, true}, // an address is not sent
		{"[::1]:443", "[::1]", false, true},
		{"a_b.test", "a_b.test", true, true},
		{"shop/test", "", false, false},
		{"[::1", "", false, false},
		{"shop.test:port", "", false, false},
	} {
		name, sent, ok := Request{Authority: test.authority}.serverName()
		if ok != test.ok || sent != test.sent || ok && name != test.name {
			t.Errorf("%s: %q, sent %t, ok %t", test.authority, name, sent, ok)
		}
	}
}

func TestTheURLToWhichAClientIsSentForTLS(t *testing.T) {
	for _, test := range []struct {
		authority string
		port      uint16
		want      string
	}{
		{"shop.test", 443, "https://shop.test/cart"},
		{"shop.test", 8443, "https://shop.test:8443/cart"},
		{"shop.test:80", 443, "https://shop.test:443/cart"},
		{"shop.test:8080", 8443, "https://shop.test:8443/cart"},
		{"SHOP.test.", 443, "https://SHOP.test./cart"},
		{"[::1]", 443, "https://[::1]/cart"},
		{"[::1]:80", 8443, "https://[::1]:8443/cart"},
		{"10.0.0.1:80", 443, "https://10.0.0.1:443/cart"},
	} {
		if got := (Request{Authority: test.authority}).secured(test.port, "/cart"); got != test.want {
			t.Errorf("%s, port %d: %s, want %s", test.authority, test.port, got, test.want)
		}
	}
	sentOn := Request{Scheme: "http", Authority: "shop.test", server: "10.0.0.1"}.anew()
	if name, sent, _ := sentOn.serverName(); sentOn.Scheme != "https" || name != "shop.test" || !sent {
		t.Errorf("a client that was sent to HTTPS connects to %s, with the server name %q", sentOn, name)
	}
}

// Whatever is pasted is refused or is a request that a client could send.
func FuzzParseURL(f *testing.F) {
	for _, url := range []string{"http://shop.test/a?b#c", "shop.test", "https://[::1]:1/%00", "http://a@b/ü", "://", `\\x`, "ws:/x"} {
		f.Add(url)
	}
	f.Fuzz(func(t *testing.T, url string) {
		request, err := ParseURL(url)
		if err != nil {
			return
		}
		if request.Target == "" || request.Target[0] != '/' || strings.ContainsFunc(request.Target, func(c rune) bool { return c <= ' ' || c >= 0x7f }) {
			t.Errorf("target %q", request.Target)
		}
		if request.Scheme != "http" && request.Scheme != "https" || request.Authority == "" || strings.ContainsAny(request.Authority, "/?#@\\") {
			t.Errorf("scheme %q, authority %q", request.Scheme, request.Authority)
		}
		again, err := ParseURL(request.String())
		if err != nil || again.Authority != request.Authority || again.Target != request.Target {
			t.Errorf("%q is %q, which is %q, %v", url, request, again, err)
		}
	})
}
