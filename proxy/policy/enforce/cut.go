package enforce

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"time"

	"github.com/fairwaynet/fairway/proxy/nft"
	"github.com/fairwaynet/fairway/proxy/nft/conntrack"
	"github.com/fairwaynet/fairway/proxy/policy"
)

// cutting is a connection that was cut.
type cutting struct {
	flow  policy.Flow
	until time.Time // when its elements run out
}

const cutKey nft.Key = "cut"

// few addresses are looked up one by one: each costs two walks through all connections in the kernel,
// which is cheaper than to be told all.
const few = 4

// find calls each for the connections of addresses, whichever side they are.
func (e *Enforcer) find(ctx context.Context, addresses []netip.Addr, each func(conntrack.Connection)) error {
	if len(addresses) > few {
		return e.Connections.List(ctx, func(c conntrack.Connection) {
			if slices.Contains(addresses, c.Original.Source) || slices.Contains(addresses, c.Reply.Source) {
				each(c)
			}
		})
	}
	var wrong []error
	for _, a := range addresses {
		for _, m := range []conntrack.Match{{Original: conntrack.Tuple{Source: a}}, {Reply: conntrack.Tuple{Source: a}}} {
			wrong = append(wrong, e.Connections.Find(ctx, m, each))
		}
	}
	return errors.Join(wrong...)
}

// flowOf is the first packet of a connection as the chains saw it.
func flowOf(c conntrack.Match) policy.Flow {
	return policy.Flow{From: c.Original.Source, To: c.Reply.Source, Protocol: c.Original.Protocol, Port: c.Reply.SourcePort}
}

// cut ends the connections of addresses that are no longer allowed, and gives those free that are again. It
// returns how many it has ended.
func (e *Enforcer) cut(ctx context.Context, addresses []netip.Addr) (int, error) {
	changed := e.release()
	denied, err := e.denied(ctx, addresses)
	if err != nil {
		return 0, err
	}
	for _, c := range denied {
		if ports(c.Original.Protocol) && len(e.cuts) < policy.MostCut {
			e.cuts[c.Match] = cutting{flowOf(c.Match), e.Now().Add(policy.CutFor)}
			changed = true
		}
	}
	if changed {
		if err := e.writeCuts(ctx); err != nil {
			return 0, err
		}
	}
	var wrong []error
	for _, c := range denied {
		wrong = append(wrong, e.Connections.Remove(ctx, c))
	}
	return len(denied), errors.Join(wrong...)
}

// denied are the connections of addresses that are not allowed.
func (e *Enforcer) denied(ctx context.Context, addresses []netip.Addr) ([]conntrack.Connection, error) {
	if len(addresses) == 0 {
		return nil, nil
	}
	own, err := e.Own()
	if err != nil {
		return nil, err
	}
	slices.SortFunc(addresses, netip.Addr.Compare)
	addresses = slices.Compact(addresses)
	var all []conntrack.Connection
	if err := e.find(ctx, addresses, func(c conntrack.Connection) { all = append(all, c) }); err != nil {
		return nil, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.DeleteFunc(all, func(c conntrack.Connection) bool {
		return slices.Contains(own, c.Original.Source) || !e.book.Judge(flowOf(c.Match)).Denied
	}), nil
}

// release forgets cuts that have run out, and those whose flow is allowed again. It says whether there were any.
func (e *Enforcer) release() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	released := false
	for m, c := range e.cuts {
		if e.Now().After(c.until) || !e.book.Judge(c.flow).Denied {
			delete(e.cuts, m)
			released = true
		}
	}
	return released
}

func ports(protocol uint8) bool { return policy.HasPorts(protocol) }

// writeCuts writes the elements of all that are cut.
func (e *Enforcer) writeCuts(ctx context.Context) error {
	flows := map[policy.Flow][]uint16{} // and their clients' ports
	for m, c := range e.cuts {
		flows[c.flow] = append(flows[c.flow], m.Original.SourcePort)
	}
	for f, part := range policy.Cut(flows) {
		if err := e.Engine.Submit(policy.TableKey(f), cutKey, part); err != nil {
			return err
		}
	}
	result, err := e.Engine.Commit(ctx, Tables()...)
	for _, refused := range result.Refused {
		if refused.Key == cutKey {
			err = errors.Join(err, refused.Err)
		}
	}
	return err
}
