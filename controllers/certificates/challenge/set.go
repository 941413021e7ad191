// Package challenge tells every replica what certificate authorities may ask, has
// its Envoys answer, and tells the other replicas that they do.
//
// It neither orders certificates nor decides what is to be answered: the leader
// writes that into the Secrets of orders. Its invariant: a challenge counts as
// presented only when every Envoy that an authority could reach has accepted the
// routes that answer it.
package challenge

import (
	"cmp"
	"context"
	"iter"
	"maps"
	"slices"
	"sync"

	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/fairwaynet/fairway/controllers/replicas/replica"
	"github.com/fairwaynet/fairway/tls/challenge"
	"github.com/fairwaynet/fairway/xds/route"
)

// Set is the challenges of all orders that are under way, and the state of each at
// this replica. A nil Set is empty and stays so.
type Set struct {
	// Hosts returns the state of published hosts.
	Hosts replica.Hosts
	// Responder answers TLS-ALPN-01 here; nil: not answered.
	Responder *challenge.Responder
	// Changed is called when Live may have changed. It may be nil, is called
	// without locks, and must not block.
	Changed func()

	mu        sync.Mutex
	orders    map[string][]challenge.Challenge // by the name of the order's Secret
	hosts     map[route.Key][]challenge.Challenge
	published map[route.Key][]route.Challenge
	queue     workqueue.TypedRateLimitingInterface[route.Key]
}

// Put makes challenges those of an order; without any the order is over. It wakes
// the hosts that have to change.
func (s *Set) Put(order string, challenges []challenge.Challenge) {
	s.mu.Lock()
	if s.orders == nil {
		s.orders = map[string][]challenge.Challenge{}
	}
	if len(challenges) == 0 {
		delete(s.orders, order)
	} else {
		s.orders[order] = slices.Clone(challenges)
	}
	before := s.hosts
	all := s.all()
	s.hosts = byHost(all)
	if s.Responder != nil {
		s.Responder.Set(all)
	}
	s.wake(changed(before, s.hosts))
	s.mu.Unlock()
	s.touch()
}

// all returns the challenges of all orders, sorted, each once.
func (s *Set) all() []challenge.Challenge {
	var all []challenge.Challenge
	for _, challenges := range s.orders {
		all = append(all, challenges...)
	}
	slices.SortFunc(all, challenge.Compare)
	return slices.Compact(all)
}

// byHost returns the challenges that hosts answer, by host.
func byHost(all []challenge.Challenge) map[route.Key][]challenge.Challenge {
	hosts := map[route.Key][]challenge.Challenge{}
	for _, c := range all {
		if c.Type == challenge.HTTP01 {
			hosts[KeyOf(c)] = append(hosts[KeyOf(c)], c)
		}
	}
	return hosts
}

// KeyOf returns the host that answers an HTTP-01 challenge.
func KeyOf(c challenge.Challenge) route.Key {
	return route.Key{Gateway: route.Gateway(c.Gateway), Host: route.Hostname(c.Name)}
}

// changed returns the keys under which the two maps differ, sorted.
func changed(a, b map[route.Key][]challenge.Challenge) []route.Key {
	var keys []route.Key
	for key, challenges := range a {
		if !slices.Equal(challenges, b[key]) {
			keys = append(keys, key)
		}
	}
	for key := range b {
		if _, known := a[key]; !known {
			keys = append(keys, key)
		}
	}
	slices.SortFunc(keys, compareKeys)
	return keys
}

func compareKeys(a, b route.Key) int {
	return cmp.Or(cmp.Compare(a.Gateway, b.Gateway), cmp.Compare(a.Host, b.Host))
}

func (s *Set) wake(keys []route.Key) {
	if s.queue == nil {
		return // the first pass will look
	}
	for _, key := range keys {
		s.queue.Add(key)
	}
}

func (s *Set) touch() {
	if s.Changed != nil {
		s.Changed()
	}
}

// Source wakes the keys of hosts that have to change.
func (s *Set) Source() source.TypedSource[route.Key] {
	return source.TypedFunc[route.Key](func(_ context.Context, queue workqueue.TypedRateLimitingInterface[route.Key]) error {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.queue = queue
		return nil
	})
}

