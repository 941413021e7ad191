package server

import (
	"context"
	"fmt"
	"strconv"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/fairwaynet/fairway/xds/route"
)

// maxResponse is the size in bytes from which on a response is not made larger.
// Scopes are the exception: a listener is active as soon as the routes of the
// first response are there, so that all scopes have to be in it.
const maxResponse = 512 << 10

// everything is the name that means all resources of a kind. As the name of a
// secret it is one that a client has sent.
const wildcardName = "*"

// maxNames bounds how many names of one kind an Envoy may subscribe to, or say
// to have.
const maxNames = 1 << 20

// stream is one connected Envoy. Everything in it but the constants is guarded
// by Server.mu.
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
	closed        bool // has left
	hasClusters   bool // holds every cluster of the picture; routes may follow
	synced        bool // has caught up; is waited for
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

// leave takes the Envoy out of the account. Nobody waits for it any more, unless
// it leaves because the server ends: then what it lacks is still not served.
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
		u := &s.subscriptions[k]
		for r := range u.pending {
			u.markDelivered(r)
			g.removeIfUnused(r)
		}
		for r := range u.names {
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

// poke wakes the sender.
func (s *stream) wakeSender() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// changed notes that r changed, and that until then Envoy held what held says,
// if it was not behind already.
func (s *stream) resourceChanged(r *resource, held heldVersion) {
	u := &s.subscriptions[r.kind]
	if !u.started || !u.covers(r) {
		return
	}
	l := u.markPending(r, held)
	if !l.isOutdated(r) && !l.force && !u.isInflight(r) {
		u.markDelivered(r)
	}
	s.wakeSender() // also if nothing is to be sent: Envoy may have caught up by that
}

// request takes one request of Envoy: an answer to a response, a change of what
// it subscribes to, or both.
func (s *stream) handleRequest(req *discoveryv3.DeltaDiscoveryRequest) error {
	k, ok := kindOf(req.GetTypeUrl())
	if !ok || s.closed {
		return nil // a type that we do not serve: Envoy goes on without
	}
	u := &s.subscriptions[k]
	subscribe := s.subscribe
	if !u.started {
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

// open takes the first request of a kind, with what Envoy brought from an
// earlier stream: a version that is still the newest counts as accepted.
func (s *stream) startSubscription(k kind, req *discoveryv3.DeltaDiscoveryRequest) error {
	g, u := s.gateway, &s.subscriptions[k]
	if len(req.GetInitialResourceVersions()) > maxNames {
		return fmt.Errorf("envoy %s says to have more than %d resources of %s", s.node, maxNames, urlOf[k])
	}
	u.started = true
	u.initial = len(req.GetInitialResourceVersions()) == 0
	u.mustRespond = u.initial && k.wildcard()
	if k.wildcard() && len(req.GetResourceNamesSubscribe()) == 0 {
		s.subscribeAll(k)
	}
	if err := s.subscribe(k, req.GetResourceNamesSubscribe()); err != nil {
		return err
	}
	for name, version := range req.GetInitialResourceVersions() {
		if r := g.resource(k, name); u.covers(r) {
			l := u.markPending(r, heldVersion{})
			l.held.version = version
			if version == r.version {
				l.force = false
				r.recordGood(r.body, r.seq)
			}
		} else {
			g.removeIfUnused(r)
		}
	}
	warming := s.warming(k)
	for r, l := range u.pending {
		l.force = l.force || warming(r)
		if l.held.version == r.version && !l.force {
			u.markDelivered(r)
		}
	}
	return nil
}

// warming says for which resources of a kind that was just opened a cluster may
// wait, although Envoy knows them from an earlier stream.
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

// subscribe adds names. A name that Envoy asks for is always answered: with its
// resource, or with its absence.
func (s *stream) subscribe(k kind, names []string) error {
	u := &s.subscriptions[k]
	if len(u.names)+len(names) > maxNames {
		return fmt.Errorf("envoy %s subscribes to more than %d names of %s", s.node, maxNames, urlOf[k])
	}
	for _, name := range names {
		if name == wildcardName && k != kindSecret {
			s.subscribeAll(k)
			continue
		}
		r := s.gateway.resource(k, name)
		again := u.covers(r)
		if _, ok := u.names[r]; !ok {
			u.names[r] = struct{}{}
			r.refs++
		}
		if k == kindSecret {
			s.gateway.secretSubscribed(r)
		}
		switch {
		case !again:
			u.markPending(r, heldVersion{}).force = true
		case !u.isInflight(r):
			u.markPending(r, heldVersion{version: r.version, seq: r.seq}).force = true
		}
	}
	return nil
}

// subscribeAll makes the subscription one to all resources of the kind.
func (s *stream) subscribeAll(k kind) {
	u := &s.subscriptions[k]
	if u.wildcard {
		return
	}
	for _, r := range s.gateway.resources[k] {
		if r.exists() && !u.covers(r) {
			u.markPending(r, heldVersion{})
		}
	}
	u.wildcard = true
}

// unsubscribe removes names.
func (s *stream) unsubscribe(k kind, names []string) {
	u := &s.subscriptions[k]
	for _, name := range names {
		if name == wildcardName && k != kindSecret {
			u.wildcard = false
			continue
		}
		r, ok := s.gateway.resources[k][name]
		if !ok {
			continue
		}
		if _, ok := u.names[r]; ok {
			delete(u.names, r)
			r.refs--
		}
		if !u.covers(r) {
			u.markDelivered(r)
			u.inflight.forget(r)
		}
		s.gateway.removeIfUnused(r)
	}
}

// answered takes the ACK or NACK of the response under way.
func (s *stream) handleAnswer(k kind, req *discoveryv3.DeltaDiscoveryRequest) {
	u := &s.subscriptions[k]
	in := u.inflight
	if in == nil || in.nonce != req.GetResponseNonce() {
		return // of a response that nobody waits for
	}
	in.timer.Stop()
	u.inflight = nil
	if status := req.GetErrorDetail(); status != nil {
		s.gateway.server.metrics.nacks.WithLabelValues(k.String()).Inc()
		s.handleNACK(k, in.sent, status.GetMessage())
	} else {
		s.gateway.server.metrics.acks.WithLabelValues(k.String()).Observe(s.gateway.server.now().Sub(in.at).Seconds())
		u.initial = false
		u.suspects.next()
		for _, item := range in.sent {
			s.handleACK(item)
		}
	}
	for _, item := range in.sent {
		s.gateway.wakeWaiters(item.r)
		if item.r.shard != nil {
			s.gateway.continueShardTrial(item.r.shard)
		}
		if item.r == s.gateway.chains.listener {
			s.gateway.continueListenerTrial()
		}
		s.gateway.removeIfUnused(item.r)
	}
	if s.gateway.server.closing && s.hasNoInflight() {
		s.cancel(errShuttingDown)
	}
}

// accepted notes the ACK of one resource.
func (s *stream) handleACK(item sentResource) {
	r := item.r
	u := &s.subscriptions[r.kind]
	r.recordGood(item.body, item.seq)
	if item.seq == r.seq {
		switch r.kind {
		case kindSecret:
			s.gateway.secretACKed(r)
		case kindListener:
			s.gateway.listenerACKed(r)
		default:
		}
	}
	l, ok := u.pending[r]
	if !ok {
		return // unsubscribed meanwhile
	}
	l.held = heldVersion{version: item.version, seq: item.seq}
	l.maybeApplied = false
	if item.version != r.version {
		return
	}
	l.held.seq = r.seq // it may have changed to and fro meanwhile
	if !l.force {
		u.markDelivered(r)
	}
}

// again sends r although Envoy holds it: an EDS cluster that is new or changed
// warms until a response with its endpoints follows. Envoy asks for them only if
// no other cluster has them, and does not ACK the cluster before.
func (s *stream) resend(r *resource) {
	u := &s.subscriptions[r.kind]
	if u.covers(r) && r.exists() {
		u.markPending(r, heldVersion{version: r.version, seq: r.seq}).force = true
	}
}

// next is the next response to send, nil if there is none now. One response of
// a kind is under way at a time; what changes meanwhile is in the one after.
func (s *stream) next() *discoveryv3.DeltaDiscoveryResponse {
	if s.closed || s.gateway.server.closing {
		return nil
	}
	s.updateSynced()
	for k := range kinds {
		u := &s.subscriptions[k]
		if !u.started || u.inflight != nil {
			continue
		}
		if sent := s.pickResources(k); len(sent) > 0 || u.mustRespond && !u.hasMissing() {
			return s.newResponse(k, sent)
		}
	}
	return nil
}

// pick chooses what of a kind is to be sent next.
func (s *stream) pickResources(k kind) []sentResource {
	u := &s.subscriptions[k]
	for u.suspects.isRunning() {
		var sent []sentResource
		for _, r := range u.suspects.testing() {
			if l, ok := u.pending[r]; ok && l.isSendable(r) && s.maySend(r, l) {
				sent = append(sent, sentResource{r: r, body: r.body, version: r.version, seq: r.seq})
			}
		}
		if len(sent) > 0 {
			return sent
		}
		u.suspects.next()
	}
	var sent []sentResource
	size := 0
	for r, l := range u.pending {
		if !l.isSendable(r) || !s.maySend(r, l) {
			continue
		}
		sent = append(sent, sentResource{r: r, body: r.body, version: r.version, seq: r.seq})
		if size += len(r.body); size > maxResponse && k != kindScope {
			break
		}
	}
	return sent
}

// respond makes the response of what was picked, and the clock run.
func (s *stream) newResponse(k kind, sent []sentResource) *discoveryv3.DeltaDiscoveryResponse {
	s.nonce++
	s.subscriptions[k].mustRespond = false
	res := &discoveryv3.DeltaDiscoveryResponse{TypeUrl: urlOf[k], Nonce: strconv.FormatUint(s.nonce, 10)}
	for i, item := range sent {
		if l := s.subscriptions[k].pending[item.r]; l != nil {
			sent[i].requested, l.force = l.force, false
			if !item.r.exists() {
				l.held = heldVersion{} // from now on nobody may count on it
			}
		}
		if !item.r.exists() {
			res.RemovedResources = append(res.RemovedResources, item.r.name)
			continue
		}
		if c := item.r.cluster; c != nil && c.port != nil {
			s.resend(c.port.eds)
		}
		res.Resources = append(res.Resources, &discoveryv3.Resource{
			Name:     item.r.name,
			Version:  item.version,
			Resource: &anypb.Any{TypeUrl: urlOf[k], Value: item.r.body},
		})
	}
	options := &s.gateway.server.options
	timeout := options.SyncTimeout
	if s.synced {
		timeout = options.AckTimeout
	}
	s.subscriptions[k].inflight = &response{
		nonce: res.GetNonce(),
		sent:  sent,
		at:    s.gateway.server.now(),
		timer: time.AfterFunc(timeout, func() {
			s.gateway.server.metrics.timeouts.Inc()
			s.cancel(fmt.Errorf("envoy %s did not answer a response of %s within %s", s.node, urlOf[k], timeout))
		}),
	}
	return res
}

// gatewayOf is the gateway that a node says it belongs to.
func gatewayOf(node *corev3.Node) route.Gateway { return route.Gateway(node.GetCluster()) }
