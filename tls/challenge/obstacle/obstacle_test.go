package obstacle

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/fairwaynet/fairway/test/nameserver"
	"github.com/fairwaynet/fairway/tls/challenge"
	"github.com/fairwaynet/fairway/tls/challenge/dns"
)

// checking asks a DNS server with the records, and connects to one place
// whatever address it is given; an empty place is nowhere.
func checking(t *testing.T, place string, records ...string) (*Checker, *nameserver.Server) {
	t.Helper()
	s := nameserver.Start(t, "127.0.0.1:0", "test", nil)
	s.Add(t, append(records, "@ 60 IN SOA ns root 1 60 60 60 60")...)
	return &Checker{
		Names: &dns.Resolver{Servers: []string{s.Address.String()}, Timeout: 10 * time.Second},
		Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
			if place == "" {
				place = "127.0.0.1:1"
			}
			return (&net.Dialer{}).DialContext(ctx, network, place)
		},
	}, s
}

func TestBeforeOrder(t *testing.T) {
	c, s := checking(t, "",
		"shop 60 IN A 192.0.2.1", "bare 60 IN TXT hello", "meta 60 IN A 169.254.169.254",
		"caa 60 IN A 192.0.2.1", `caa 60 IN CAA 0 issue "ca.test; validationmethods=dns-01"`, `caa 60 IN CAA 0 issuewild ";"`,
		"ill 60 IN A 192.0.2.1",
	)
	s.Break("broken.test", 2)
	http, both := []challenge.Type{challenge.HTTP01}, []challenge.Type{challenge.HTTP01, challenge.DNS01}
	for _, c1 := range []struct {
		name  string
		types []challenge.Type
		ca    string
		want  Reason
		in    string // the message
	}{
		{"shop.test", http, "ca.test", "", ""},
		{"gone.test", http, "", NoSuchName, "DNS knows no name gone.test"},
		{"gone.test", both, "", "", ""},
		{"bare.test", http, "", NoAddress, "no A or AAAA record of bare.test"},
		{"meta.test", http, "", NotReachable, "169.254.169.254"},
		{"broken.test", http, "ca.test", "", ""}, // unknown
		{"caa.test", http, "other.test", CAAForbids, "the CAA records of caa.test do not let other.test issue"},
		{"caa.test", http, "ca.test", CAAForbids, "not by one of the challenges"},
		{"caa.test", both, "CA.test", "", ""},
		{"deep.caa.test", both, "other.test", CAAForbids, "the CAA records of caa.test"},
		{"*.caa.test", both, "ca.test", CAAForbids, `property "issuewild"`},
		{"caa.test", http, "", "", ""},
	} {
		w := Wish{Name: c1.name, Types: c1.types}
		if c1.ca != "" {
			w.Identities = []string{c1.ca}
		}
		found, unknown := c.BeforeOrder(t.Context(), w)
		switch {
		case c1.want == "" && found != nil:
			t.Errorf("%+v: %s", w, found)
		case c1.want != "" && (found == nil || found.Reason != c1.want || !strings.Contains(found.Message, c1.in)):
			t.Errorf("%+v: %v, want %s: %s", w, found, c1.want, c1.in)
		case (unknown != nil) != (c1.name == "broken.test"):
			t.Errorf("%+v: unknown is %v", w, unknown)
		}
	}
}

