package node

import (
	"context"
	"strings"
	"time"
)

// watchTables puts back what others change of the tables, once they are in the kernel.
func (a *Agent) watchTables(ctx context.Context) error {
	const interval = time.Second
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		if !a.written.Load() {
			continue
		}
		changes, err := a.Engine.Check(ctx)
		if err != nil && ctx.Err() == nil {
			a.Log.Error(err, "look at the tables")
		}
		var all []string
		for _, change := range changes {
			all = append(all, change.String())
		}
		a.mended(ctx, all)
		if len(changes) > 0 && a.Services != nil {
			a.Services.keeper.Mended()
		}
		if a.keeper != nil && (err != nil || len(changes) > 0) {
			a.keeper.Wake() // who changed the tables may have changed more
		}
	}
}

// mended tells what somebody else had changed, and was put back: in one event, since an
// object gets few.
func (a *Agent) mended(ctx context.Context, all []string) {
	if len(all) == 0 {
		return
	}
	what := strings.Join(all, "; ")
	a.Log.Info("somebody else changed the network of this node, and it was put back", "what", what)
	a.Told.Mended(ctx, what)
	a.Metrics.mended.Add(float64(len(all)))
}
