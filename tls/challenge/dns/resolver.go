// Package dns reads and changes DNS for challenges: it finds the records and the
// servers of a name, and keeps TXT records for DNS-01.
//
// It is the only user of the DNS library. It takes no answer for a proof: answers
// come without DNSSEC, and decide only whether to go on, never what is believed of a
// name. Its invariants: every question has a timeout, and every walk a bound on its
// steps.
package dns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// Resolver asks DNS servers that answer for all names, one after the other until
// one does.
type Resolver struct {
	// Servers are where they are, each "address:port".
	Servers []string
	// Timeout is of one question to one server; 0 is 3 s.
	Timeout time.Duration
	// AuthorityPort is the port of the servers of zones; 0 is 53.
	AuthorityPort uint16
}

// systemFile says which servers this machine asks.
const systemFile = "/etc/resolv.conf"

// System is the Resolver of this machine.
func System() (*Resolver, error) {
	config, err := dns.ClientConfigFromFile(systemFile)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", systemFile, err)
	}
	r := &Resolver{}
	for _, server := range config.Servers {
		r.Servers = append(r.Servers, net.JoinHostPort(server, config.Port))
	}
	return r, nil
}

// ErrNoSuchName says that there is no such name: NXDOMAIN.
var ErrNoSuchName = errors.New("there is no such name in DNS") // a constant

// The bounds of a question.
const (
	maxUDP      = 1232 // bytes that no path fragments
	maxAliases  = 8
	maxAnswers  = 100 // records of an answer that are looked at
	defaultTime = 3 * time.Second
)

// Addresses is all addresses of a name, of both families, IPv6 first. None, and
// no error: the name exists and has none.
func (r *Resolver) Addresses(ctx context.Context, name string) ([]netip.Addr, error) {
	var all []netip.Addr
	six, err6 := r.records(ctx, name, dns.TypeAAAA)
	four, err4 := r.records(ctx, name, dns.TypeA)
	for _, record := range append(six, four...) {
		var ip net.IP
		switch record := record.(type) {
		case *dns.AAAA:
			ip = record.AAAA
		case *dns.A:
			ip = record.A
		}
		if address, ok := netip.AddrFromSlice(ip); ok {
			all = append(all, address.Unmap())
		}
	}
	if len(all) > 0 {
		return all, nil // one of the two answers is enough
	}
	return nil, errors.Join(err6, err4)
}

// CAA is one property of RFC 8659.
type CAA struct {
	Critical   bool
	Tag, Value string
}

// CAA is the properties that restrict which authorities may issue for a name: those
// of the name, or of the nearest name above it that has any, and that name. Without
// any, every authority may.
func (r *Resolver) CAA(ctx context.Context, name string) (properties []CAA, at string, err error) {
	for at = strings.TrimSuffix(name, "."); at != ""; {
		records, err := r.records(ctx, at, dns.TypeCAA)
		if err != nil && !errors.Is(err, ErrNoSuchName) {
			return nil, "", err
		}
		for _, record := range records {
			if caa, ok := record.(*dns.CAA); ok {
				properties = append(properties, CAA{caa.Flag&128 != 0, strings.ToLower(caa.Tag), caa.Value})
			}
		}
		if len(properties) > 0 {
			return properties, at, nil
		}
		_, at, _ = strings.Cut(at, ".")
	}
	return nil, "", nil
}

// TXT is the texts of a name.
func (r *Resolver) TXT(ctx context.Context, name string) ([]string, error) {
	records, err := r.records(ctx, name, dns.TypeTXT)
	return texts(records), err
}

func texts(records []dns.RR) []string {
	var all []string
	for _, record := range records {
		if txt, ok := record.(*dns.TXT); ok {
			all = append(all, strings.Join(txt.Txt, ""))
		}
	}
	return all
}

// Canonical is the name that a name is an alias for, by however many CNAMEs; of
// one that is none, or does not exist, itself.
func (r *Resolver) Canonical(ctx context.Context, name string) (string, error) {
	for range maxAliases {
		answer, err := r.ask(ctx, name, dns.TypeCNAME)
		if err != nil {
			return "", err
		}
		target := ""
		for _, record := range answer.Answer {
			if alias, ok := record.(*dns.CNAME); ok && sameName(alias.Hdr.Name, name) {
				target = alias.Target
			}
		}
		if target == "" {
			return strings.TrimSuffix(name, "."), nil
		}
		name = target
	}
	return "", fmt.Errorf("%s is an alias of an alias of an alias …", name)
}

