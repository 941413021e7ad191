package envoy_test

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/fairwaynet/fairway/test/freeport"
	"github.com/fairwaynet/fairway/test/oldclient"
	"github.com/fairwaynet/fairway/xds/envoy"
	"github.com/fairwaynet/fairway/xds/route"
)

// policyOf is what "staff-ca required" demands, of the namespace shop.
func policyOf(text string) *route.ClientPolicy {
	name, demand, _ := strings.Cut(text, " ")
	return &route.ClientPolicy{CA: types.NamespacedName{Namespace: "shop", Name: name}, Required: demand == "required"}
}

// guardedHost is a host that demands certificates of clients.
func guardedHost(name, policy string, routes ...route.Route) *route.Host {
	h := host(name, routes...)
	h.Client = policyOf(policy)
	return h
}

// chainsOf are the chains of hosts.
func chainsOf(hosts ...*route.Host) map[route.Hostname]route.Chain {
	chains := make(map[route.Hostname]route.Chain)
	for _, h := range hosts {
		var chain route.Chain
		if h.Client != nil {
			chain.Client = *h.Client
		}
		if h.Passthrough != nil {
			chain.Passthrough = *h.Passthrough
		}
		chains[h.Key.Host] = chain
	}
	return chains
}

// listen publishes the listeners with the chains.
func (g *gateway) listen(chains map[route.Hostname]route.Chain) {
	g.ads.publish(envoy.Listeners(g.settings, chains)...)
}

// overHTTPS connects with a server name and a certificate, either of which may
// be missing, and asks for the root of a host, with headers.
func (g *gateway) overHTTPS(name string, client *tls.Certificate, host string, headers ...string) (reply, error) {
	config := &tls.Config{ServerName: name, InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}}
	if client != nil {
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return client, nil }
	}
	conn, err := tls.DialWithDialer(&net.Dialer{Timeout: patience}, "tcp", fmt.Sprintf("127.0.0.1:%d", g.settings.HTTPSPort), config)
	if err != nil {
		return reply{}, err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience)) //nolint:errcheck // it would fail by what follows
	lines := append([]string{"GET / HTTP/1.1", "Host: " + host, "Connection: close"}, headers...)
	if _, err := io.WriteString(conn, strings.Join(lines, "\r\n")+"\r\n\r\n"); err != nil {
		return reply{}, err
	}
	return readReplyFrom(conn)
}

const identityHeader = "X-Forwarded-Client-Cert"

// outcomeOverHTTPS summarises the outcome of a request: the backend and the
// client that it was told, a status, or a refused connection.
func (g *gateway) outcomeOverHTTPS(name string, client *tls.Certificate, host string, headers ...string) string {
	r, err := g.overHTTPS(name, client, host, headers...)
	switch {
	case err != nil:
		return "refused"
	case r.StatusCode != http.StatusOK:
		return fmt.Sprint(r.StatusCode)
	}
	got := r.seen()
	for header := range got.Header {
		if strings.HasPrefix(header, "X-Fairway") {
			return "the backend saw " + header
		}
	}
	_, identity, _ := strings.Cut(got.Header.Get(identityHeader), `Subject="CN=`)
	identity, _, _ = strings.Cut(identity, `"`)
	if identity == "" && len(got.Header.Values(identityHeader)) > 0 {
		return fmt.Sprintf("the backend saw %q", got.Header.Values(identityHeader))
	}
	return strings.TrimSpace(got.Backend + " " + identity)
}

