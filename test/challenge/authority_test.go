package challenge_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/acme"

	"github.com/fairwaynet/fairway/api/secret"
	authority "github.com/fairwaynet/fairway/test/acme"
	"github.com/fairwaynet/fairway/test/fairway"
	"github.com/fairwaynet/fairway/test/nameserver"
	tlschallenge "github.com/fairwaynet/fairway/tls/challenge"
	"github.com/fairwaynet/fairway/tls/challenge/dns"
	"github.com/fairwaynet/fairway/tls/challenge/obstacle"
)

// Where the Envoys listen.
const (
	httpPort  = 8080
	httpsPort = 8443
)

// certifying is a stage with a real authority, which looks at our Envoys and at
// a DNS server of ours.
type certifying struct {
	*stage

	client  *acme.Client
	names   *nameserver.Server
	solver  *dns.Solver
	checker *obstacle.Checker
}

func newCertifying(s *stage) *certifying {
	s.Helper()
	key := base64.StdEncoding.EncodeToString([]byte("thirty-two bytes of a secret key"))
	names := nameserver.Start(s, "127.0.0.1:0", "test", map[string]string{"fairway": key})
	names.Add(s, "@ 60 IN SOA ns root 1 60 60 60 60", "@ 60 IN NS ns", "ns 60 IN A 127.0.0.1")
	pebble := authority.Start(s, authority.Options{
		HTTPPort: httpPort, TLSPort: httpsPort, DNS: names.Address.String(), NonceReject: -1,
	})
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pebble.CA) {
		s.Fatal("the authority's own certificate cannot be read")
	}
	resolver := &dns.Resolver{Servers: []string{names.Address.String()}, AuthorityPort: names.Address.Port()}
	c := &certifying{
		stage: s, names: names,
		client: &acme.Client{
			DirectoryURL: pebble.Directory,
			HTTPClient:   &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}},
		},
		solver: &dns.Solver{Resolver: resolver, Provider: &dns.RFC2136{
			Server: names.Address.String(), Zone: "test", Resolver: resolver, Now: time.Now,
			TSIG: &dns.TSIG{Name: "fairway", Algorithm: dns.HMACSHA512, Secret: secret.New([]byte(key))},
		}},
		checker: &obstacle.Checker{Names: resolver, Dial: toEnvoys},
	}
	return c
}

// in is for a subtest, with a new account: what another has proved counts for
// nothing.
func (c *certifying) in(t *testing.T) *certifying {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	in := *c
	in.stage = c.stage.in(t)
	in.client = &acme.Client{Key: key, DirectoryURL: c.client.DirectoryURL, HTTPClient: c.client.HTTPClient}
	if _, err := in.client.Register(t.Context(), &acme.Account{}, acme.AcceptTOS); err != nil {
		t.Fatal(err)
	}
	return &in
}

// toEnvoys leads to the ports on which our Envoys listen in place of the usual.
func toEnvoys(ctx context.Context, network, address string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	ours := map[string]int{"80": httpPort, "443": httpsPort}[port]
	return (&net.Dialer{}).DialContext(ctx, network, fmt.Sprintf("%s:%d", host, ours))
}

// address has a name lead to our Envoys.
func (c *certifying) address(names ...string) {
	for _, name := range names {
		c.names.Add(c, strings.TrimPrefix(name, "*.")+". 60 IN A 127.0.0.1")
	}
}

