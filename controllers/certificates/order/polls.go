package order

import (
	"context"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/fairwaynet/fairway/tls/acme"
)

// polls holds what authorities suggest for certificates, for one term. A new
// leader asks again, but not for all certificates at once.
type polls struct {
	limiter *Limiter

	mu     sync.Mutex
	info   map[Key]acme.RenewalInfo
	limits map[string]*rate.Limiter // by directory
}

// pollsPerSecond bounds how fast a new leader asks one authority.
const pollsPerSecond = 5

func newPolls(limiter *Limiter) *polls {
	return &polls{limiter: limiter, info: map[Key]acme.RenewalInfo{}, limits: map[string]*rate.Limiter{}}
}

// ask returns what the authority suggests for the certificate. It asks the
// authority if that is unknown or out of date. If the authority fails, what was
// known stays.
//
// An authority that does not answer is left alone for all of its certificates, as
// Limiter says: nothing waits for a suggestion.
func (p *polls) ask(ctx context.Context, client *acme.Client, at Requester, key Key, chain []byte, now time.Time) (acme.RenewalInfo, error) {
	known := p.known(key)
	if now.Before(known.Next) {
		return known, nil
	}
	permit, denial := p.limiter.Try(at)
	if permit == nil {
		known.Next = denial.Until
		p.keep(key, known)
		return known, nil
	}
	var outcome Outcome
	defer func() { permit.End(outcome) }()
	if !p.limitOf(at.Directory).Allow() {
		outcome.Idle = true
		known.Next = now.Add(time.Second)
		p.keep(key, known)
		return known, nil
	}
	info, err := client.RenewalInfo(ctx, chain, known)
	outcome.Authority = err
	p.keep(key, info)
	return info, err
}

func (p *polls) limitOf(directory string) *rate.Limiter {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.limits[directory] == nil {
		p.limits[directory] = rate.NewLimiter(pollsPerSecond, 2*pollsPerSecond)
	}
	return p.limits[directory]
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

// next returns when to ask again.
func (p *polls) next(key Key) time.Time { return p.known(key).Next }

func (p *polls) forget(key Key) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.info, key)
}
