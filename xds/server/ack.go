package server

import discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"

// handleAnswer handles the ACK or NACK of the response in flight.
func (s *stream) handleAnswer(k kind, req *discoveryv3.DeltaDiscoveryRequest) {
	sub := &s.subscriptions[k]
	in := sub.inflight
	if in == nil || in.nonce != req.GetResponseNonce() {
		return // the answer to another response
	}
	in.timer.Stop()
	sub.inflight = nil
	if refusal := req.GetErrorDetail(); refusal != nil {
		s.gateway.server.metrics.nacks.WithLabelValues(k.String()).Inc()
		s.handleNACK(k, in.sent, refusal.GetMessage())
	} else {
		s.gateway.server.metrics.acks.WithLabelValues(k.String()).Observe(s.gateway.server.now().Sub(in.at).Seconds())
		sub.initial = false
		sub.suspects.next()
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

// handleACK notes the ACK of one resource.
func (s *stream) handleACK(item sentResource) {
	r := item.r
	sub := &s.subscriptions[r.kind]
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
	p, ok := sub.pending[r]
	if !ok {
		return // unsubscribed meanwhile
	}
	p.held = heldVersion{version: item.version, seq: item.seq}
	p.maybeApplied = false
	if item.version != r.version {
		return
	}
	p.held.seq = r.seq // it may have changed and changed back meanwhile
	if !p.force {
		sub.markDelivered(r)
	}
}
