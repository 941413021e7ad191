package verifier

import (
	"time"

	"github.com/fairwaynet/fairway/xds/route"
)

// Verifier keeps what the provers of one gateway have shown, and what not. Use New.
type Verifier struct {
	config   Config
	proxy    *route.ProxyProtocol
	sessions map[*Session]struct{}
}

// Config is what a Verifier needs. All of it must be set.
type Config struct {
	// Patience is how long hosts wait for a proof, and after how long a certificate
	// that is not shown is reported.
	Patience time.Duration
	Now      func() time.Time
	// After calls do when d has passed, under the owner's lock.
	After  func(d time.Duration, do func()) *time.Timer
	Events Events
}

// Events hears what comes of proofs. Its methods are called in the course of a call of
// the Verifier or of a Session, under the owner's lock.
type Events interface {
	// NotServed says what clients get in place of the certificate of a name, once that
	// has lasted for Config.Patience. An empty detail says that it is over.
	NotServed(name route.Hostname, detail string)
	// WaitOver says that a host waits no more (Verifier.Wait).
	WaitOver(host route.Hostname)
	// Answered is called for each look at what clients get.
	Answered(proved bool)
	// Served is called when a certificate that was published meanwhile is shown: how
	// long after that.
	Served(after time.Duration)
}

// Certificates are what clients should be shown, by server name: a full name, a
// wildcard, or route.AnyHost for clients that send no name. None is nil.
type Certificates map[route.Hostname]*route.Certificate

// States counts certificates, once for each prover.
type States struct {
	Proved, Waiting int
	Failing         int // for Config.Patience and longer
	Impossible      int // the prover has no way to look
}

// New is a Verifier without provers.
func New(config Config) *Verifier {
	return &Verifier{config: config, sessions: make(map[*Session]struct{})}
}

// Connect begins the session of a prover. proved are the versions that it has shown
// before, by name, to another controller or on another stream: it is not asked for
// these again. wake is called whenever Session.Next may have something new; it must not
// block.
func (v *Verifier) Connect(node string, proved map[string]string, wanted Certificates, wake func()) *Session {
	s := newSession(v, node, proved, wake)
	v.sessions[s] = struct{}{}
	s.replace(wanted)
	s.forgetOthers()
	return s
}

// HasSessions reports whether there is any prover. Without one nothing that is
// published has to be told.
func (v *Verifier) HasSessions() bool { return len(v.sessions) > 0 }

// Publish has the provers show certificate under a name from now on; nil: none.
func (v *Verifier) Publish(name route.Hostname, certificate *route.Certificate) {
	for s := range v.sessions {
		s.want(name, certificate, v.config.Now())
	}
}

// Configure has everything shown that is wanted, and nothing else, after a change of
// the gateway's settings. proxy says who sends PROXY headers to its listener; nil:
// nobody does. What was impossible to look at is tried again.
func (v *Verifier) Configure(proxy *route.ProxyProtocol, wanted Certificates) {
	v.proxy = proxy
	for s := range v.sessions {
		s.replace(wanted)
		s.retryImpossible()
	}
}

// Wait reports whether a prover has yet to show the certificate of a name, which was
// published less than Config.Patience ago. If so, Events.WaitOver is called for the host
// when that is over.
func (v *Verifier) Wait(name, host route.Hostname) bool {
	found := false
	for s := range v.sessions {
		if c := s.checks[name]; c != nil && s.isAwaited(c) {
			found = true
			s.addWaiting(c, host)
		}
	}
	return found
}

// Failing counts the certificates that were reported by Events.NotServed, once for each
// prover.
func (v *Verifier) Failing() int { return v.Count().Failing }

// Count tells how many certificates are in which state.
func (v *Verifier) Count() States {
	var states States
	for s := range v.sessions {
		for _, c := range s.checks {
			switch {
			case c.impossible:
				states.Impossible++
			case c.isDone():
				states.Proved++
			case c.reported:
				states.Failing++
			default:
				states.Waiting++
			}
		}
	}
	return states
}

// report says what some prover sees instead of the certificate of a name, or that all
// see it.
func (v *Verifier) report(name route.Hostname) {
	detail := ""
	for s := range v.sessions {
		if c := s.checks[name]; c != nil && c.reported {
			detail = "gateway " + s.node + ": " + c.detail
		}
	}
	v.config.Events.NotServed(name, detail)
}
