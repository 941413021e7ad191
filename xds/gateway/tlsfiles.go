package gateway

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/go-logr/logr"

	"github.com/fairwaynet/fairway/api/pemfile"
)

const (
	// tlsFilesInterval is how often Wait looks for the files.
	tlsFilesInterval = 500 * time.Millisecond
	// tlsFilesLogInterval is how often Wait logs that it waits.
	tlsFilesLogInterval = 30 * time.Second
)

// Wait waits until the files are there and belong together, and logs what it waits for. It
// returns false if ctx ends first. Without TLS there is nothing to wait for.
func (t *TLS) Wait(ctx context.Context, log logr.Logger) bool {
	if t == nil {
		return true
	}
	tick := time.NewTicker(tlsFilesInterval)
	defer tick.Stop()
	var said string
	var at time.Time
	for {
		err := t.check()
		if err == nil {
			if said != "" {
				log.Info("the certificate is there", "file", t.Certificate)
			}
			return true
		}
		if err.Error() != said || time.Since(at) > tlsFilesLogInterval {
			said, at = err.Error(), time.Now()
			log.Info("waiting for the certificate with which Envoy connects to the controllers", "reason", said)
		}
		select {
		case <-ctx.Done():
			return false
		case <-tick.C:
		}
	}
}

// check returns the reason why Envoy cannot use the files. Envoy's own reader of PEM is
// stricter than Go's: it may read a part of a chain, which is worse than none.
func (t *TLS) check() error {
	if _, err := t.config(); err != nil {
		return err
	}
	for _, path := range []string{t.CA, t.Certificate, t.Key} {
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if !pemfile.IsPlain(text) {
			return fmt.Errorf("%s: write it without a byte order mark, and each line -----BEGIN …----- and -----END …----- "+
				"as a line of its own: Envoy reads no other PEM", path)
		}
	}
	return nil
}