// prove has a name proved by challenges of a type, as an order does: a look for
// obstacles, the Secret, all Envoys, a look at what is answered, the authority.
func (c *certifying) prove(t tlschallenge.Type, names ...string) {
	c.Helper()
	order, err := c.client.AuthorizeOrder(c.Context(), acme.DomainIDs(names...))
	if err != nil {
		c.Fatal(err)
	}
	var theirs []*acme.Challenge
	var ours []tlschallenge.Challenge
	for _, url := range order.AuthzURLs {
		authz, err := c.client.GetAuthorization(c.Context(), url)
		if err != nil {
			c.Fatal(err)
		}
		wish := obstacle.Wish{Name: authz.Identifier.Value, Types: []tlschallenge.Type{t}, Identities: []string{"pebble.letsencrypt.org"}}
		if found, unknown := c.checker.BeforeOrder(c.Context(), wish); found != nil || unknown != nil {
			c.Fatalf("%s: %v, unknown %v", wish.Name, found, unknown)
		}
		their, our := c.challenge(t, authz)
		theirs, ours = append(theirs, their), append(ours, our)
	}
	c.present(t, ours)
	for _, challenge := range theirs {
		if _, err := c.client.Accept(c.Context(), challenge); err != nil {
			c.Fatal(err)
		}
	}
	for _, url := range order.AuthzURLs {
		if _, err := c.client.WaitAuthorization(c.Context(), url); err != nil {
			c.Fatalf("%v by %s: %v", names, t, err)
		}
	}
}

func (c *certifying) challenge(t tlschallenge.Type, authz *acme.Authorization) (*acme.Challenge, tlschallenge.Challenge) {
	c.Helper()
	for _, challenge := range authz.Challenges {
		if challenge.Type != string(t) {
			continue
		}
		thumbprint, err := acme.JWKThumbprint(c.client.Key.Public())
		if err != nil {
			c.Fatal(err)
		}
		ours := tlschallenge.Challenge{
			Gateway: "default", Type: t, Name: authz.Identifier.Value,
			Token: challenge.Token, KeyAuthorization: challenge.Token + "." + thumbprint,
		}
		if t == tlschallenge.DNS01 {
			ours.Gateway = ""
		}
		return challenge, ours
	}
	c.Fatalf("%s is not offered for %s", t, authz.Identifier.Value)
	return nil, tlschallenge.Challenge{}
}

// present has challenges answered until the test ends.
func (c *certifying) present(t tlschallenge.Type, all []tlschallenge.Challenge) {
	c.Helper()
	if t == tlschallenge.DNS01 {
		for _, challenge := range all {
			if err := c.solver.Present(c.Context(), challenge); err != nil {
				c.Fatal(err)
			}
			if ok, why, err := c.solver.Presented(c.Context(), challenge); !ok {
				c.Fatal(why, err)
			}
			c.Cleanup(func() {
				if err := c.solver.Remove(context.Background(), challenge); err != nil {
					c.Error(err)
				}
			})
		}
		return
	}
	c.order("authority-"+string(t)+"-"+strings.ToLower(all[0].Digest()), all...)
	for _, challenge := range all {
		fairway.Eventually(c, patience, c.presented(challenge))
		if found, unknown := c.checker.BeforeAccept(c.Context(), challenge); found != nil || unknown != nil {
			c.Fatalf("%s: %v, unknown %v", challenge, found, unknown)
		}
	}
}

// A real authority is answered by real Envoys, of all kinds of hosts and by all
// three types.
func testAuthority(s *stage) {
	c := newCertifying(s)
	s.ingress(fairway.Ingress("certified", class, "certified.test", "/", "web"), "certified.test")
	s.ingress(fairway.Ingress("certified-wild", class, "*.certified.test", "/", "web"))
	fairway.Eventually(s, patience, fairway.Everywhere(fairway.Answers("a.certified.test", "/", "web")))
	c.address("certified.test", "a.certified.test", "unserved.certified-by.test")
	names := []string{"certified.test", "a.certified.test", "unserved.certified-by.test"}
	for _, t := range []tlschallenge.Type{tlschallenge.HTTP01, tlschallenge.TLSALPN01, tlschallenge.DNS01} {
		s.Run(string(t), func(sub *testing.T) {
			c.in(sub).prove(t, names...)
		})
	}
	s.Run("a name and its wildcard", func(sub *testing.T) {
		in := c.in(sub)
		c.names.Add(s, "_acme-challenge.certified.test. 60 IN CNAME delegated.test.")
		in.prove(tlschallenge.DNS01, "certified.test", "*.certified.test")
		if got := c.names.TXT("delegated.test"); len(got) != 2 {
			in.Errorf("the alias has the texts %v", got)
		}
	})
	if got := c.names.TXT("delegated.test"); len(got) != 0 {
		s.Errorf("left are the texts %v", got)
	}
}
