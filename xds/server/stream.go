package server

import (
	"context"
	"fmt"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
)

// maxNames bounds the names of one kind that an Envoy may subscribe to, or report to
// have.
const maxNames = 1 << 20

// wildcardName means all resources of a kind. As the name of a secret it is a server
// name that a client sent.
const wildcardName = "*"

// stream is one connected Envoy. Server.mu guards all of it but the fields that never
// change.
type stream struct {
	gateway *gateway
	node    string
	address string
	version string
	since   time.Time
	cancel  context.CancelCauseFunc
	wake    chan struct{} // holds one: there may be something to send

	subscriptions [kinds]subscription
	nonce         uint64
	closed        bool // Envoy has disconnected
	hasClusters   bool // Envoy has ACKed every cluster; routes may follow
	synced        bool // Envoy has ACKed the whole configuration; changes wait for it
}

// newStream registers an Envoy with its gateway.
func (g *gateway) newStream(ctx context.Context, cancel context.CancelCauseFunc, node *corev3.Node, now time.Time) *stream {
	s := &stream{
		gateway: g,
		node:    node.GetId(),
		since:   now,
		cancel:  cancel,
		wake:    make(chan struct{}, 1),
	}
	if v := node.GetUserAgentBuildVersion().GetVersion(); v != nil {
		s.version = fmt.Sprintf("%d.%d.%d", v.GetMajorNumber(), v.GetMinorNumber(), v.GetPatch())
	}
	s.address = addressOf(ctx)
	for k := range s.subscriptions {
		s.subscriptions[k].names = make(map[*resource]struct{})
		s.subscriptions[k].pending = make(map[*resource]*pendingResource)
	}
	g.streams[s] = struct{}{}
	g.server.notifier.envoysChanged(g.name)
	return s
}

// leave removes an Envoy that has disconnected. Nothing waits for it any more. When the
// server itself ends, the Envoy stays registered: what is pending then counts as not
// served.
func (s *stream) leave() {
	g := s.gateway
	s.closed = true
	for k := range s.subscriptions {
		if in := s.subscriptions[k].inflight; in != nil {
			in.timer.Stop()
		}
	}
	if g.server.closing {
		return
	}
	delete(g.streams, s)
	for k := range s.subscriptions {
		sub := &s.subscriptions[k]
		for r := range sub.pending {
			sub.markDelivered(r)
			g.removeIfUnused(r)
		}
		for r := range sub.names {
			r.refs--
			g.removeIfUnused(r)
		}
	}
	for _, sh := range g.shards {
		if sh.trial != nil && sh.trial.judge == s {
			sh.trial.judge = nil
			g.continueShardTrial(sh)
		}
	}
	if t := g.chains.trial; t != nil && t.judge == s {
		t.judge = nil
		g.continueListenerTrial()
	}
	if s.synced {
		g.syncedStreams--
		g.advanceAll()
	}
	g.server.notifier.envoysChanged(g.name)
}

// wakeSender wakes Server.send.
func (s *stream) wakeSender() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// resourceChanged notes that r changed. held is the version that Envoy held until then,
// unless an older one was pending already.
func (s *stream) resourceChanged(r *resource, held heldVersion) {
	sub := &s.subscriptions[r.kind]
	if !sub.started || !sub.covers(r) {
		return
	}
	p := sub.markPending(r, held)
	if !p.isOutdated(r) && !p.force && !sub.isInflight(r) {
		sub.markDelivered(r)
	}
	s.wakeSender() // also if nothing is to be sent: Envoy may be synced now
}

// handleRequest handles one request: an answer to a response, a change of the
// subscription, or both.
func (s *stream) handleRequest(req *discoveryv3.DeltaDiscoveryRequest) error {
	k, ok := kindOf(req.GetTypeUrl())
	if !ok || s.closed {
		return nil // a type that we do not serve: Envoy goes on without
	}
	sub := &s.subscriptions[k]
	subscribe := s.subscribe
	if !sub.started {
		subscribe = func(k kind, _ []string) error { return s.startSubscription(k, req) }
	}
	if err := subscribe(k, req.GetResourceNamesSubscribe()); err != nil {
		return err
	}
	s.unsubscribe(k, req.GetResourceNamesUnsubscribe())
	if req.GetResponseNonce() != "" {
		s.handleAnswer(k, req)
	}
	s.wakeSender()
	return nil
}

