package server

import (
	"slices"
	"time"

	"github.com/fairwaynet/fairway/api/shrink"
)

// subscription is what one Envoy wants of one kind, and what it lacks of it.
type subscription struct {
	started     bool // the first request of this kind has come
	wildcard    bool
	initial     bool // Envoy came without any version of this kind
	mustRespond bool // an answer, even if there is nothing: Envoy waits for it to start
	names       map[*resource]struct{}

	// lacks are the resources whose newest version this Envoy is not known
	// to hold, those under way included. Of everything else that the
	// subscription covers it holds the newest version.
	pending map[*resource]*pendingResource
	// suspects are those of refused responses; each group of them is sent alone.
	suspects bisection[*resource]
	inflight *response
}

// holding is the version of a resource that an Envoy holds; the zero value is
// none.
type heldVersion struct {
	version string
	seq     uint64
}

// lack is what is known of a resource that an Envoy has to be sent.
type pendingResource struct {
	held heldVersion
	// uncertain: it was part of a refused response, of which Envoy may have put
	// to use what is good, without a word.
	maybeApplied bool
	nackedSeq    uint64 // sequence number at which Envoy refused it
	force        bool   // to be sent even if the version is equal: it was asked for again
}

// response is one response that Envoy has not answered yet.
type response struct {
	nonce string
	sent  []sentResource
	at    time.Time
	timer *time.Timer
}

// forget lets the answer say nothing of r: Envoy unsubscribed meanwhile.
func (in *response) forget(r *resource) {
	if in != nil {
		in.sent = slices.DeleteFunc(in.sent, func(item sentResource) bool { return item.r == r })
	}
}

// sentResource is a resource as it stood in a response.
type sentResource struct {
	r         *resource
	body      []byte
	version   string
	seq       uint64
	requested bool // Envoy waits for it, whatever the version
}

// asks reports whether Envoy wants anything of the kind.
func (u *subscription) isActive() bool { return u.wildcard || len(u.names) > 0 }

// covers reports whether the subscription asks for r.
func (u *subscription) covers(r *resource) bool {
	if u.wildcard {
		return true
	}
	_, ok := u.names[r]
	return ok
}

// holds reports whether Envoy has accepted some version of r and has it still.
func (u *subscription) holds(r *resource) bool {
	if l, ok := u.pending[r]; ok {
		return l.held.version != ""
	}
	return u.covers(r) && r.exists()
}

// acked is the sequence number up to which Envoy has accepted r.
func (u *subscription) ackedSeq(r *resource) uint64 {
	if l, ok := u.pending[r]; ok {
		return l.held.seq
	}
	if !u.covers(r) {
		return 0
	}
	return r.seq
}

// differs reports whether Envoy may have something else than the newest version.
// What was removed and is asked for by name need not be told: Envoy keeps it in
// use until it unsubscribes.
func (l *pendingResource) isOutdated(r *resource) bool {
	return l.held.version != r.version || l.maybeApplied && (r.exists() || r.kind.wildcard())
}

// isRefused reports whether Envoy has refused the newest version of r.
func (l *pendingResource) isNACKed(r *resource) bool { return l.nackedSeq != 0 && l.nackedSeq == r.seq }

// counts reports whether l keeps Envoy from having caught up: it holds no
// version of an existing resource, and has not refused the newest.
func (l *pendingResource) isMissing(r *resource) bool {
	return r.exists() && l.held.version == "" && !l.isNACKed(r)
}

// lacking notes that Envoy has to be sent r, and holds what held says.
func (u *subscription) markPending(r *resource, held heldVersion) *pendingResource {
	l, ok := u.pending[r]
	if !ok {
		l = &pendingResource{held: held}
		u.pending[r] = l
		r.refs++
	}
	return l
}

// settled notes that Envoy has r at its newest version.
func (u *subscription) markDelivered(r *resource) {
	if _, ok := u.pending[r]; ok {
		shrink.Delete(&u.pending, r)
		r.refs--
	}
}

// missing reports whether Envoy still has to accept a first version of some
// resource.
func (u *subscription) hasMissing() bool {
	for r, l := range u.pending {
		if l.isMissing(r) {
			return true
		}
	}
	return false
}

// deliverable reports whether l is something to send: a version, or a removal,
// that Envoy neither has nor has refused, or that it asked for again.
func (l *pendingResource) isSendable(r *resource) bool {
	return l.force || !l.isNACKed(r) && l.isOutdated(r)
}

// pending counts what Envoy has still to be sent, or to answer.
func (u *subscription) countPending() int {
	n := 0
	for r, l := range u.pending {
		if l.isSendable(r) && (r.exists() || l.force || r.kind.wildcard()) {
			n++
		}
	}
	if n == 0 && u.inflight != nil {
		return 1
	}
	return n
}

// carries reports whether r is in the response under way.
func (u *subscription) isInflight(r *resource) bool {
	if u.inflight == nil {
		return false
	}
	for _, item := range u.inflight.sent {
		if item.r == r {
			return true
		}
	}
	return false
}
