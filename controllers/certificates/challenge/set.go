// Package challenge is how every replica knows what certificate authorities may
// ask, has its Envoys answer it, and tells the others that they do.
//
// It neither orders certificates nor decides what is to be answered: that is
// what the leader writes into the Secrets of orders. Its invariant: a challenge
// counts as presented only when every Envoy that could be asked for it has
// accepted the routes that answer it.
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

// Set is the challenges of all orders that are under way, and what has become of
// each at this replica. A nil Set is empty and stays so.
type Set struct {
	// Hosts tells what became of what was published.
	Hosts replica.Hosts
	// Responder answers TLS-ALPN-01 here; nil: nobody does.
	Responder *challenge.Responder
	// Changed hears that Live may have changed; may be nil, is called without
	// locks, and must not block.
	Changed func()

	mu        sync.Mutex
	orders    map[string][]challenge.Challenge // by whatever names an order
	hosts     map[route.Key][]challenge.Challenge
	published map[route.Key][]route.Challenge
	queue     workqueue.TypedRateLimitingInterface[route.Key]
}

// Put makes challenges those of an order; without any the order is over. It
// wakes the hosts that are to be served otherwise.
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

// all is the challenges of all orders, sorted, each once.
func (s *Set) all() []challenge.Challenge {
	var all []challenge.Challenge
	for _, challenges := range s.orders {
		all = append(all, challenges...)
	}
	slices.SortFunc(all, challenge.Compare)
	return slices.Compact(all)
}

// byHost is those that hosts answer.
func byHost(all []challenge.Challenge) map[route.Key][]challenge.Challenge {
	hosts := map[route.Key][]challenge.Challenge{}
	for _, c := range all {
		if c.Type == challenge.HTTP01 {
			hosts[KeyOf(c)] = append(hosts[KeyOf(c)], c)
		}
	}
	return hosts
}

// KeyOf is the host that answers an HTTP-01 challenge.
func KeyOf(c challenge.Challenge) route.Key {
	return route.Key{Gateway: route.Gateway(c.Gateway), Host: route.Hostname(c.Name)}
}

// changed is the keys under which two maps have different challenges, sorted.
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

// Source is where the keys of hosts come from that are to be served otherwise.
func (s *Set) Source() source.TypedSource[route.Key] {
	return source.TypedFunc[route.Key](func(_ context.Context, queue workqueue.TypedRateLimitingInterface[route.Key]) error {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.queue = queue
		return nil
	})
}

// Of is what is to be answered under a host.
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

// Keys is the hosts under which anything is to be answered, sorted.
func (s *Set) Keys() []route.Key {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.SortedFunc(maps.Keys(s.hosts), compareKeys)
}

// Below adds to keys those of challenges whose hosts may be copies of any of
// hosts: what changes a wildcard or the default host changes them too. Which
// gateway serves those does not matter: what decided that when a copy was made
// may be gone.
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

// Wider is the keys that serve a host which no Ingress names, in the order in
// which they are asked.
func Wider(key route.Key) []route.Key {
	var wider []route.Key
	if wildcard, covered := key.Host.Wildcard(); covered {
		wider = append(wider, route.Key{Gateway: key.Gateway, Host: wildcard})
	}
	return append(wider, route.Key{Gateway: key.Gateway, Host: route.AnyHost})
}

// Published takes that a host is published with these challenges. Call it after
// it was.
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

// Heard says that something became of what is published under key.
func (s *Set) Heard(key route.Key) {
	s.mu.Lock()
	_, concerns := s.published[key]
	s.mu.Unlock()
	if concerns {
		s.touch()
	}
}

// Live is the digests of the challenges that are answered here, sorted: of
// HTTP-01 those that every Envoy of this replica has accepted, if there is one,
// of TLS-ALPN-01 those that its responder knows.
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

// isLive reports whether c is answered here. What is asked of the server is
// asked after what was published was noted, so that its answer is not older.
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
	case challenge.DNS01: // is in nobody's Envoys
	}
	return false
}
