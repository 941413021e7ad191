package server

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/types/known/anypb"
)

// maxResponse is the size in bytes beyond which no resource is added to a response.
// Scopes are the exception: a listener becomes active as soon as it has the routes of
// the first response, so all scopes must be in that.
const maxResponse = 512 << 10

// response is a response that Envoy has not answered yet.
type response struct {
	nonce string
	sent  []sentResource
	at    time.Time
	timer *time.Timer
}

// sentResource is a resource as it was in a response.
type sentResource struct {
	r         *resource
	body      []byte
	version   string
	seq       uint64
	requested bool // Envoy waits for it, whatever the version
}

// forget makes the answer say nothing of r: Envoy has unsubscribed from it meanwhile.
func (in *response) forget(r *resource) {
	if in != nil {
		in.sent = slices.DeleteFunc(in.sent, func(item sentResource) bool { return item.r == r })
	}
}

// next returns the next response to send, nil if there is none now. At most one response
// of a kind is in flight. Changes in the meantime are in the one after it.
func (s *stream) next() *discoveryv3.DeltaDiscoveryResponse {
	if s.closed || s.gateway.server.closing {
		return nil
	}
	s.updateSynced()
	for k := range kinds {
		sub := &s.subscriptions[k]
		if !sub.started || sub.inflight != nil {
			continue
		}
		if sent := s.pickResources(k); len(sent) > 0 || sub.mustRespond && !sub.hasMissing() {
			return s.newResponse(k, sent)
		}
	}
	return nil
}

// pickResources chooses the resources of the next response of a kind.
func (s *stream) pickResources(k kind) []sentResource {
	sub := &s.subscriptions[k]
	for sub.suspects.isRunning() {
		var sent []sentResource
		for _, r := range sub.suspects.testing() {
			if p, ok := sub.pending[r]; ok && p.isSendable(r) && s.maySend(r, p) {
				sent = append(sent, sentResource{r: r, body: r.body, version: r.version, seq: r.seq})
			}
		}
		if len(sent) > 0 {
			return sent
		}
		sub.suspects.next()
	}
	var sent []sentResource
	size := 0
	for r, p := range sub.pending {
		if !p.isSendable(r) || !s.maySend(r, p) {
			continue
		}
		sent = append(sent, sentResource{r: r, body: r.body, version: r.version, seq: r.seq})
		if size += len(r.body); size > maxResponse && k != kindScope {
			break
		}
	}
	return sent
}

// newResponse makes the response of the chosen resources, and starts the timer of its
// answer.
func (s *stream) newResponse(k kind, sent []sentResource) *discoveryv3.DeltaDiscoveryResponse {
	s.nonce++
	s.subscriptions[k].mustRespond = false
	res := &discoveryv3.DeltaDiscoveryResponse{TypeUrl: urlOf[k], Nonce: strconv.FormatUint(s.nonce, 10)}
	for i, item := range sent {
		if p := s.subscriptions[k].pending[item.r]; p != nil {
			sent[i].requested, p.force = p.force, false
			if !item.r.exists() {
				p.held = heldVersion{} // from now on nothing may rely on it
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

// resend sends r again although Envoy holds it. A new or changed EDS cluster warms until
// a response with its endpoints follows. If another cluster has them already, Envoy does
// not ask for them, and does not ACK the cluster before it has them.
func (s *stream) resend(r *resource) {
	sub := &s.subscriptions[r.kind]
	if sub.covers(r) && r.exists() {
		sub.markPending(r, heldVersion{version: r.version, seq: r.seq}).force = true
	}
}
