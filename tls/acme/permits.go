package acme

import (
	"encoding/base64"
	"io"
	"sync"
)

// permits are for one newOrder request each. Whoever plans an order gets one;
// who places it gives it back first. So an order whose permit is not here any
// more, because it was used or because another process gave it, may have been
// placed already: by a request whose answer was lost, or was never saved.
type permits struct {
	mu   sync.Mutex
	live map[string]bool
}

// maxPermits bounds those of orders that were planned and never placed. One that
// is dropped costs a look at the account's orders.
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

// held reports whether nobody has taken it, and it was given here.
func (p *permits) held(permit string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.live[permit]
}

// take is held, and takes it.
func (p *permits) take(permit string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	defer delete(p.live, permit)
	return p.live[permit]
}
