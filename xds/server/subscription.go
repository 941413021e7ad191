package server

import "github.com/fairwaynet/fairway/api/shrink"

// subscription is one Envoy's subscription to one kind, with the resources that it has
// not ACKed.
type subscription struct {
	started     bool // the first request of this kind has come
	wildcard    bool
	initial     bool // Envoy connected without any version of this kind
	mustRespond bool // even without a resource: Envoy waits for a response to start
	names       map[*resource]struct{}

	// pending are the resources whose newest version Envoy is not known to hold,
	// those in flight included. Envoy holds the newest version of everything else
	// that the subscription covers.
	pending map[*resource]*pendingResource
	// suspects are the resources of NACKed responses. Each group is sent alone.
	suspects bisection[*resource]
	inflight *response
}

// pendingResource is a resource whose newest version Envoy is not known to hold.
type pendingResource struct {
	held heldVersion
	// maybeApplied says that it was in a NACKed response. Envoy may have applied the
	// good resources of that without saying so.
	maybeApplied bool
	nackedSeq    uint64 // sequence number of the version that Envoy NACKed
	force        bool   // it must be sent even if the version is equal: Envoy asked again
}

// heldVersion is the version of a resource that an Envoy holds; the zero value is none.
type heldVersion struct {
	version string
	seq     uint64
}

// isActive reports whether Envoy subscribes to anything of the kind.
func (sub *subscription) isActive() bool { return sub.wildcard || len(sub.names) > 0 }

// covers reports whether Envoy subscribes to r.
func (sub *subscription) covers(r *resource) bool {
	if sub.wildcard {
		return true
	}
	_, ok := sub.names[r]
	return ok
}

// holds reports whether Envoy has ACKed some version of r and still has it.
func (sub *subscription) holds(r *resource) bool {
	if p, ok := sub.pending[r]; ok {
		return p.held.version != ""
	}
	return sub.covers(r) && r.exists()
}

// ackedSeq is the sequence number up to which Envoy has ACKed r.
func (sub *subscription) ackedSeq(r *resource) uint64 {
	if p, ok := sub.pending[r]; ok {
		return p.held.seq
	}
	if !sub.covers(r) {
		return 0
	}
	return r.seq
}

// markPending notes that Envoy must be sent r, and that it holds the version held.
func (sub *subscription) markPending(r *resource, held heldVersion) *pendingResource {
	p, ok := sub.pending[r]
	if !ok {
		p = &pendingResource{held: held}
		sub.pending[r] = p
		r.refs++
	}
	return p
}

// markDelivered notes that Envoy holds the newest version of r.
func (sub *subscription) markDelivered(r *resource) {
	if _, ok := sub.pending[r]; ok {
		shrink.Delete(&sub.pending, r)
		r.refs--
	}
}

// hasMissing reports whether Envoy has yet to ACK a first version of some resource.
func (sub *subscription) hasMissing() bool {
	for r, p := range sub.pending {
		if p.isMissing(r) {
			return true
		}
	}
	return false
}

// isRemoving reports whether Envoy holds, or is being sent, a resource that was removed.
func (sub *subscription) isRemoving() bool {
	for r, p := range sub.pending {
		if !r.exists() && (p.held.version != "" || sub.isInflight(r)) {
			return true
		}
	}
	return false
}

// isBehind reports whether Envoy has yet to ACK any version of some resource since it
// connected, or to remove a resource.
func (sub *subscription) isBehind() bool {
	for r, p := range sub.pending {
		if !p.isNACKed(r) && p.held.seq == 0 && p.held.version != r.version {
			return true
		}
	}
	return false
}

// isInflight reports whether r is in the response in flight.
func (sub *subscription) isInflight(r *resource) bool {
	if sub.inflight == nil {
		return false
	}
	for _, item := range sub.inflight.sent {
		if item.r == r {
			return true
		}
	}
	return false
}

// countPending counts the resources that Envoy has yet to be sent, or to answer.
func (sub *subscription) countPending() int {
	n := 0
	for r, p := range sub.pending {
		if p.isSendable(r) && (r.exists() || p.force || r.kind.wildcard()) {
			n++
		}
	}
	if n == 0 && sub.inflight != nil {
		return 1
	}
	return n
}

// isSendable reports whether there is something to send: a version or a removal that
// Envoy neither holds nor has NACKed, or a resource that it asked for again.
func (p *pendingResource) isSendable(r *resource) bool {
	return p.force || !p.isNACKed(r) && p.isOutdated(r)
}

// isOutdated reports whether Envoy may hold another version than the newest. The removal
// of a resource that Envoy subscribes to by name need not be sent: Envoy uses the
// resource until it unsubscribes.
func (p *pendingResource) isOutdated(r *resource) bool {
	return p.held.version != r.version || p.maybeApplied && (r.exists() || r.kind.wildcard())
}

// isNACKed reports whether Envoy has NACKed the newest version of r.
func (p *pendingResource) isNACKed(r *resource) bool { return p.nackedSeq != 0 && p.nackedSeq == r.seq }

// isMissing reports whether Envoy holds no version of an existing resource, and has not
// NACKed the newest. Then it is not synced.
func (p *pendingResource) isMissing(r *resource) bool {
	return r.exists() && p.held.version == "" && !p.isNACKed(r)
}