func TestClientCertificates(t *testing.T) {
	staff, partners := newSigner(t, "staff"), newSigner(t, "partners")
	s := testSettings(t)
	s.HTTPSPort = freeport.Get(t)
	secure := prefix("/", "web")
	secure.Redirect = true
	many := []route.Route{}
	for i := range 40 {
		many = append(many, prefix(fmt.Sprintf("/p%d", i), "web"))
	}
	hosts := []*route.Host{
		guardedHost("a.staff.test", "staff-ca required", secure),
		guardedHost("same.staff.test", "staff-ca required", prefix("/", "web")),
		guardedHost("partner.test", "partner-ca required", prefix("/", "web")),
		guardedHost("*.wild.test", "staff-ca required", prefix("/", "web")),
		guardedHost("optional.test", "staff-ca optional", prefix("/", "web")),
		guardedHost("many.test", "staff-ca required", append(many, prefix("/", "web"))...),
		host("open.wild.test", prefix("/", "web")),
		host("plain.test", prefix("/", "web")),
		host("*", prefix("/", "rest")),
	}
	chains := chainsOf(hosts...)
	chains["closed.test"] = route.Chain{Closed: true}
	g := newGateway(t, s, hosts...)
	g.backend(port("web"), reporting(t, "web"))
	g.backend(port("rest"), reporting(t, "rest"))
	for name, a := range map[string]*signer{"staff-ca": staff, "partner-ca": partners} {
		g.ads.publish(envoy.ClientCA(types.NamespacedName{Namespace: "shop", Name: name}, a.pem))
	}
	for _, name := range []string{
		"a.staff.test", "same.staff.test", "partner.test", "x.wild.test", "y.x.wild.test", "optional.test", "open.wild.test", "plain.test",
		"many.test", "closed.test", "A.STAFF.test", envoy.NoServerName,
	} {
		chain, key := certificate(t, "some.test")
		g.ads.publish(envoy.Secret(name, chain, key))
	}
	g.listen(chains)
	alice := staff.client("alice", time.Hour)
	g.eventually("the chain is there", func() error {
		if got := g.outcomeOverHTTPS("a.staff.test", alice, "a.staff.test"); got != "web alice" {
			return fmt.Errorf("%s", got)
		}
		if got := g.outcomeOverHTTPS("plain.test", nil, "plain.test"); got != "web" {
			return fmt.Errorf("%s", got)
		}
		return nil
	})
	// Once: two of a kind would be joined, and match nothing.
	lying := []string{
		"x-forwarded-client-cert: Hash=1;Subject=\"CN=root\"", "X-Fairway-Client: shop/staff-ca required", "x_fairway_client: shop/staff-ca required",
	}
	for _, c := range []struct {
		what    string
		name    string
		client  *tls.Certificate
		host    string
		headers []string
		want    string
	}{
		{"a good certificate", "a.staff.test", alice, "a.staff.test", nil, "web alice"},
		{"who lies is overheard", "a.staff.test", alice, "a.staff.test", lying, "web alice"},
		{"no certificate", "a.staff.test", nil, "a.staff.test", nil, "refused"},
		{"one of another authority", "a.staff.test", partners.client("alice", time.Hour), "a.staff.test", nil, "refused"},
		{"one that has expired", "a.staff.test", staff.client("alice", -time.Minute), "a.staff.test", nil, "refused"},
		{"the name in capitals", "A.STAFF.test", nil, "a.staff.test", nil, "refused"},
		{"many routes", "many.test", alice, "many.test", nil, "web alice"},

		{"a connection for another host", "plain.test", nil, "a.staff.test", nil, "421"},
		{"the same, lying", "plain.test", nil, "a.staff.test", lying, "421"},
		{"the same, in another spelling", "plain.test", nil, "A.Staff.Test.:443", lying, "421"},
		{"the same, to many routes", "plain.test", nil, "many.test", lying, "421"},
		{"a connection without a name", "", nil, "a.staff.test", lying, "421"},
		{"a connection for a host of another policy", "partner.test", partners.client("bob", time.Hour), "a.staff.test", nil, "421"},
		{"a connection that may have no certificate", "optional.test", nil, "a.staff.test", nil, "421"},
		{"the same, with one", "optional.test", alice, "a.staff.test", nil, "421"},
		{"the same policy", "a.staff.test", alice, "same.staff.test", nil, "web alice"},
		{"who asks no certificate learns of none", "a.staff.test", alice, "plain.test", lying, "web"},
		{"nor does the default host", "a.staff.test", alice, "nobody.test", lying, "rest"},
		{"nobody's word is passed on", "plain.test", nil, "plain.test", lying, "web"},

		{"a wildcard", "x.wild.test", alice, "x.wild.test", nil, "web alice"},
		{"a wildcard without a certificate", "x.wild.test", nil, "x.wild.test", nil, "refused"},
		{"a wildcard by another connection", "plain.test", nil, "x.wild.test", lying, "421"},
		{"another name below the wildcard", "x.wild.test", alice, "z.wild.test", nil, "web alice"},
		{"a full name below the wildcard is its own", "open.wild.test", nil, "open.wild.test", nil, "web"},
		{"a wildcard is one label", "y.x.wild.test", nil, "y.x.wild.test", nil, "rest"},

		{"optional, without", "optional.test", nil, "optional.test", lying, "web"},
		{"optional, with", "optional.test", alice, "optional.test", lying, "web alice"},
		{"optional, with one of another authority", "optional.test", partners.client("bob", time.Hour), "optional.test", nil, "refused"},

		{"closed", "closed.test", alice, "closed.test", nil, "refused"},
		{"all others", "plain.test", nil, "nobody.test", nil, "rest"},
	} {
		if got := g.outcomeOverHTTPS(c.name, c.client, c.host, c.headers...); got != c.want {
			t.Errorf("%s: %s, want %s", c.what, got, c.want)
		}
	}
	if r := g.get("a.staff.test", "/x?y", lying...); r.StatusCode != http.StatusPermanentRedirect || r.Header.Get("Location") != fmt.Sprintf("https://a.staff.test:%d/x?y", s.HTTPSPort) {
		t.Errorf("plain HTTP: %d %s", r.StatusCode, r.Header.Get("Location"))
	}
	for _, name := range []string{"same.staff.test", "x.wild.test", "many.test", "optional.test"} {
		if r := g.get(name, "/", lying...); r.StatusCode != http.StatusMisdirectedRequest {
			t.Errorf("plain HTTP to %s: %d", name, r.StatusCode)
		}
	}
	if r := g.get("plain.test", "/", lying...); len(r.seen().Header.Values(identityHeader)) > 0 {
		t.Errorf("plain HTTP: the backend is told %q", r.seen().Header.Values(identityHeader))
	}
	if r, err := g.overHTTPS("plain.test", nil, "a.staff.test"); err != nil || r.Text != "Misdirected Request\n" {
		t.Errorf("a client is told %q, %v", r.Text, err)
	}
}

