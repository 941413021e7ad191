package console

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/fairwaynet/fairway/controllers/inspect/wording"
	"github.com/fairwaynet/fairway/xds/route"
	"github.com/fairwaynet/fairway/xds/server"
)

// long is how long the start may take before the Console says what it waits for.
const long = 5 * time.Second

// Envoys know what the Envoys have accepted. They are a server.Server.
type Envoys interface {
	Envoys() []server.EnvoyState
	Host(route.Key) server.HostState
}

// Await waits until the Envoy serves everything that was published, and is ready. If
// that takes long, it says what it waits for. It returns false if ctx has ended.
func (c *Console) Await(ctx context.Context, envoys Envoys, ready func(context.Context) error) bool {
	late := time.After(long)
	for {
		reason := c.waitsFor(ctx, envoys, ready)
		if reason == "" {
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case <-late:
			c.Waits(reason)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// waitsFor is the reason why not everything is served yet, or empty.
func (c *Console) waitsFor(ctx context.Context, envoys Envoys, ready func(context.Context) error) string {
	connected := envoys.Envoys()
	if len(connected) == 0 {
		return "Envoy has not connected"
	}
	if !connected[0].Synced {
		return fmt.Sprintf("Envoy has not accepted everything yet, %s left", wording.Count(connected[0].Pending, "resource"))
	}
	for _, key := range c.Hosts() {
		if state := envoys.Host(key); !state.Served && state.Rejected == "" {
			return fmt.Sprintf("host %s waits for %s", key.Host, cmp.Or(state.WaitingFor, "Envoy"))
		}
	}
	if err := ready(ctx); err != nil {
		return err.Error()
	}
	return ""
}
