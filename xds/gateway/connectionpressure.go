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
	// pressureFile tells Envoy how near its connections are to their bound, from 0 to 1.
	// Envoy itself refuses connections beyond it, but its actions do not learn of that.
	pressureFile = "connections"
	// pressureEvery is how often the file is written.
	pressureEvery = 500 * time.Millisecond
)

// reportPressure tells Envoy how near its connections are to their bound, until ctx ends.
func (p *Process) reportPressure(ctx context.Context, bound int64) {
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
			continue // Envoy is starting, or ending
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

// writePressure replaces the file as a whole: Envoy watches for a rename.
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