// The default host, and clients without a server name, can demand certificates,
// too. Then those names are the exception that do not.
func TestClientCertificatesOfTheDefaultHost(t *testing.T) {
	staff := newSigner(t, "staff")
	s := testSettings(t)
	s.HTTPSPort = freeport.Get(t)
	hosts := []*route.Host{
		guardedHost("*", "staff-ca required", prefix("/", "web")),
		host("open.test", prefix("/", "web")),
		host("*.open.test", prefix("/", "web")),
	}
	g := newGateway(t, s, hosts...)
	g.backend(port("web"), reporting(t, "web"))
	g.ads.publish(envoy.ClientCA(types.NamespacedName{Namespace: "shop", Name: "staff-ca"}, staff.pem))
	for _, name := range []string{"open.test", "x.open.test", "any.test", envoy.NoServerName} {
		chain, key := certificate(t, name)
		g.ads.publish(envoy.Secret(name, chain, key))
	}
	g.listen(chainsOf(hosts...))
	alice := staff.client("alice", time.Hour)
	g.eventually("the chain is there", func() error {
		if got := g.outcomeOverHTTPS("any.test", alice, "any.test"); got != "web alice" {
			return fmt.Errorf("%s", got)
		}
		return nil
	})
	for _, c := range []struct {
		name   string
		client *tls.Certificate
		host   string
		want   string
	}{
		{"any.test", nil, "any.test", "refused"},
		{"", nil, "any.test", "refused"},
		{"", alice, "any.test", "web alice"},
		{"open.test", nil, "open.test", "web"},
		{"x.open.test", nil, "x.open.test", "web"},
		{"open.test", nil, "any.test", "421"},
	} {
		if got := g.outcomeOverHTTPS(c.name, c.client, c.host); got != c.want {
			t.Errorf("%q for %s: %s, want %s", c.name, c.host, got, c.want)
		}
	}
}

// New authorities are those that count, from the next handshake on.
func TestAuthoritiesRotateWithoutAListener(t *testing.T) {
	before, after := newSigner(t, "before"), newSigner(t, "after")
	s := testSettings(t)
	s.HTTPSPort = freeport.Get(t)
	h := guardedHost("staff.test", "staff-ca required", prefix("/", "web"))
	g := newGateway(t, s, h)
	g.backend(port("web"), reporting(t, "web"))
	ca := types.NamespacedName{Namespace: "shop", Name: "staff-ca"}
	chain, key := certificate(t, "staff.test")
	g.ads.publish(envoy.Secret("staff.test", chain, key), envoy.ClientCA(ca, before.pem))
	g.listen(chainsOf(h))
	old, young := before.client("old", time.Hour), after.client("young", time.Hour)
	outcome := func(client *tls.Certificate, want string) {
		t.Helper()
		g.eventually(want, func() error {
			if got := g.outcomeOverHTTPS("staff.test", client, "staff.test"); got != want {
				return fmt.Errorf("%s", got)
			}
			return nil
		})
	}
	outcome(old, "web old")
	outcome(young, "refused")
	g.ads.publish(envoy.ClientCA(ca, bytes.Join([][]byte{before.pem, after.pem}, nil)))
	outcome(young, "web young")
	outcome(old, "web old")
	g.ads.publish(envoy.ClientCA(ca, after.pem))
	outcome(old, "refused")
	outcome(young, "web young")
}

