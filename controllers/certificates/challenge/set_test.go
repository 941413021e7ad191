package challenge

import (
	"context"
	"slices"
	"testing"

	"k8s.io/client-go/util/workqueue"

	"github.com/fairwaynet/fairway/tls/challenge"
	"github.com/fairwaynet/fairway/xds/route"
	"github.com/fairwaynet/fairway/xds/server"
)

// hosts are the states of published hosts.
type hosts map[route.Key]server.HostState

func (h hosts) Host(key route.Key) server.HostState { return h[key] }

func of(name, token string) challenge.Challenge {
	return challenge.Challenge{
		Gateway: "default", Type: challenge.HTTP01, Name: name, Token: token, KeyAuthorization: token + ".thumb",
	}
}

func keyOf(host route.Hostname) route.Key { return route.Key{Gateway: "default", Host: host} }

// queued is a Set whose keys can be taken from a queue.
func queued(t *testing.T) (*Set, func() []route.Key) {
	t.Helper()
	s := &Set{Hosts: hosts{}}
	queue := workqueue.NewTypedRateLimitingQueue(workqueue.DefaultTypedControllerRateLimiter[route.Key]())
	t.Cleanup(queue.ShutDown)
	if err := s.Source().Start(t.Context(), queue); err != nil {
		t.Fatal(err)
	}
	return s, func() []route.Key {
		var keys []route.Key
		for queue.Len() > 0 {
			key, _ := queue.Get()
			queue.Done(key)
			keys = append(keys, key)
		}
		return keys
	}
}

// Orders come, change and go; only hosts whose answers change are woken.
func TestSetWakesWhatChanges(t *testing.T) {
	s, woken := queued(t)
	for _, step := range []struct {
		order      string
		challenges []challenge.Challenge
		want       []route.Key
	}{
		{"one", []challenge.Challenge{of("a.test", "x"), of("b.test", "x")}, []route.Key{keyOf("a.test"), keyOf("b.test")}},
		{"one", []challenge.Challenge{of("b.test", "x"), of("a.test", "x")}, nil},
		{"two", []challenge.Challenge{of("a.test", "x")}, nil},
		{"two", []challenge.Challenge{of("a.test", "y")}, []route.Key{keyOf("a.test")}},
		{"one", nil, []route.Key{keyOf("a.test"), keyOf("b.test")}},
		{"never", nil, nil},
		{"two", nil, []route.Key{keyOf("a.test")}},
	} {
		s.Put(step.order, step.challenges)
		if got := woken(); !slices.Equal(got, step.want) {
			t.Errorf("%s with %v wakes %v, want %v", step.order, step.challenges, got, step.want)
		}
	}
	if got := s.Keys(); len(got) != 0 {
		t.Errorf("left are %v", got)
	}
}

// What changes a wildcard or the default host changes its copies.
func TestSetKnowsWhatIsBelow(t *testing.T) {
	s, _ := queued(t)
	s.Put("one", []challenge.Challenge{of("a.shop.test", "x"), of("b.test", "x")})
	a, b, c := keyOf("a.shop.test"), keyOf("b.test"), keyOf("c.test")
	for _, test := range []struct {
		keys  []route.Key
		hosts []route.Hostname
		want  []route.Key
	}{
		{[]route.Key{c}, []route.Hostname{"c.test"}, []route.Key{c}},
		{[]route.Key{c}, []route.Hostname{"c.test", "*.shop.test"}, []route.Key{c, a}},
		{nil, []route.Hostname{route.AnyHost}, []route.Key{a, b}},
		{[]route.Key{a}, []route.Hostname{"*.shop.test", "a.shop.test"}, []route.Key{a}},
		{nil, nil, nil},
	} {
		if got := s.Below(test.keys, slices.Values(test.hosts)); !slices.Equal(got, test.want) {
			t.Errorf("below %v, beside %v: %v, want %v", test.hosts, test.keys, got, test.want)
		}
	}
}

// A challenge is live when the host was published with it and every Envoy has
// accepted that, and not a moment before.
func TestSetIsLiveWhenServed(t *testing.T) {
	states := hosts{}
	responder := &challenge.Responder{}
	changed := 0
	s := &Set{Hosts: states, Responder: responder, Changed: func() { changed++ }}
	http, key := of("a.test", "x"), keyOf("a.test")
	alpn := of("b.test", "y")
	alpn.Type = challenge.TLSALPN01
	dns := of("c.test", "z")
	dns.Type = challenge.DNS01
	want := func(what string, live ...challenge.Challenge) {
		t.Helper()
		for _, c := range []challenge.Challenge{http, alpn} {
			ok, why, err := s.Presented(context.Background(), c)
			if err != nil || ok != slices.Contains(live, c) || ok != slices.Contains(s.Live(), c.Digest()) || ok != (why == "") {
				t.Errorf("%s: %s is presented: %t (%s, %v), live are %v", what, c, ok, why, err, s.Live())
			}
		}
	}
	want("before anything")
	s.Put("one", []challenge.Challenge{http, alpn, dns})
	want("known to the responder", alpn)
	states[key] = server.HostState{Published: true, Served: true}
	want("an older value is served", alpn)
	states[key] = server.HostState{Published: true}
	s.Published(key, s.Of(key))
	want("not accepted", alpn)
	before := changed
	states[key] = server.HostState{Published: true, Served: true}
	s.Heard(key)
	want("accepted", alpn, http)
	if s.Heard(keyOf("other.test")); changed != before+1 {
		t.Errorf("changed %d times, want once", changed-before)
	}
	s.Put("one", []challenge.Challenge{of("a.test", "new")})
	want("over")
	if _, _, err := s.Presented(context.Background(), dns); err == nil {
		t.Error("a record is presented by Envoys")
	}
	var none *Set
	none.Published(key, nil)
	if none.Of(key) != nil || none.Keys() != nil || none.Below([]route.Key{key}, nil)[0] != key {
		t.Error("no set has something")
	}
}
