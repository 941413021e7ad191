package acme

import (
	"encoding/base64"
	"io"
	"sync"
)

// permits are for one newOrder request each. Planning an order gives one out, and
// placing it takes the permit back first. So an order whose permit is not here any
// more may have been placed already: a request used it, whose answer was lost or
// never saved, or another process gave it out.
type permits struct {
	mu   sync.Mutex
	live map[string]bool
}

// maxPermits bounds the permits of orders that were planned and never placed. A
// dropped permit costs one search in the account's orders.
const maxPermits = 10_000

func (p *permits) give(random io.Reader) (string, error) {
	raw := make([]byte, 12)
	if _, err := io.ReadFull(random, raw); err != nil {
		return "", err
	}
	permit := base64.RawURLEncoding.EncodeToString(raw)
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.live) >= maxPermits {
		clear(p.live)
	}
	p.live[permit] = true
	return permit, nil
}

// held reports whether the permit was given out here and has not been taken.
func (p *permits) held(permit string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.live[permit]
}

// take reports what held reports, and takes the permit.
func (p *permits) take(permit string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	defer delete(p.live, permit)
	return p.live[permit]
}