// A name with two certificates gives each client the one that it can use.
func TestPairsOfCertificates(t *testing.T) {
	s := testSettings(t)
	s.HTTPSPort = freeport.Get(t)
	g := newGateway(t, s, host("*.both.test", prefix("/", "web")))
	for i, pair := range [][2][]byte{keyed(t, "*.both.test", true), keyed(t, "*.both.test", false)} {
		g.ads.publish(envoy.Secret(envoy.PairSecretName("*.both.test", i), pair[0], pair[1]))
	}
	chain, key := certificate(t, "one.both.test")
	g.ads.publish(envoy.Secret("one.both.test", chain, key))
	g.listen(map[route.Hostname]route.Chain{"*.both.test": {Pair: "*.both.test"}, "one.both.test": {}})
	address := fmt.Sprintf("127.0.0.1:%d", s.HTTPSPort)
	for _, c := range []struct {
		name string
		old  bool // a client that cannot use ECDSA
		want string
	}{
		{"a.both.test", false, "ECDSA *.both.test"},
		{"a.both.test", true, "RSA *.both.test"},
		{"one.both.test", false, "ECDSA one.both.test"},
	} {
		g.eventually(c.want, func() error {
			got, err := oldclient.Certificate(t.Context(), address, c.name, c.old)
			if err != nil {
				return err
			}
			if presented := got.PublicKeyAlgorithm.String() + " " + got.DNSNames[0]; presented != c.want {
				return fmt.Errorf("%s presents %s, want %s", c.name, presented, c.want)
			}
			return nil
		})
	}
	conn, err := tls.Dial("tcp", address, &tls.Config{ServerName: "a.both.test", InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if got := conn.ConnectionState().PeerCertificates[0]; got.PublicKeyAlgorithm != x509.ECDSA {
		t.Errorf("a client of today is shown %s", got.PublicKeyAlgorithm)
	}
}

// keyed is a certificate with the kind of key, in PEM.
func keyed(t testing.TB, name string, isRSA bool) [2][]byte {
	t.Helper()
	if !isRSA {
		chain, key := certificate(t.(*testing.T), name)
		return [2][]byte{chain, key}
	}
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{name}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return [2][]byte{
		pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}),
	}
}

// A connection that is passed through ends at the backend, whose certificate the
// client sees.
func TestTLSIsPassedThrough(t *testing.T) {
	backend := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s for %s", r.TLS.ServerName, r.Host)
	}))
	t.Cleanup(backend.Close)
	s := testSettings(t)
	s.HTTPSPort = freeport.Get(t)
	raw := host("raw.test", route.Route{Match: route.Match{Path: "/"}, Status: http.StatusMisdirectedRequest, Reason: "TLSPassthrough", Redirect: true})
	raw.Passthrough = &route.Cluster{Port: port("raw")}
	g := newGateway(t, s, raw, host("plain.test", prefix("/", "web")))
	g.ads.publish(envoy.Cluster(*raw.Passthrough, s))
	g.backend(port("raw"), backend.Listener.Addr().String())
	g.backend(port("web"), reporting(t, "web"))
	chain, key := certificate(t, "plain.test")
	g.ads.publish(envoy.Secret("plain.test", chain, key))
	g.listen(chainsOf(raw))
	g.eventually("it is passed through", func() error {
		conn, err := tls.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", s.HTTPSPort), &tls.Config{ServerName: "raw.test", InsecureSkipVerify: true})
		if err != nil {
			return err
		}
		defer conn.Close()
		if !conn.ConnectionState().PeerCertificates[0].Equal(backend.Certificate()) {
			return fmt.Errorf("the certificate is for %q", conn.ConnectionState().PeerCertificates[0].DNSNames)
		}
		fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: raw.test\r\nConnection: close\r\n\r\n")
		r, err := readReplyFrom(conn)
		if err != nil || r.Text != "raw.test for raw.test" {
			return fmt.Errorf("the backend answers %q, %w", r.Text, err)
		}
		return nil
	})
	if got := g.outcomeOverHTTPS("plain.test", nil, "raw.test"); got != "421" {
		t.Errorf("a request whose TLS ended here: %s, want 421", got)
	}
	if got := g.outcomeOverHTTPS("plain.test", nil, "plain.test"); got != "web" {
		t.Errorf("another host: %s", got)
	}
	if r := g.get("raw.test", "/"); r.StatusCode != http.StatusPermanentRedirect {
		t.Errorf("plain HTTP: %d", r.StatusCode)
	}
}

// Only peers that may send PROXY headers get into any chain.
func TestChainsBehindAProxy(t *testing.T) {
	for _, c := range []struct {
		from string
		want string
	}{{"127.0.0.0/8", "web"}, {"10.0.0.0/8", "refused"}} {
		s := testSettings(t)
		s.HTTPSPort = freeport.Get(t)
		s.ProxyProtocol = &route.ProxyProtocol{From: []netip.Prefix{netip.MustParsePrefix(c.from)}, Optional: true}
		g := newGateway(t, s, host("plain.test", prefix("/", "web")))
		g.backend(port("web"), reporting(t, "web"))
		chain, key := certificate(t, "plain.test")
		g.ads.publish(envoy.Secret("plain.test", chain, key))
		g.eventually(c.want, func() error {
			if got := g.outcomeOverHTTPS("plain.test", nil, "plain.test"); got != c.want {
				return fmt.Errorf("%s", got)
			}
			return nil
		})
	}
}
