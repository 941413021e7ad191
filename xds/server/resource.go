package server

import (
	"crypto/sha256"
	"encoding/base64"

	"github.com/fairwaynet/fairway/api/shrink"
	"github.com/fairwaynet/fairway/xds/envoy"
)

// kind is a type of resource. Responses are sent in the order of kinds.
type kind int

const (
	kindCluster kind = iota
	kindEndpoints
	kindSecret
	kindListener
	kindRoute
	kindScope
	kinds // their number
)

// urlOf are the type URLs of the kinds.
var urlOf = [kinds]string{
	kindCluster:   envoy.TypeCluster,
	kindEndpoints: envoy.TypeEndpoints,
	kindSecret:    envoy.TypeSecret,
	kindListener:  envoy.TypeListener,
	kindRoute:     envoy.TypeRoute,
	kindScope:     envoy.TypeScope,
}

// nameOf are the kinds' names in logs and metrics.
var nameOf = [kinds]string{"cluster", "endpoints", "secret", "listener", "route", "scope"}

func (k kind) String() string { return nameOf[k] }

// kindOf is the inverse of urlOf.
func kindOf(url string) (kind, bool) {
	for k, u := range urlOf {
		if u == url {
			return kind(k), true
		}
	}
	return 0, false
}

// wildcard reports whether a first subscription without names means all resources of the
// kind. Envoy subscribes to the other kinds by name only.
func (k kind) wildcard() bool {
	return k == kindCluster || k == kindListener || k == kindScope
}

// resource is one named resource of a gateway, at its newest version. A resource that
// does not exist (yet, or any more) has no body, and stays only as long as something
// refers to it.
type resource struct {
	kind    kind
	name    string
	body    []byte // nil: does not exist
	version string // hash of body, "" without one
	seq     uint64 // of the last change, counted over the gateway
	refs    int    // subscriptions by name, pending entries, and retainResource

	// lastGood is the newest body that an Envoy accepted.
	lastGood    []byte
	lastGoodSeq uint64

	cluster *cluster // whose CDS resource this is
	shard   *shard   // whose RDS resource this is
	host    *host    // whose scope this is

	// waiters are the hosts whose next step needs an ACK of this resource. Each has it
	// in host.waitsOn.
	waiters map[*host]struct{}
}

// exists reports whether the resource is part of the configuration.
func (r *resource) exists() bool { return r.body != nil }

// recordGood notes that an Envoy accepted body, which r had since seq.
func (r *resource) recordGood(body []byte, seq uint64) {
	if seq >= r.lastGoodSeq {
		r.lastGood, r.lastGoodSeq = body, seq
	}
}

// versionOf is the version of a body: equal on every replica and after every restart.
func versionOf(body []byte) string {
	if body == nil {
		return ""
	}
	sum := sha256.Sum256(body)
	return base64.RawURLEncoding.EncodeToString(sum[:12])
}

// resource returns the resource of that name, and makes it if there is none.
func (g *gateway) resource(k kind, name string) *resource {
	r, ok := g.resources[k][name]
	if !ok {
		r = &resource{kind: k, name: name}
		g.resources[k][name] = r
	}
	return r
}

// retainResource is resource with a reference, so that it stays the same one even while
// it does not exist.
func (g *gateway) retainResource(k kind, name string) *resource {
	r := g.resource(k, name)
	r.refs++
	return r
}

// releaseResource gives the reference of retainResource back.
func (g *gateway) releaseResource(r *resource) {
	r.refs--
	g.removeIfUnused(r)
}

// setResource makes body the newest version of the resource; nil removes it. The
// resource becomes pending for every Envoy that subscribes to it. An equal body changes
// nothing.
func (g *gateway) setResource(k kind, name string, body []byte) *resource {
	r := g.resource(k, name)
	version := versionOf(body)
	if r.version == version {
		g.removeIfUnused(r)
		return r
	}
	held := heldVersion{version: r.version, seq: r.seq}
	g.seq++
	r.body, r.version, r.seq = body, version, g.seq
	for s := range g.streams {
		s.resourceChanged(r, held)
	}
	g.removeIfUnused(r)
	return r
}

// removeIfUnused forgets a resource that does not exist and that nothing refers to. A
// secret exists only while an Envoy subscribes to it.
func (g *gateway) removeIfUnused(r *resource) {
	if r.refs > 0 || len(r.waiters) > 0 {
		return
	}
	switch {
	case r.kind == kindSecret:
		g.secretUnsubscribed(r)
	case r.exists():
		return
	}
	shrink.Delete(&g.resources[r.kind], r.name)
}

// addWaiter has h advanced when r is ACKed, unless h waits for something else by then.
func (r *resource) addWaiter(h *host) {
	if r.waiters == nil {
		r.waiters = make(map[*host]struct{})
	}
	if _, ok := r.waiters[h]; !ok {
		r.waiters[h] = struct{}{}
		h.waitsOn = append(h.waitsOn, r)
	}
}

// wakeWaiters advances the hosts that wait for r.
func (g *gateway) wakeWaiters(r *resource) {
	if len(r.waiters) == 0 {
		return
	}
	waiting := r.waiters
	r.waiters = nil
	for h := range waiting {
		g.advance(h)
	}
	g.removeIfUnused(r)
}

// stopWaiting ends the waiting of h. Resources that only h has kept are forgotten.
func (g *gateway) stopWaiting(h *host) {
	awaited := h.waitsOn
	h.waitsOn, h.waitingFor = nil, ""
	for _, r := range awaited {
		delete(r.waiters, h)
		g.removeIfUnused(r)
	}
}