func TestCAA(t *testing.T) {
	property := func(tag, value string) dns.CAA { return dns.CAA{Tag: tag, Value: value} }
	critical := dns.CAA{Critical: true, Tag: "future", Value: "x"}
	for what, c := range map[string]struct {
		properties []dns.CAA
		name       string
		account    string
		forbidden  bool
	}{
		"none":                          {nil, "shop.test", "", false},
		"only a report":                 {[]dns.CAA{property("iodef", "mailto:a@b.test")}, "shop.test", "", false},
		"nobody":                        {[]dns.CAA{property("issue", ";")}, "shop.test", "", true},
		"nobody, said without a sign":   {[]dns.CAA{property("issue", "")}, "shop.test", "", true},
		"us among others":               {[]dns.CAA{property("issue", "other.test"), property("issue", " ca.test ")}, "shop.test", "", false},
		"others":                        {[]dns.CAA{property("issue", "other.test")}, "shop.test", "", true},
		"wildcards by issue":            {[]dns.CAA{property("issue", "other.test")}, "*.shop.test", "", true},
		"wildcards by issuewild":        {[]dns.CAA{property("issue", "other.test"), property("issuewild", "ca.test")}, "*.shop.test", "", false},
		"issuewild is not of names":     {[]dns.CAA{property("issuewild", ";")}, "shop.test", "", false},
		"a critical property":           {[]dns.CAA{property("issue", "ca.test"), critical}, "shop.test", "", true},
		"an unknown one":                {[]dns.CAA{property("issue", "ca.test"), property("future", "x")}, "shop.test", "", false},
		"our account":                   {[]dns.CAA{property("issue", "ca.test; accounturi=https://ca.test/1")}, "shop.test", "https://ca.test/1", false},
		"another account":               {[]dns.CAA{property("issue", "ca.test;accounturi=https://ca.test/1")}, "shop.test", "https://ca.test/2", true},
		"another account, and anybody":  {[]dns.CAA{property("issue", "ca.test;accounturi=x"), property("issue", "ca.test")}, "shop.test", "y", false},
		"our challenge":                 {[]dns.CAA{property("issue", "ca.test; validationmethods=dns-01,http-01")}, "shop.test", "", false},
		"another challenge, oddly said": {[]dns.CAA{property("issue", "ca.test; ValidationMethods = dns-01 ")}, "shop.test", "", true},
	} {
		w := Wish{Name: c.name, Types: []challenge.Type{challenge.HTTP01}, Identities: []string{"ca.test"}, Account: c.account}
		if why := forbids(c.properties, w); (why != "") != c.forbidden {
			t.Errorf("%s: %q", what, why)
		}
	}
}

func http01() challenge.Challenge {
	return challenge.Challenge{Gateway: "default", Type: challenge.HTTP01, Name: "shop.test", Token: "tok", KeyAuthorization: "tok.thumb"}
}

// What answers is asked like an authority would, and told of by its status alone.
func TestBeforeAcceptOverHTTP(t *testing.T) {
	const hidden = "something that only insiders may read"
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		t.Error("somebody else was asked")
	}))
	defer elsewhere.Close()
	answer := func(status int, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status); io.WriteString(w, body) } //nolint:errcheck // the client would miss it
	}
	for what, c := range map[string]struct {
		handler http.HandlerFunc
		want    string // in the message; empty: no obstacle
		unknown bool
	}{
		"the answer":      {answer(200, "tok.thumb"), "", false},
		"with a line end": {answer(200, "tok.thumb\n"), "", false},
		"another answer":  {answer(200, hidden), "answers 200, but something else", false},
		"a long answer":   {answer(200, "tok.thumb"+strings.Repeat("x", 1<<20)), "something else", false},
		"an error":        {answer(404, hidden), "at 192.0.2.1 answers 404, not the challenge", false},
		"a failure":       {answer(502, hidden), "answers 502", false},
		"a redirect to elsewhere": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, elsewhere.URL+"/latest", http.StatusFound)
		}, "", true},
		"a redirect to a path":   {func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/admin", http.StatusFound) }, "", true},
		"a redirect in a circle": {func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, r.URL.Path, http.StatusFound) }, "", true},
		"a hang-up":              {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, "", true},
	} {
		t.Run(what, func(t *testing.T) {
			asked := func(w http.ResponseWriter, r *http.Request) {
				if r.Host != "shop.test" || r.URL.Path != "/.well-known/acme-challenge/tok" || r.Header.Get("Cookie")+r.Header.Get("Authorization") != "" {
					t.Errorf("asked for %s%s with %v", r.Host, r.URL, r.Header)
				}
				c.handler(w, r)
			}
			server := httptest.NewServer(http.HandlerFunc(asked))
			defer server.Close()
			checker, _ := checking(t, server.Listener.Addr().String(), "shop 60 IN A 192.0.2.1")
			found, unknown := checker.BeforeAccept(t.Context(), http01())
			if (c.want == "") != (found == nil) || found != nil && !strings.Contains(found.Message, c.want) || c.unknown != (unknown != nil) {
				t.Errorf("%v, unknown %v, want %q", found, unknown, c.want)
			}
			if found != nil && strings.Contains(found.Message, hidden) {
				t.Errorf("what a stranger's server says is repeated: %s", found)
			}
		})
	}
}

