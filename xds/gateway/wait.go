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
	// lookAgain is how often files that are not there yet are looked for.
	lookAgain = 500 * time.Millisecond
	// sayAgain is how often it is said that they are waited for.
	sayAgain = 30 * time.Second
)

// Wait waits until the files are there and belong together, and says what it
// waits for. It returns false when ctx ended first. Without TLS there is
// nothing to wait for.
func (t *TLS) Wait(ctx context.Context, log logr.Logger) bool {
	if t == nil {
		return true
	}
	tick := time.NewTicker(lookAgain)
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
		if err.Error() != said || time.Since(at) > sayAgain {
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

// check is why Envoy could not use the files. It reads them itself, and less
// patiently than we do: a chain that it reads a part of only is worse than none.
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
