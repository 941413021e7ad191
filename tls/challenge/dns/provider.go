package dns

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/miekg/dns"

	"github.com/fairwaynet/fairway/tls/challenge"
)

// Provider keeps TXT records in a DNS zone. An implementation needs no memory: both
// methods describe the wanted state, and may be called again after a crash. It is
// safe for several callers at once.
type Provider interface {
	// Present makes value one of the TXT records of name, which has no trailing
	// dot and is no alias. Others of the name stay: a certificate for a name and
	// its wildcard needs two. If it is there already nothing changes.
	Present(ctx context.Context, name, value string) error
	// Remove takes value from the TXT records of name. Others stay. If it is
	// not there, nor the name, nothing changes.
	Remove(ctx context.Context, name, value string) error
}

// Solver presents challenges of DNS-01 through a Provider. It follows aliases: where
// Fairway must not change a zone, its owner makes _acme-challenge an alias of a name
// that Fairway may change.
type Solver struct {
	Provider Provider
	Resolver *Resolver
}

// Present has the record of a challenge made. Presented says when it can be seen.
func (s *Solver) Present(ctx context.Context, c challenge.Challenge) error {
	name, value, err := s.record(ctx, c)
	if err != nil {
		return err
	}
	if err := s.Provider.Present(ctx, name, value); err != nil {
		return fmt.Errorf("present TXT record of %s: %w", name, err)
	}
	return nil
}

// Remove has the record of a challenge removed.
func (s *Solver) Remove(ctx context.Context, c challenge.Challenge) error {
	name, value, err := s.record(ctx, c)
	if err != nil {
		return err
	}
	if err := s.Provider.Remove(ctx, name, value); err != nil {
		return fmt.Errorf("remove TXT record of %s: %w", name, err)
	}
	return nil
}

// record is the name under which the record of a challenge is kept, and its value.
func (s *Solver) record(ctx context.Context, c challenge.Challenge) (name, value string, err error) {
	if c.Type != challenge.DNS01 {
		return "", "", fmt.Errorf("%s is not answered by DNS", c)
	}
	name, value = c.Record()
	name, err = s.Resolver.Canonical(ctx, name)
	return name, value, err
}

// Presented reports whether every server of the zone tells the record of a
// challenge, at each of its addresses: an authority may ask any. why names a server
// that does not. If no server can be reached from here, the answer of our own
// resolver counts.
func (s *Solver) Presented(ctx context.Context, c challenge.Challenge) (ok bool, why string, err error) {
	name, value, err := s.record(ctx, c)
	if err != nil {
		return false, "", err
	}
	zone, err := s.Resolver.Zone(ctx, name)
	if err != nil {
		return false, "", err
	}
	servers, err := s.Resolver.authorities(ctx, zone)
	if err != nil {
		return false, "", err
	}
	reached := false
	var deaf []string
	for _, server := range slices.Sorted(maps.Keys(servers)) {
		for _, address := range servers[server] {
			texts, err := s.Resolver.textsAt(ctx, address, name)
			switch {
			case err != nil && ctx.Err() != nil:
				return false, "", ctx.Err()
			case err != nil:
				deaf = append(deaf, fmt.Sprintf("server %s (%s) of zone %s does not answer: %v", server, address, zone, err))
			case !slices.Contains(texts, value):
				return false, fmt.Sprintf("server %s (%s) of zone %s does not tell the record of %s yet", server, address, zone, name), nil
			default:
				reached = true
			}
		}
	}
	switch {
	case reached && len(deaf) > 0 && !isOnlyOtherFamily(deaf):
		return false, deaf[0], nil
	case reached:
		return true, "", nil
	}
	return s.recursively(ctx, name, value, deaf)
}

// isOnlyOtherFamily reports whether all that fails is a family of addresses that
// this machine has no way to.
func isOnlyOtherFamily(deaf []string) bool {
	return !slices.ContainsFunc(deaf, func(why string) bool {
		return !strings.Contains(why, "network is unreachable") && !strings.Contains(why, "cannot assign requested address")
	})
}

func (s *Solver) recursively(ctx context.Context, name, value string, deaf []string) (ok bool, why string, err error) {
	texts, err := s.Resolver.TXT(ctx, name)
	switch {
	case err != nil && !errors.Is(err, ErrNoSuchName):
		return false, "", err
	case slices.Contains(texts, value):
		return true, "", nil
	}
	return false, fmt.Sprintf("the record of %s cannot be seen yet: %s", name, strings.Join(deaf, "; ")), nil
}

// textsAt is the texts that one server knows itself, without asking others.
func (r *Resolver) textsAt(ctx context.Context, server netip.Addr, name string) ([]string, error) {
	port := r.AuthorityPort
	if port == 0 {
		port = 53
	}
	question := new(dns.Msg)
	question.SetQuestion(dns.Fqdn(name), dns.TypeTXT)
	question.RecursionDesired = false
	question.SetEdns0(maxUDP, false)
	answer, err := r.exchange(ctx, question, net.JoinHostPort(server.String(), strconv.Itoa(int(port))))
	if err != nil {
		return nil, err
	}
	return texts(answer.Answer), nil
}
