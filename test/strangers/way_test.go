package strangers_test

import (
	"crypto/tls"
	"crypto/x509/pkix"
	"fmt"
	"net"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/fairwaynet/fairway/api/secret"
	"github.com/fairwaynet/fairway/test/authority"
	"github.com/fairwaynet/fairway/xds/route"
	"github.com/fairwaynet/fairway/xds/server"
)

// A way is one in which files are sent: with another spelling or another kind of
// host in the place of shop.test, and by another listener. To the gateway they are
// different roads; a client must not be able to tell.
type way struct {
	name    string
	host    string
	tls     bool
	guarded bool // the host demands certificates of clients
}

// plainHost is the host that files name.
const plainHost = "shop.test"

var (
	// named are the ways to hosts that have a name.
	named = []way{
		{name: "", host: plainHost},
		{name: "port", host: "shop.test:8080"},
		{name: "case", host: "Shop.TEST"},
		{name: "dot", host: "shop.test."},
		{name: "wildcard", host: "a.wild.test"},
		{name: "https", host: plainHost, tls: true},
		{name: "chain", host: "staff.test", tls: true, guarded: true},
	}
	// unnamed are those to the default host, beside which nobody is unknown.
	unnamed = []way{{name: "default", host: "any.test"}}
)

func allWays() []way { return slices.Concat(named, unnamed) }

func isWay(name string) bool {
	return slices.ContainsFunc(allWays(), func(w way) bool { return w.name == name })
}

// casesOf are the files in each of the ways that are others to them.
func casesOf(files []*corpusFile, ways []way) []*corpusCase {
	var cases []*corpusCase
	for _, w := range ways {
		for i, f := range files {
			sends := w.spell(f.sends)
			if sends == f.sends && w.host != plainHost {
				continue
			}
			network := 1 + slices.IndexFunc(allWays(), func(other way) bool { return other == w })
			cases = append(cases, &corpusCase{
				corpusFile: f, way: w, sends: sends,
				client: fmt.Sprintf("127.%d.%d.%d", network, i/200, i%200+1),
			})
		}
	}
	return cases
}

// spelledHost is the host where it stands alone, or begins what is no host.
var spelledHost = regexp.MustCompile(`(^|[^\w.:-])shop\.test($|[^\w.:-])`)

// spell has the first request that a file sends name the host of the way. What
// comes after it, and a body, may be counted by a length.
func (w way) spell(sends string) string {
	var b strings.Builder
	begun := false
	for line := range strings.Lines(sends) {
		begun = begun || line == "\n"
		if !begun && !strings.HasPrefix(line, "!data") {
			line = spelledHost.ReplaceAllString(line, "${1}"+w.host+"${2}")
		}
		b.WriteString(line)
	}
	return b.String()
}

// plainAnswer is an answer as it would be to the host that files name.
func (w way) plainAnswer(text string) string {
	return strings.ReplaceAll(text, "//"+w.host+"/", "//"+plainHost+"/")
}

// plainly is a request as it would be for the host that files name, if it is for
// the host that was sent.
func (c *corpusCase) plainly(r *received) *received {
	out := *r
	out.Fields = slices.Clone(r.Fields)
	for i, f := range out.Fields {
		switch {
		case !strings.EqualFold(f.Name, "host"):
		case f.Value == c.way.host:
			out.Fields[i].Value = plainHost
		case f.Value == plainHost && !spelledHost.MatchString(c.sends):
			out.Fields[i].Value = "that nobody sent: " + plainHost
		}
	}
	return &out
}

// connect comes from the case's own address.
func (c *corpusCase) connect() (net.Conn, error) {
	if !c.way.tls {
		return connect(c.client)
	}
	conn, err := connectTo(c.client, addressTLS)
	if err != nil {
		return nil, err
	}
	secured := tls.Client(conn, &tls.Config{
		ServerName: c.way.host, InsecureSkipVerify: true,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &staff, nil },
	})
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return nil, err
	}
	return secured, secured.Handshake()
}

// staff is the certificate by which clients are known where that is asked.
var staff tls.Certificate

// newWholeSite is one with all hosts that the named ways lead to.
func newWholeSite(t *testing.T) *site {
	return newSite(t, options{
		settings: func(s *route.Settings) { s.HTTPSPort = 8443 },
		publish: func(ads *server.Server) {
			secure(t, ads)
			key := route.Key{Gateway: route.DefaultGateway, Host: "staff.test"}
			ads.PublishHost(key, &route.Host{Key: key, Routes: shop(), Client: &route.ClientPolicy{CA: staffCA, Required: true}})
		},
	})
}

// newDefaultSite is one with a default host.
func newDefaultSite(t *testing.T) *site {
	return newSite(t, options{publish: func(ads *server.Server) {
		key := route.Key{Gateway: route.DefaultGateway, Host: route.AnyHost}
		ads.PublishHost(key, &route.Host{Key: key, Routes: shop()})
	}})
}

var staffCA = types.NamespacedName{Namespace: "shop", Name: "staff-ca"}

// secure publishes a certificate for all names and an authority for clients, and
// makes staff one that it signed.
func secure(t *testing.T, ads *server.Server) {
	t.Helper()
	signer, err := authority.New("staff", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	identity, err := signer.Issue(pkix.Name{CommonName: "ann"}, []string{plainHost, "staff.test"})
	if err != nil {
		t.Fatal(err)
	}
	if staff, err = tls.X509KeyPair(identity.Certificate, identity.Key); err != nil {
		t.Fatal(err)
	}
	ads.PublishClientCA(staffCA, signer.PEM())
	ads.PublishCertificate(route.Key{Gateway: route.DefaultGateway, Host: route.AnyHost}, &route.Certificate{
		Chain: identity.Certificate, Key: secret.New(identity.Key),
	})
}
