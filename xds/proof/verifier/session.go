package verifier

import (
	"container/list"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/anypb"

	"github.com/fairwaynet/fairway/xds/proof"
	"github.com/fairwaynet/fairway/xds/route"
)

const (
	// maxInFlight is how many proofs one prover is asked for at a time. What is new
	// waits for no more than these.
	maxInFlight = 16
	// A proof that failed is asked for again after firstRetry, then twice that,
	// up to lastRetry.
	firstRetry = 250 * time.Millisecond
	lastRetry  = 30 * time.Second
	// maxDetail bounds what is kept of a prover's message, in bytes.
	maxDetail = 1024
)

// Session is one prover: a gateway's process. It comes by Verifier.Connect.
type Session struct {
	verifier *Verifier
	node     string
	wake     func()

	proved     map[string]string // what it had shown before it came, by name
	checks     map[route.Hostname]*check
	queue      list.List           // of *check, the next one first
	inFlight   map[string]question // by nonce
	removed    []string            // names that the prover is to forget
	ageChanged bool                // since the prover was told the age of the controller's snapshot
	nonce      uint64
	over       bool
}

// Question is what a prover is asked for, or told: at most one of its parts is there.
type Question struct {
	Nonce string
	// Removed are names that nothing is published under any more.
	Removed []string
	// Name is what a certificate is to be shown of; empty: of nothing. Version and Body
	// are those of its proof.Statement.
	Name, Version string
	Body          *anypb.Any
}

// question is a check under way, and the certificate that was asked for.
type question struct {
	check       *check
	certificate *route.Certificate
}

func newSession(v *Verifier, node string, proved map[string]string, wake func()) *Session {
	return &Session{
		verifier: v, node: node, wake: wake, proved: proved, ageChanged: true,
		checks: make(map[route.Hostname]*check), inFlight: make(map[string]question),
	}
}

// Next returns the next thing to ask the prover for; false: there is none now.
func (s *Session) Next() (Question, bool) {
	switch {
	case s.over:
		return Question{}, false
	case s.ageChanged:
		s.ageChanged = false
		return Question{Nonce: s.nextNonce()}, true
	case len(s.removed) > 0:
		removed := s.removed
		s.removed = nil
		return Question{Nonce: s.nextNonce(), Removed: removed}, true
	}
	for len(s.inFlight) < maxInFlight && s.queue.Len() > 0 {
		c := s.queue.Front().Value.(*check)
		s.dequeue(c)
		if q, ok := s.ask(c); ok {
			return q, true
		}
	}
	return Question{}, false
}

// ask is the question that a check leads to; false: it is answered already, or cannot
// be asked.
func (s *Session) ask(c *check) (Question, bool) {
	statement, ok := s.statement(c)
	if !ok {
		c.impossible = true
		return Question{}, false
	}
	if version, ok := s.proved[statement.Name]; ok {
		delete(s.proved, statement.Name)
		if version == statement.Version() {
			s.shown(c, c.certificate)
			return Question{}, false
		}
	}
	body, err := statement.Resource()
	if err != nil { // a name that is no text
		c.impossible = true
		return Question{}, false
	}
	c.inFlight = true
	q := Question{Nonce: s.nextNonce(), Name: statement.Name, Version: statement.Version(), Body: body}
	s.inFlight[q.Nonce] = question{c, c.certificate}
	return q, true
}

func (s *Session) nextNonce() string {
	s.nonce++
	return strconv.FormatUint(s.nonce, 10)
}

// statement is what the prover is asked to prove; false: the certificate is none.
func (s *Session) statement(c *check) (proof.Statement, bool) {
	leaf, ok := proof.LeafOf(c.certificate.Chain)
	if !ok {
		return proof.Statement{}, false
	}
	statement := proof.Statement{Name: string(c.name), Leaves: []proof.Fingerprint{leaf}}
	if c.certificate.Other != nil {
		if other, ok := proof.LeafOf(c.certificate.Other.Chain); ok {
			statement.Leaves = append(statement.Leaves, other)
		}
	}
	if proxy := s.verifier.proxy; proxy != nil {
		statement.Proxy, statement.From = true, proxy.From
	}
	return statement, true
}

// Proved takes that the prover has seen what it was asked for.
func (s *Session) Proved(nonce string) {
	if q, ok := s.answered(nonce); ok {
		s.verifier.config.Events.Answered(true)
		s.shown(q.check, q.certificate)
		s.askAgain(q.check)
	}
}

// Impossible takes that the prover has no way to look.
func (s *Session) Impossible(nonce string) {
	if q, ok := s.answered(nonce); ok {
		q.check.impossible = true
		s.settle(q.check)
	}
}

// Failed takes what the prover saw instead of what it was asked for.
func (s *Session) Failed(nonce, detail string) {
	q, ok := s.answered(nonce)
	switch {
	case !ok:
	case q.check.certificate.Equal(q.certificate):
		s.failed(q.check, detail)
	default:
		s.askAgain(q.check)
	}
}

