package simulated

import (
	"maps"
	"slices"
	"time"

	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
)

// order is that in which Envoy subscribes, and asks again after a reconnect.
var order = []string{
	resource.ClusterType,
	resource.EndpointType,
	resource.ListenerType,
	resource.ScopedRouteType,
	resource.RouteType,
	resource.SecretType,
}

// subscription is the protocol's state of one type.
type subscription struct {
	url      string
	started  bool // something in Envoy wants this type
	wildcard bool
	wanted   map[string]struct{} // names, unless wildcard
	versions map[string]string   // accepted, as the next reconnect tells them

	// Of this stream:
	requested  bool                // the first request is out
	changed    bool                // wanted may differ from asked
	asked      map[string]struct{} // names that the server knows of
	again      map[string]struct{} // names that may come at a version that we have
	answered   bool                // a response has come
	unanswered int                 // responses that we owe an ACK
	answers    []answer
}

// answer is an ACK or NACK that leaves when it is due.
type answer struct {
	nonce  string
	detail string // of a NACK
	due    time.Time
}

func newSubscription(url string) *subscription {
	s := &subscription{
		url:      url,
		wildcard: url == resource.ClusterType || url == resource.ListenerType || url == resource.ScopedRouteType,
		wanted:   make(map[string]struct{}),
		versions: make(map[string]string),
	}
	s.fresh()
	return s
}

// fresh forgets what belonged to the last stream.
func (s *subscription) fresh() {
	s.requested, s.answered, s.unanswered, s.answers = false, false, 0, nil
	s.changed = true
	s.asked = make(map[string]struct{})
	s.again = make(map[string]struct{})
}

// want makes names those that are wanted, and forgets the versions of others.
func (s *subscription) want(names map[string]struct{}) {
	s.wanted, s.changed = names, true
	s.started = s.started || len(names) > 0
	maps.DeleteFunc(s.versions, func(name, _ string) bool {
		_, ok := names[name]
		return !ok
	})
}

// first is the first request of a stream.
func (s *subscription) first() *discoveryv3.DeltaDiscoveryRequest {
	s.requested = true
	request := &discoveryv3.DeltaDiscoveryRequest{TypeUrl: s.url, InitialResourceVersions: maps.Clone(s.versions)}
	s.change(request)
	return request
}

// change adds to request what is wanted and not asked for, and the reverse. It
// reports whether there is anything.
func (s *subscription) change(request *discoveryv3.DeltaDiscoveryRequest) bool {
	if s.wildcard || !s.changed {
		return false
	}
	s.changed = false
	for name := range s.wanted {
		if _, ok := s.asked[name]; !ok {
			s.asked[name] = struct{}{}
			s.again[name] = struct{}{}
			request.ResourceNamesSubscribe = append(request.ResourceNamesSubscribe, name)
		}
	}
	for name := range s.asked {
		if _, ok := s.wanted[name]; !ok {
			delete(s.asked, name)
			delete(s.again, name)
			request.ResourceNamesUnsubscribe = append(request.ResourceNamesUnsubscribe, name)
		}
	}
	slices.Sort(request.ResourceNamesSubscribe)
	slices.Sort(request.ResourceNamesUnsubscribe)
	return len(request.ResourceNamesSubscribe)+len(request.ResourceNamesUnsubscribe) > 0
}

// answer takes the next answer that is due.
func (s *subscription) answer(now time.Time) *discoveryv3.DeltaDiscoveryRequest {
	if len(s.answers) == 0 || s.answers[0].due.After(now) {
		return nil
	}
	a := s.answers[0]
	s.answers = s.answers[1:]
	s.unanswered--
	request := &discoveryv3.DeltaDiscoveryRequest{TypeUrl: s.url, ResponseNonce: a.nonce}
	if a.detail != "" {
		request.ErrorDetail = &status.Status{Code: int32(codes.Internal), Message: a.detail}
	}
	return request
}
