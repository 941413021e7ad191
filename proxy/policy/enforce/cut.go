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

// of are the connections of addresses, whichever side they are. One look at all of them costs less than the
// kernel's search for a few: it walks its whole table for each, also through what belongs to others.
func (e *Enforcer) of(ctx context.Context, addresses []netip.Addr) (all []conntrack.Connection, err error) {
	wanted := make(map[netip.Addr]bool, len(addresses))
	for _, a := range addresses {
		wanted[a] = true
	}
	err = e.Connections.List(ctx, func(c conntrack.Connection) {
		if wanted[c.Original.Source] || wanted[c.Reply.Source] {
			all = append(all, c)
		}
	})
	return all, err
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
		if policy.HasPorts(c.Original.Protocol) && len(e.cuts) < policy.MostCut {
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
	all, err := e.of(ctx, addresses)
	if err != nil {
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
