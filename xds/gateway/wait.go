package gateway

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/go-logr/logr"
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

// check is why Envoy could not use the files.
func (t *TLS) check() error {
	authorities, err := os.ReadFile(t.CA)
	if err != nil {
		return err
	}
	if !x509.NewCertPool().AppendCertsFromPEM(authorities) {
		return fmt.Errorf("no certificate in %s", t.CA)
	}
	pair, err := tls.LoadX509KeyPair(t.Certificate, t.Key)
	if err != nil {
		return err
	}
	if pair.Leaf == nil {
		return errors.New("no certificate in " + t.Certificate)
	}
	return nil
}
