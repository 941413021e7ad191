package road

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/go-logr/logr/funcr"

	"github.com/fairwaynet/fairway/test/tools"
	"github.com/fairwaynet/fairway/xds/gateway"
)

// Envoy is one Envoy of the gateway. All listen on port 8080 of every address;
// the kernel spreads connections over them when there are several.
type Envoy struct {
	process *gateway.Process
	stop    context.CancelFunc
	ended   chan struct{}
}

// startEnvoy runs an Envoy until the test ends.
func (r *Road) startEnvoy(t testing.TB, i int) *Envoy {
	t.Helper()
	dir := r.path("envoy", i)
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	log := &tail{}
	e := &Envoy{ended: make(chan struct{}), process: &gateway.Process{
		Path: tools.Path(t, "envoy"),
		Dir:  dir,
		Bootstrap: gateway.Bootstrap{
			Gateway: gatewayName,
			Node:    fmt.Sprintf("envoy-%d", i),
			XDS:     gateway.XDS{Address: r.XDS.String()},
			Admin:   filepath.Join(dir, "admin"),
		},
		Workers: 2,
		Log:     funcr.New(func(_, line string) { fmt.Fprintln(log, line) }, funcr.Options{}),
	}}
	ctx, cancel := context.WithCancel(context.Background())
	e.stop = cancel
	go func() {
		defer close(e.ended)
		if err := e.process.Run(ctx); err != nil {
			fmt.Fprintln(log, err)
		}
	}()
	t.Cleanup(func() {
		e.Stop()
		if t.Failed() {
			t.Logf("last words of envoy %d:\n%s", i, log)
		}
	})
	return e
}

// WaitReady waits until Envoy serves.
func (e *Envoy) WaitReady(t testing.TB) {
	t.Helper()
	Eventually(t, 2*time.Minute, func(ctx context.Context) error {
		select {
		case <-e.ended:
			return errors.New("envoy has ended")
		default:
			return e.process.Ready(ctx)
		}
	})
}

// Stop drains and stops Envoy.
func (e *Envoy) Stop() {
	e.stop()
	<-e.ended
}