// A redirect to the same path over HTTPS is followed, whatever the certificate.
func TestBeforeAcceptFollowsToHTTPS(t *testing.T) {
	secure := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, "tok.thumb") //nolint:errcheck // the client would miss it
	}))
	defer secure.Close()
	plain := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "https://shop.test"+r.URL.Path, http.StatusPermanentRedirect)
	}))
	defer plain.Close()
	checker, _ := checking(t, "", "shop 60 IN A 192.0.2.1")
	checker.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		to := map[string]string{"192.0.2.1:80": plain.Listener.Addr().String(), "192.0.2.1:443": secure.Listener.Addr().String()}[address]
		return (&net.Dialer{}).DialContext(ctx, network, to)
	}
	if found, unknown := checker.BeforeAccept(t.Context(), http01()); found != nil || unknown != nil {
		t.Errorf("%v, unknown %v", found, unknown)
	}
}

// One address that answers something else is enough: an authority may ask it.
func TestBeforeAcceptAsksEveryAddress(t *testing.T) {
	right := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "tok.thumb") })) //nolint:errcheck // the client would miss it
	defer right.Close()
	wrong := httptest.NewServer(http.NotFoundHandler())
	defer wrong.Close()
	checker, _ := checking(t, "", "shop 60 IN A 192.0.2.1", "shop 60 IN A 192.0.2.2", "shop 60 IN A 169.254.169.254")
	checker.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		switch address {
		case "192.0.2.1:80":
			address = right.Listener.Addr().String()
		case "192.0.2.2:80":
			address = wrong.Listener.Addr().String()
		default:
			t.Errorf("%s was asked", address)
		}
		return (&net.Dialer{}).DialContext(ctx, network, address)
	}
	found, _ := checker.BeforeAccept(t.Context(), http01())
	if found == nil || found.Reason != WrongAnswer || !strings.Contains(found.Message, "192.0.2.2 answers 404") {
		t.Errorf("%v", found)
	}
}

// There may be no way from here to our own address: that is no obstacle.
func TestBeforeAcceptWithoutAWay(t *testing.T) {
	checker, _ := checking(t, "", "shop 60 IN A 192.0.2.1")
	for _, kind := range []challenge.Type{challenge.HTTP01, challenge.TLSALPN01} {
		c := http01()
		c.Type = kind
		if found, unknown := checker.BeforeAccept(t.Context(), c); found != nil || unknown == nil {
			t.Errorf("%s: %v, unknown %v", kind, found, unknown)
		}
		c.Name = "gone.test"
		if found, _ := checker.BeforeAccept(t.Context(), c); found == nil || found.Reason != NoSuchName {
			t.Errorf("%s: %v", c, found)
		}
	}
}

func TestBeforeAcceptOverTLS(t *testing.T) {
	c := http01()
	c.Type = challenge.TLSALPN01
	responder := &challenge.Responder{Now: time.Now}
	responder.Set([]challenge.Challenge{c})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- responder.Serve(ctx, listener) }()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	checker, s := checking(t, listener.Addr().String(), "shop 60 IN A 192.0.2.1")
	if found, unknown := checker.BeforeAccept(t.Context(), c); found != nil || unknown != nil {
		t.Errorf("%v, unknown %v", found, unknown)
	}
	other := c
	other.KeyAuthorization = "tok.other"
	if found, _ := checker.BeforeAccept(t.Context(), other); found == nil || found.Reason != WrongAnswer {
		t.Errorf("another answer: %v", found)
	}
	s.Add(t, "unknown 60 IN A 192.0.2.1")
	other.Name = "unknown.test"
	if found, _ := checker.BeforeAccept(t.Context(), other); found == nil || !strings.Contains(found.Message, "is refused") {
		t.Errorf("a refusal: %v", found)
	}
	site := httptest.NewUnstartedServer(http.NotFoundHandler())
	site.TLS = &tls.Config{}
	site.StartTLS()
	defer site.Close()
	ordinary, _ := checking(t, site.Listener.Addr().String(), "shop 60 IN A 192.0.2.1")
	if found, _ := ordinary.BeforeAccept(t.Context(), c); found == nil || found.Reason != WrongAnswer {
		t.Errorf("an ordinary site: %v", found)
	}
}
