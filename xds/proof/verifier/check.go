package verifier

import (
	"container/list"
	"time"

	"github.com/fairwaynet/fairway/xds/route"
)

// check is a name whose certificate a prover has to show.
type check struct {
	name        route.Hostname
	certificate *route.Certificate
	// since is when the certificate was published, zero if that was before the
	// prover came: then nobody waits for it.
	since time.Time

	proved     *route.Certificate // seen last
	impossible bool               // the prover has no way to see it

	queued   *list.Element // in Session.queue
	inFlight bool
	retry    *time.Timer

	failures     int
	failingSince time.Time // zero if it does not fail
	detail       string    // what was seen instead
	reported     bool      // by Events.NotServed

	waiting map[route.Hostname]struct{} // hosts that are served when this is shown
}

// isDone reports whether nothing is to be waited for.
func (c *check) isDone() bool { return c.impossible || c.proved.Equal(c.certificate) }

// isAwaited reports whether a check is of a certificate that is so new that hosts wait
// for it.
func (s *Session) isAwaited(c *check) bool {
	config := &s.verifier.config
	return !c.isDone() && !c.since.IsZero() && config.Now().Sub(c.since) < config.Patience
}

// addWaiting lets a host wait for a check, for as long as Config.Patience says.
func (s *Session) addWaiting(c *check, host route.Hostname) {
	if c.waiting == nil {
		c.waiting = make(map[route.Hostname]struct{})
		certificate, config := c.certificate, &s.verifier.config
		config.After(c.since.Add(config.Patience).Sub(config.Now()), func() {
			if c.certificate == certificate {
				s.endWait(c)
			}
		})
	}
	c.waiting[host] = struct{}{}
}

// endWait tells hosts that they wait for a check no more.
func (s *Session) endWait(c *check) {
	waiting := c.waiting
	c.waiting = nil
	for host := range waiting {
		s.verifier.config.Events.WaitOver(host)
	}
}
