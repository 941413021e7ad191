package gateway

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

const (
	// pressureFile is where Envoy reads how near its connections are to their
	// bound, from 0 to 1: it refuses those beyond, but tells no action of it.
	pressureFile = "connections"
	// pressureEvery is how often it is told.
	pressureEvery = 500 * time.Millisecond
)

// tell tells Envoy how near its connections are to their bound, until ctx ends.
func (p *Process) tell(ctx context.Context, bound int64) {
	tick := time.NewTicker(pressureEvery)
	defer tick.Stop()
	told := -1
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		open, err := p.Admin().Connections(ctx)
		if err != nil {
			continue // it is starting, or ending
		}
		percent := int(min(open*100/uint64(max(bound, 1)), 100))
		if percent == told {
			continue
		}
		if err := writePressure(p.Dir, percent); err != nil {
			p.Log.Error(err, "cannot tell envoy how many connections there are")
			continue
		}
		told = percent
	}
}

// writePressure replaces the file as a whole, which is what Envoy watches for.
func writePressure(dir string, percent int) error {
	path := filepath.Join(dir, pressureFile)
	text := strconv.FormatFloat(float64(percent)/100, 'f', 2, 64)
	if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
		return fmt.Errorf("write pressure: %w", err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return fmt.Errorf("write pressure: %w", err)
	}
	return nil
}
