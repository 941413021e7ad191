package order

import (
	"context"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/time/rate"

	"github.com/fairwaynet/fairway/tls/acme"
)

// polls is what authorities suggest for certificates, of one term. A new leader
// asks anew; not for all certificates at once.
type polls struct {
	limit *rate.Limiter

	mu   sync.Mutex
	info map[Key]acme.RenewalInfo
}

// pollsPerSecond bounds how fast a new leader asks.
const pollsPerSecond = 5

func newPolls() *polls {
	return &polls{limit: rate.NewLimiter(pollsPerSecond, 2*pollsPerSecond), info: map[Key]acme.RenewalInfo{}}
}

// ask is what is suggested for the certificate; if it is not known, or no longer,
// the authority is asked. What goes wrong leaves what was known.
func (p *polls) ask(ctx context.Context, client *acme.Client, key Key, chain []byte, now time.Time, log logr.Logger) acme.RenewalInfo {
	known := p.known(key)
	if now.Before(known.Next) {
		return known
	}
	if !p.limit.Allow() {
		known.Next = now.Add(time.Second)
		p.keep(key, known)
		return known
	}
	info, err := client.RenewalInfo(ctx, chain, known)
	if err != nil {
		log.V(1).Info("cannot ask when to renew", "secret", key.String(), "cause", err.Error())
	}
	p.keep(key, info)
	return info
}

func (p *polls) known(key Key) acme.RenewalInfo {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.info[key]
}

func (p *polls) keep(key Key, info acme.RenewalInfo) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.info[key] = info
}

// next is when to ask again.
func (p *polls) next(key Key) time.Time { return p.known(key).Next }

func (p *polls) forget(key Key) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.info, key)
}
