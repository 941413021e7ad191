package keeper

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/fairwaynet/fairway/proxy/nft/conntrack"
	"github.com/fairwaynet/fairway/proxy/service"
)

// forgetter forgets the connections that changes leave with somebody who no longer serves.
// It is for one goroutine.
type forgetter struct {
	connections Connections
	// await lets answers pass that are on their way to connections about to be forgotten: all
	// that wait, each time.
	await   func(context.Context, []conntrack.Connection) error
	serving service.Serving
	swept   bool              // connections of before the start were looked at
	stale   []conntrack.Match // to be forgotten
	// A packet that was led before a commit can make its connection known after it was
	// forgotten. So all is forgotten twice, a moment apart. Answers are awaited as long.
	fresh, ripe forgotten
	again       *time.Timer // for ripe
}

// forgotten is what was forgotten, and the connections that were.
type forgotten struct {
	matches     []conntrack.Match
	connections []conntrack.Connection
}

func (f forgotten) empty() bool { return len(f.matches) == 0 && len(f.connections) == 0 }

// moment is how long a packet may take at most from a look-up to the end of its hooks, and an
// answer from who was asked.
const moment = 2 * time.Second

// few matches are looked up one by one: each costs a walk through all connections in the kernel,
// which is cheaper than to be told all.
const few = 8

func newForgetter(connections Connections, await func(context.Context, []conntrack.Connection) error) *forgetter {
	again := time.NewTimer(moment)
	again.Stop()
	return &forgetter{connections: connections, await: await, again: again}
}

// changed notes what changes.
func (f *forgetter) changed(changes []change, written map[name]*service.Service, cluster service.Cluster) {
	for _, c := range changes {
		if f.swept {
			f.stale = append(f.stale, service.Stale(written[c.name], c.after, cluster.NodeAddresses)...)
		}
		f.serving.Remove(written[c.name])
	}
	for _, c := range changes { // one may have now what another had
		f.serving.Add(c.after)
	}
	f.serving.Cluster = cluster
}

// forget deletes connections. The first time it looks at all that there are: an earlier
// agent may have ended between a change and its forgetting. What it cannot delete it keeps
// for the next time.
func (f *forgetter) forget(ctx context.Context) error {
	if !f.swept {
		err := f.connections.List(ctx, func(c conntrack.Connection) {
			if f.serving.Stale(c.Match) {
				f.stale = append(f.stale, c.Match)
			}
		})
		if err != nil {
			f.stale = nil // the next time finds them all
			return fmt.Errorf("look for connections of before: %w", err)
		}
		f.swept = true
	}
	slices.SortFunc(f.stale, conntrack.Match.Compare)
	all := slices.Compact(f.stale)
	f.stale = nil
	if err := f.delete(ctx, all); err != nil {
		f.stale = all
		return err
	}
	f.fresh.matches = append(f.fresh.matches, all...)
	if f.ripe.empty() {
		f.ripen()
	}
	return nil
}

// delete deletes the connections of matches, and lets answers pass that are on their way to
// them. What fails does not keep the rest.
func (f *forgetter) delete(ctx context.Context, matches []conntrack.Match) error {
	if len(matches) == 0 {
		return nil
	}
	found, err := f.find(ctx, matches)
	if err != nil {
		return err
	}
	var wrong []error
	if len(found) > 0 {
		f.fresh.connections = append(f.fresh.connections, found...)
		if err := f.await(ctx, slices.Concat(f.ripe.connections, f.fresh.connections)); err != nil {
			wrong = append(wrong, fmt.Errorf("await answers to connections: %w", err))
		}
	}
	if len(matches) <= few {
		for _, m := range matches { // which has also what came meanwhile
			wrong = append(wrong, f.connections.Delete(ctx, m))
		}
	} else {
		for _, c := range found {
			wrong = append(wrong, f.connections.Remove(ctx, c))
		}
	}
	return errors.Join(wrong...)
}

// find returns the connections of matches.
func (f *forgetter) find(ctx context.Context, matches []conntrack.Match) (found []conntrack.Connection, err error) {
	if len(matches) <= few {
		for _, m := range matches {
			if err := f.connections.Find(ctx, m, func(c conntrack.Connection) { found = append(found, c) }); err != nil {
				return nil, err
			}
		}
		return found, nil
	}
	wanted := make(map[conntrack.Match]bool, len(matches))
	for _, m := range matches {
		wanted[m] = true
	}
	err = f.connections.List(ctx, func(c conntrack.Connection) {
		for _, m := range service.Matches(c.Match) {
			if wanted[m] {
				found = append(found, c)
				return
			}
		}
	})
	return found, err
}

// ripen makes what was forgotten now be forgotten again a moment later.
func (f *forgetter) ripen() {
	f.ripe, f.fresh = f.fresh, forgotten{}
	if !f.ripe.empty() {
		f.again.Reset(moment)
	}
}

// repeat forgets again what is still stale, and awaits the answers of before no longer. It
// reports whether forget must be called: not all could be deleted.
func (f *forgetter) repeat(ctx context.Context) bool {
	last := f.ripe
	f.ripe = forgotten{}
	if len(last.connections) > 0 {
		// The next time says it again, if this one fails.
		_ = f.await(ctx, f.fresh.connections)
	}
	var still []conntrack.Match
	for _, m := range last.matches {
		if m, is := f.serving.Again(m); is {
			still = append(still, m)
		}
	}
	if f.delete(ctx, still) != nil {
		f.stale = append(f.stale, still...)
	}
	f.ripen()
	return len(f.stale) > 0
}