// Of returns what a host must answer.
func (s *Set) Of(key route.Key) []route.Challenge {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return routesOf(s.hosts[key])
}

func routesOf(challenges []challenge.Challenge) []route.Challenge {
	var routes []route.Challenge
	for _, c := range challenges {
		routes = append(routes, routeOf(c))
	}
	return routes
}

func routeOf(c challenge.Challenge) route.Challenge {
	return route.Challenge{Token: c.Token, Answer: c.KeyAuthorization}
}

// Keys returns the hosts that must answer anything, sorted.
func (s *Set) Keys() []route.Key {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.SortedFunc(maps.Keys(s.hosts), compareKeys)
}

// Below adds to keys the keys of challenges whose hosts may be copies of any of
// hosts: a change of a wildcard or of the default host changes its copies too. It
// ignores which gateway serves hosts: what decided that when a copy was made may
// be gone.
func (s *Set) Below(keys []route.Key, hosts iter.Seq[route.Hostname]) []route.Key {
	if s == nil {
		return keys
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.hosts) == 0 {
		return keys
	}
	concerned := map[route.Hostname]bool{}
	for host := range hosts {
		concerned[host] = true
	}
	for _, key := range slices.SortedFunc(maps.Keys(s.hosts), compareKeys) {
		if !slices.Contains(keys, key) && slices.ContainsFunc(Wider(key), func(wider route.Key) bool { return concerned[wider.Host] }) {
			keys = append(keys, key)
		}
	}
	return keys
}

// Wider returns the keys that serve a host which no Ingress names. They are in the
// order in which they are tried.
func Wider(key route.Key) []route.Key {
	var wider []route.Key
	if wildcard, covered := key.Host.Wildcard(); covered {
		wider = append(wider, route.Key{Gateway: key.Gateway, Host: wildcard})
	}
	return append(wider, route.Key{Gateway: key.Gateway, Host: route.AnyHost})
}

// Published notes that a host is published with these challenges. Call it after
// publishing.
func (s *Set) Published(key route.Key, challenges []route.Challenge) {
	if s == nil {
		return
	}
	s.mu.Lock()
	_, before := s.published[key]
	if len(challenges) == 0 {
		delete(s.published, key)
	} else {
		if s.published == nil {
			s.published = map[route.Key][]route.Challenge{}
		}
		s.published[key] = challenges
	}
	s.mu.Unlock()
	if before || len(challenges) > 0 {
		s.touch()
	}
}

// Heard notes that the state of what is published under key has changed.
func (s *Set) Heard(key route.Key) {
	s.mu.Lock()
	_, concerns := s.published[key]
	s.mu.Unlock()
	if concerns {
		s.touch()
	}
}

// Hearing wraps told, which hears of hosts that are served: the Set hears of them
// after it.
func (s *Set) Hearing(told func(route.Key)) func(route.Key) {
	return func(key route.Key) {
		told(key)
		s.Heard(key)
	}
}

// Live returns the digests of the challenges that are answered here, sorted. An
// HTTP-01 challenge is live if this replica has Envoys and every one has accepted
// it; a TLS-ALPN-01 challenge is live if the responder knows it.
func (s *Set) Live() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var live []string
	for _, challenges := range s.orders {
		for _, c := range challenges {
			if s.isLive(c) {
				live = append(live, c.Digest())
			}
		}
	}
	slices.Sort(live)
	return slices.Compact(live)
}

// isLive reports whether c is answered here. It asks Hosts after it has looked at
// published, so the server's answer is not older than what was published.
func (s *Set) isLive(c challenge.Challenge) bool {
	switch c.Type {
	case challenge.TLSALPN01:
		return s.Responder != nil && s.Responder.Knows(c)
	case challenge.HTTP01:
		key := KeyOf(c)
		if !slices.Contains(s.published[key], routeOf(c)) || s.Hosts == nil {
			return false
		}
		state := s.Hosts.Host(key)
		return state.Published && state.Served
	case challenge.DNS01: // no Envoy answers it
	}
	return false
}
