// Package obstacle finds reasons for which an authority would refuse a name, before
// it is asked: a failed validation counts against rate limits, and its error says
// less than we can say.
//
// It proves nothing: an authority connects from another place. A look that fails finds
// no obstacle. Its invariants: every look has a timeout and a bound on the bytes that
// it reads; it follows no redirect to another place, repeats no text of a foreign
// server, and sends nothing secret.
package obstacle

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/fairwaynet/fairway/tls/challenge"
	"github.com/fairwaynet/fairway/tls/challenge/dns"
)

// Obstacle is a reason for which an authority would refuse a name.
type Obstacle struct {
	Reason  Reason
	Message string // tells people what is wrong, and where
}

// Reason is the kind of an Obstacle.
type Reason string

// The reasons. docs/problems.md has a remedy for each.
const (
	NoSuchName   Reason = "NoSuchName"   // DNS has no such name
	NoAddress    Reason = "NoAddress"    // DNS has no address of it
	CAAForbids   Reason = "CAAForbids"   // a CAA record keeps this authority from issuing
	WrongAnswer  Reason = "WrongAnswer"  // an address of the name gives another answer
	NotReachable Reason = "NotReachable" // no authority connects to any of its addresses
)

// String is "CAAForbids: …".
func (o Obstacle) String() string { return string(o.Reason) + ": " + o.Message }

// Names are the questions that this package asks DNS. *dns.Resolver implements it.
type Names interface {
	Addresses(ctx context.Context, name string) ([]netip.Addr, error)
	CAA(ctx context.Context, name string) (properties []dns.CAA, at string, err error)
}

// Checker looks for obstacles. It is safe for several callers at once.
type Checker struct {
	Names Names
	// Dial connects to an address and port, as net.Dialer.DialContext does; nil
	// is that. Tests lead elsewhere with it.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// The bounds of one look.
const (
	orderTimeout  = 15 * time.Second
	acceptTimeout = 15 * time.Second
	dialTimeout   = 3 * time.Second
	answerTimeout = 5 * time.Second
	maxAddresses  = 6
)

// Wish is the part of an order that decides which authority may issue.
type Wish struct {
	Name string // may be a wildcard
	// Types are the challenge types of which one will be used.
	Types []challenge.Type
	// Identities are the authority's names in CAA records: caaIdentities of its
	// directory. None: CAA records are not looked at.
	Identities []string
	// Account is the URL of our account, where it is known.
	Account string
}

// BeforeOrder finds an obstacle of a name before it is ordered; nil: none is known.
// unknown tells what could not be found out, which is no obstacle.
func (c *Checker) BeforeOrder(ctx context.Context, w Wish) (found *Obstacle, unknown error) {
	ctx, cancel := context.WithTimeout(ctx, orderTimeout)
	defer cancel()
	if needsAddress(w.Types) {
		if _, found, unknown = c.addresses(ctx, w.Name); found != nil {
			return found, nil
		}
	}
	if len(w.Identities) == 0 {
		return nil, unknown
	}
	properties, at, err := c.Names.CAA(ctx, strings.TrimPrefix(w.Name, "*."))
	if err != nil {
		return nil, errors.Join(unknown, fmt.Errorf("look for CAA records: %w", err))
	}
	if why := forbids(properties, w); why != "" {
		return &Obstacle{CAAForbids, fmt.Sprintf("the CAA records of %s %s", at, why)}, nil
	}
	return nil, unknown
}

// needsAddress reports whether an authority connects for every type of the wish.
func needsAddress(types []challenge.Type) bool {
	for _, t := range types {
		if t == challenge.DNS01 {
			return false
		}
	}
	return len(types) > 0
}

// addresses is those of a name to which an authority may connect, or the obstacle if
// there is none.
func (c *Checker) addresses(ctx context.Context, name string) (askable []netip.Addr, found *Obstacle, unknown error) {
	all, err := c.Names.Addresses(ctx, name)
	switch {
	case errors.Is(err, dns.ErrNoSuchName):
		return nil, &Obstacle{NoSuchName, fmt.Sprintf("DNS knows no name %s: create a record that leads to the gateway", name)}, nil
	case err != nil:
		return nil, nil, fmt.Errorf("look for the addresses of %s: %w", name, err)
	case len(all) == 0:
		return nil, &Obstacle{NoAddress, fmt.Sprintf("DNS has no A or AAAA record of %s: create one that leads to the gateway", name)}, nil
	}
	for _, address := range all {
		if isAskable(address) {
			askable = append(askable, address)
		}
	}
	if len(askable) == 0 {
		found = &Obstacle{NotReachable, fmt.Sprintf("DNS says that %s is at %s, where no authority can ask", name, all[0])}
	}
	return askable[:min(len(askable), maxAddresses)], found, nil
}

// isAskable reports whether an authority, and we, may connect to an address.
// Private addresses are askable: there are private authorities. Link-local ones are
// not: clouds keep secrets of their machines there.
func isAskable(a netip.Addr) bool {
	return !a.IsUnspecified() && !a.IsMulticast() && !a.IsLinkLocalUnicast() && a != netip.AddrFrom4([4]byte{255, 255, 255, 255})
}

// BeforeAccept asks as an authority will, once our own Envoys answer; nil: no obstacle
// is known. A connection that fails is no obstacle: there may be no way from here to
// our own public address.
func (c *Checker) BeforeAccept(ctx context.Context, ch challenge.Challenge) (found *Obstacle, unknown error) {
	ctx, cancel := context.WithTimeout(ctx, acceptTimeout)
	defer cancel()
	ask := c.askHTTP
	switch ch.Type {
	case challenge.TLSALPN01:
		ask = c.askTLS
	case challenge.HTTP01:
	default:
		return nil, nil
	}
	addresses, found, unknown := c.addresses(ctx, ch.Name)
	if found != nil || unknown != nil {
		return found, unknown
	}
	for _, address := range addresses {
		wrong, err := ask(ctx, ch, address)
		if wrong != "" {
			return &Obstacle{WrongAnswer, wrong}, nil
		}
		unknown = errors.Join(unknown, err)
	}
	return nil, unknown
}

// dial connects to a port of an address.
func (c *Checker) dial(ctx context.Context, address netip.Addr, port uint16) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	dial := c.Dial
	if dial == nil {
		dial = (&net.Dialer{}).DialContext
	}
	return dial(ctx, "tcp", netip.AddrPortFrom(address, port).String())
}
