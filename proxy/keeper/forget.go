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
	serving     service.Serving
	swept       bool              // connections of before the start were looked at
	stale       []conntrack.Match // to be forgotten
	// A packet that was led before a commit can make its connection known after it was
	// forgotten. So all is forgotten twice, a moment apart.
	fresh, ripe []conntrack.Match
	again       *time.Timer // for ripe
}

// moment is how long a packet may take at most from a look-up to the end of its hooks.
const moment = time.Second

func newForgetter(connections Connections) *forgetter {
	again := time.NewTimer(moment)
	again.Stop()
	return &forgetter{connections: connections, again: again}
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
		err := f.connections.List(ctx, func(m conntrack.Match) {
			if f.serving.Stale(m) {
				f.stale = append(f.stale, m)
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
	var wrong []error
	for _, m := range all {
		if err := f.connections.Delete(ctx, m); err != nil {
			wrong = append(wrong, err)
			f.stale = append(f.stale, m)
			continue
		}
		f.fresh = append(f.fresh, m)
	}
	if len(f.fresh) > 0 && f.ripe == nil {
		f.ripen()
	}
	return errors.Join(wrong...)
}

// ripen makes what was forgotten now be forgotten again a moment later.
func (f *forgetter) ripen() {
	f.ripe, f.fresh = f.fresh, nil
	if len(f.ripe) > 0 {
		f.again.Reset(moment)
	}
}

// repeat forgets again what is still stale. It reports whether forget must be called: not
// all could be deleted.
func (f *forgetter) repeat(ctx context.Context) bool {
	for _, m := range f.ripe {
		still, is := f.serving.Again(m)
		if !is {
			continue
		}
		if err := f.connections.Delete(ctx, still); err != nil {
			f.stale = append(f.stale, still)
		}
	}
	f.ripen()
	return len(f.stale) > 0
}