// Zone is the zone that a name lies in: the name of its SOA record.
func (r *Resolver) Zone(ctx context.Context, name string) (string, error) {
	for at := strings.TrimSuffix(name, "."); at != ""; _, at, _ = strings.Cut(at, ".") {
		answer, err := r.ask(ctx, at, dns.TypeSOA)
		if err != nil {
			return "", fmt.Errorf("find the zone of %s: %w", name, err)
		}
		for _, record := range append(answer.Answer, answer.Ns...) {
			soa, ok := record.(*dns.SOA)
			if ok && dns.IsSubDomain(soa.Hdr.Name, dns.Fqdn(at)) && soa.Hdr.Name != "." {
				return strings.TrimSuffix(strings.ToLower(soa.Hdr.Name), "."), nil
			}
		}
	}
	return "", fmt.Errorf("find the zone of %s: no name above it has a SOA record", name)
}

// authorities is the addresses of the servers of a zone.
func (r *Resolver) authorities(ctx context.Context, zone string) (map[string][]netip.Addr, error) {
	records, err := r.records(ctx, zone, dns.TypeNS)
	if err != nil {
		return nil, fmt.Errorf("find the servers of %s: %w", zone, err)
	}
	servers := map[string][]netip.Addr{}
	for _, record := range records {
		ns, ok := record.(*dns.NS)
		if !ok {
			continue
		}
		addresses, err := r.Addresses(ctx, ns.Ns)
		if err != nil {
			return nil, fmt.Errorf("find the server %s of %s: %w", ns.Ns, zone, err)
		}
		servers[strings.TrimSuffix(ns.Ns, ".")] = addresses
	}
	if len(servers) == 0 {
		return nil, fmt.Errorf("find the servers of %s: it names none", zone)
	}
	return servers, nil
}

// records is the answer to a question, without aliases that led to it.
func (r *Resolver) records(ctx context.Context, name string, kind uint16) ([]dns.RR, error) {
	answer, err := r.ask(ctx, name, kind)
	if err != nil {
		return nil, err
	}
	var records []dns.RR
	for _, record := range answer.Answer[:min(len(answer.Answer), maxAnswers)] {
		if record.Header().Rrtype == kind {
			records = append(records, record)
		}
	}
	if len(records) == 0 && answer.Rcode == dns.RcodeNameError {
		return nil, fmt.Errorf("%s: %w", strings.TrimSuffix(name, "."), ErrNoSuchName)
	}
	return records, nil
}

// ask asks the servers, one after the other until one knows or knows that there
// is nothing.
func (r *Resolver) ask(ctx context.Context, name string, kind uint16) (*dns.Msg, error) {
	question := new(dns.Msg)
	question.SetQuestion(dns.Fqdn(name), kind)
	question.SetEdns0(maxUDP, false)
	wrong := errors.New("there is no DNS server to ask")
	for i, server := range r.Servers {
		answer, err := r.exchange(ctx, question, server)
		if err == nil {
			return answer, nil
		}
		if wrong = errors.Join(wrong, err); i == 0 {
			wrong = err
		}
		if ctx.Err() != nil {
			break
		}
	}
	return nil, fmt.Errorf("ask for %s of %s: %w", dns.TypeToString[kind], strings.TrimSuffix(name, "."), wrong)
}

// exchange asks one server, over TCP where the answer is too long for UDP.
func (r *Resolver) exchange(ctx context.Context, question *dns.Msg, server string) (*dns.Msg, error) {
	timeout := r.Timeout
	if timeout <= 0 {
		timeout = defaultTime
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	answer, _, err := (&dns.Client{Timeout: timeout, UDPSize: maxUDP}).ExchangeContext(ctx, question, server)
	if err == nil && answer.Truncated {
		answer, _, err = (&dns.Client{Net: "tcp", Timeout: timeout}).ExchangeContext(ctx, question, server)
	}
	switch {
	case err != nil:
		return nil, err
	case answer.Rcode != dns.RcodeSuccess && answer.Rcode != dns.RcodeNameError:
		return nil, fmt.Errorf("%s answers %s", server, dns.RcodeToString[answer.Rcode])
	}
	return answer, nil
}

func sameName(a, b string) bool { return strings.EqualFold(dns.Fqdn(a), dns.Fqdn(b)) }
