package dns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/miekg/dns"

	"github.com/fairwaynet/fairway/api/secret"
)

// RFC2136 is a Provider that updates a zone at its primary server (RFC 2136). BIND,
// Knot, NSD's companions, PowerDNS and Windows allow that to the holder of a key.
type RFC2136 struct {
	// Server is the primary's "host:port"; without a port it is 53.
	Server string
	// Zone is that of all names; empty: it is found by the SOA record.
	Zone string
	// TSIG signs updates (RFC 8945); nil: they are not signed, which is for a
	// server that knows us by our address.
	TSIG *TSIG
	// Resolver finds zones.
	Resolver *Resolver
	// Now is the clock: a server refuses signatures of another time.
	Now func() time.Time
}

// TSIG is a key that we share with a server.
type TSIG struct {
	Name      string
	Algorithm Algorithm
	Secret    secret.Bytes // base64, as the server's configuration has it
}

// Algorithm is how updates are signed.
type Algorithm string

// The algorithms.
const (
	HMACSHA256 Algorithm = "hmac-sha256"
	HMACSHA512 Algorithm = "hmac-sha512"
)

// recordTTL is that of the records, in seconds: resolvers must not keep them.
const recordTTL = 60

// updateTimeout is how long a server may take for one update.
const updateTimeout = 10 * time.Second

var _ Provider = (*RFC2136)(nil)

// Present implements Provider.
func (p *RFC2136) Present(ctx context.Context, name, value string) error {
	return p.update(ctx, name, value, (*dns.Msg).Insert)
}

// Remove implements Provider.
func (p *RFC2136) Remove(ctx context.Context, name, value string) error {
	return p.update(ctx, name, value, (*dns.Msg).Remove)
}

// update sends one change. The server itself finds that there is nothing to do.
func (p *RFC2136) update(ctx context.Context, name, value string, change func(*dns.Msg, []dns.RR)) error {
	zone := p.Zone
	if zone == "" {
		var err error
		if zone, err = p.Resolver.Zone(ctx, name); err != nil {
			return err
		}
	}
	if !dns.IsSubDomain(dns.Fqdn(zone), dns.Fqdn(name)) {
		return fmt.Errorf("%s is not in zone %s", name, zone)
	}
	message := new(dns.Msg)
	message.SetUpdate(dns.Fqdn(zone))
	change(message, []dns.RR{&dns.TXT{
		Hdr: dns.RR_Header{Name: dns.Fqdn(name), Rrtype: dns.TypeTXT, Class: dns.ClassINET, Ttl: recordTTL},
		Txt: []string{value},
	}})
	return p.send(ctx, message, zone)
}

// send sends an update over TCP, where only the server can answer.
func (p *RFC2136) send(ctx context.Context, message *dns.Msg, zone string) error {
	ctx, cancel := context.WithTimeout(ctx, updateTimeout)
	defer cancel()
	client := &dns.Client{Net: "tcp", Timeout: updateTimeout}
	if p.TSIG != nil {
		if err := p.sign(client, message); err != nil {
			return err
		}
	}
	answer, _, err := client.ExchangeContext(ctx, message, serverAddress(p.Server))
	switch {
	case errors.Is(err, dns.ErrAuth): // a signed NOTAUTH
		return fmt.Errorf("update zone %s at %s: the server answers NOTAUTH%s", zone, p.Server, hint(dns.RcodeNotAuth))
	case err != nil:
		return fmt.Errorf("update zone %s at %s: %w", zone, p.Server, err)
	case answer.Rcode == dns.RcodeSuccess && p.TSIG != nil && answer.IsTsig() == nil:
		return fmt.Errorf("update zone %s at %s: the answer is not signed: anybody may have sent it", zone, p.Server)
	case answer.Rcode != dns.RcodeSuccess:
		return fmt.Errorf("update zone %s at %s: the server answers %s%s", zone, p.Server, dns.RcodeToString[answer.Rcode], hint(answer.Rcode))
	}
	return nil
}

func (p *RFC2136) sign(client *dns.Client, message *dns.Msg) error {
	name := strings.ToLower(dns.Fqdn(p.TSIG.Name))
	var algorithm string
	switch p.TSIG.Algorithm {
	case HMACSHA256, "":
		algorithm = dns.HmacSHA256
	case HMACSHA512:
		algorithm = dns.HmacSHA512
	default:
		return fmt.Errorf("TSIG algorithm %q: only %s and %s are known", p.TSIG.Algorithm, HMACSHA256, HMACSHA512)
	}
	key := strings.TrimSpace(string(p.TSIG.Secret.Reveal()))
	if key == "" {
		return errors.New("the TSIG secret is empty")
	}
	client.TsigSecret = map[string]string{name: key}
	message.SetTsig(name, algorithm, 300, p.Now().Unix())
	return nil
}

// hint tells people the usual cause of an answer.
func hint(rcode int) string {
	switch rcode {
	case dns.RcodeNotAuth:
		return ": it does not know the TSIG key, has another secret for it, another time, or is not the primary of the zone"
	case dns.RcodeRefused:
		return ": it does not let this key or address change the record"
	case dns.RcodeNotZone:
		return ": the name is not in the zone"
	}
	return ""
}

// serverAddress is server with the usual port if it has none.
func serverAddress(server string) string {
	if _, _, err := net.SplitHostPort(server); err == nil {
		return server
	}
	return net.JoinHostPort(strings.Trim(server, "[]"), "53")
}