// answered takes a question out of those under way; false: nobody waits for its answer
// any more.
func (s *Session) answered(nonce string) (question, bool) {
	q, ok := s.inFlight[nonce]
	if !ok || s.over {
		return question{}, false
	}
	delete(s.inFlight, nonce)
	s.wake()
	q.check.inFlight = false
	return q, s.checks[q.check.name] == q.check
}

// askAgain asks for what changed while its answer was under way.
func (s *Session) askAgain(c *check) {
	if !c.isDone() {
		s.enqueue(c, true)
	}
}

// AgeChanged has the prover told the age of the controller's snapshot.
func (s *Session) AgeChanged() {
	s.ageChanged = true
	s.wake()
}

// Leave ends the session of a prover that has left. Nobody waits for it any more.
func (s *Session) Leave() {
	s.Stop()
	delete(s.verifier.sessions, s)
	for _, c := range s.checks {
		s.drop(c)
	}
}

// Stop ends the questions of a controller that ends. What the prover has not shown by
// then counts as not shown.
func (s *Session) Stop() { s.over = true }

// replace makes wanted all that the prover has to show, as if all of it had been there
// for long.
func (s *Session) replace(wanted Certificates) {
	for name := range s.checks {
		if wanted[name] == nil {
			s.want(name, nil, time.Time{})
		}
	}
	for name, certificate := range wanted {
		s.want(name, certificate, time.Time{})
	}
}

// forgetOthers has the prover forget what it had shown before it came and that is not
// published here.
func (s *Session) forgetOthers() {
	for name := range s.proved {
		if s.checks[route.Hostname(name)] == nil {
			s.removed = append(s.removed, name)
		}
	}
	s.wake()
}

func (s *Session) retryImpossible() {
	for _, c := range s.checks {
		if c.impossible {
			c.impossible = false
			s.enqueue(c, false)
		}
	}
}

// want makes certificate what the prover has to show under a name since a moment; nil:
// nothing. What is new comes first.
func (s *Session) want(name route.Hostname, certificate *route.Certificate, since time.Time) {
	c := s.checks[name]
	switch {
	case certificate == nil && c == nil, c != nil && c.certificate.Equal(certificate):
		return
	case certificate == nil:
		s.drop(c)
		delete(s.checks, name)
		s.removed = append(s.removed, string(name))
		s.wake()
		return
	case c == nil:
		c = &check{name: name}
		s.checks[name] = c
	}
	c.certificate, c.since = certificate, since
	s.settle(c)
	c.impossible = false
	if !c.isDone() { // else it is back to what it was
		s.enqueue(c, !since.IsZero())
	}
}

// enqueue has a check asked for, before all others or after them. One that is under way
// is asked for again when it is answered.
func (s *Session) enqueue(c *check, first bool) {
	if c.inFlight {
		return
	}
	s.dequeue(c)
	if first {
		c.queued = s.queue.PushFront(c)
	} else {
		c.queued = s.queue.PushBack(c)
	}
	s.wake()
}

func (s *Session) dequeue(c *check) {
	if c.queued != nil {
		s.queue.Remove(c.queued)
		c.queued = nil
	}
}

// drop lets go of all that a check holds.
func (s *Session) drop(c *check) {
	s.dequeue(c)
	s.settle(c)
}

// settle ends what was said of the certificate that a check had until now: its failure,
// and who waits for it.
func (s *Session) settle(c *check) {
	if c.retry != nil {
		c.retry.Stop()
		c.retry = nil
	}
	c.failures, c.failingSince, c.detail = 0, time.Time{}, ""
	if c.reported {
		c.reported = false
		s.verifier.report(c.name)
	}
	s.endWait(c)
}

// shown notes that clients get certificate.
func (s *Session) shown(c *check, certificate *route.Certificate) {
	c.proved = certificate
	if !c.isDone() {
		return
	}
	if !c.since.IsZero() {
		s.verifier.config.Events.Served(s.verifier.config.Now().Sub(c.since))
	}
	s.settle(c)
}

// failed notes that clients do not get what they should, and asks again later.
func (s *Session) failed(c *check, detail string) {
	config := &s.verifier.config
	config.Events.Answered(false)
	if len(detail) > maxDetail {
		detail = strings.ToValidUTF8(detail[:maxDetail], "") + "…"
	}
	now := config.Now()
	if c.failingSince.IsZero() {
		c.failingSince = now
	}
	c.detail = detail
	if now.Sub(c.failingSince) >= config.Patience && !c.reported {
		c.reported = true
		s.verifier.report(c.name)
	}
	wait := min(firstRetry<<min(c.failures, 10), lastRetry)
	c.failures++
	c.retry = config.After(wait, func() {
		if !s.over && s.checks[c.name] == c && c.retry != nil {
			c.retry = nil
			s.enqueue(c, false)
		}
	})
}