// startSubscription handles the first request of a kind, with the versions that Envoy
// has from an earlier stream. A version that is still the newest counts as ACKed.
func (s *stream) startSubscription(k kind, req *discoveryv3.DeltaDiscoveryRequest) error {
	g, sub := s.gateway, &s.subscriptions[k]
	if len(req.GetInitialResourceVersions()) > maxNames {
		return fmt.Errorf("envoy %s reports more than %d resources of %s", s.node, maxNames, urlOf[k])
	}
	sub.started = true
	sub.initial = len(req.GetInitialResourceVersions()) == 0
	sub.mustRespond = sub.initial && k.wildcard()
	if k.wildcard() && len(req.GetResourceNamesSubscribe()) == 0 {
		s.subscribeAll(k)
	}
	if err := s.subscribe(k, req.GetResourceNamesSubscribe()); err != nil {
		return err
	}
	for name, version := range req.GetInitialResourceVersions() {
		if r := g.resource(k, name); sub.covers(r) {
			p := sub.markPending(r, heldVersion{})
			p.held.version = version
			if version == r.version {
				p.force = false
				r.recordGood(r.body, r.seq)
			}
		} else {
			g.removeIfUnused(r)
		}
	}
	warming := s.warming(k)
	for r, p := range sub.pending {
		p.force = p.force || warming(r)
		if p.held.version == r.version && !p.force {
			sub.markDelivered(r)
		}
	}
	return nil
}

// warming returns which resources of a kind a cluster may be waiting for, although Envoy
// has them from an earlier stream.
func (s *stream) warming(k kind) func(*resource) bool {
	clusters := &s.subscriptions[kindCluster]
	switch {
	case k != kindEndpoints:
		return func(*resource) bool { return false }
	case !clusters.started:
		// Envoy asks for clusters first, unless one of them waits.
		return func(*resource) bool { return true }
	}
	// A cluster that was sent before Envoy had asked for endpoints.
	sent := make(map[*resource]bool)
	if clusters.inflight != nil {
		for _, item := range clusters.inflight.sent {
			if c := item.r.cluster; c != nil && c.port != nil {
				sent[c.port.eds] = true
			}
		}
	}
	return func(r *resource) bool { return sent[r] }
}

// subscribe adds names. Each of them is answered in any case: with its resource, or with
// its removal.
func (s *stream) subscribe(k kind, names []string) error {
	sub := &s.subscriptions[k]
	if len(sub.names)+len(names) > maxNames {
		return fmt.Errorf("envoy %s subscribes to more than %d names of %s", s.node, maxNames, urlOf[k])
	}
	for _, name := range names {
		if name == wildcardName && k != kindSecret {
			s.subscribeAll(k)
			continue
		}
		r := s.gateway.resource(k, name)
		again := sub.covers(r)
		if _, ok := sub.names[r]; !ok {
			sub.names[r] = struct{}{}
			r.refs++
		}
		if k == kindSecret {
			s.gateway.secretSubscribed(r)
		}
		switch {
		case !again:
			sub.markPending(r, heldVersion{}).force = true
		case !sub.isInflight(r):
			sub.markPending(r, heldVersion{version: r.version, seq: r.seq}).force = true
		}
	}
	return nil
}

// subscribeAll subscribes to all resources of the kind.
func (s *stream) subscribeAll(k kind) {
	sub := &s.subscriptions[k]
	if sub.wildcard {
		return
	}
	for _, r := range s.gateway.resources[k] {
		if r.exists() && !sub.covers(r) {
			sub.markPending(r, heldVersion{})
		}
	}
	sub.wildcard = true
}

// unsubscribe removes names.
func (s *stream) unsubscribe(k kind, names []string) {
	sub := &s.subscriptions[k]
	for _, name := range names {
		if name == wildcardName && k != kindSecret {
			sub.wildcard = false
			continue
		}
		r, ok := s.gateway.resources[k][name]
		if !ok {
			continue
		}
		if _, ok := sub.names[r]; ok {
			delete(sub.names, r)
			r.refs--
		}
		if !sub.covers(r) {
			sub.markDelivered(r)
			sub.inflight.forget(r)
		}
		s.gateway.removeIfUnused(r)
	}
}
