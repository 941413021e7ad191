package services

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/fairwaynet/fairway/proxy/service"
	"github.com/fairwaynet/fairway/test/laggingcache"
)

// comparing is a comparison of a stage, in whose pauses something happens.
func comparing(s *stage, w *laggingcache.World, meanwhile func()) *Comparison {
	return &Comparison{
		Reconciler: s.services, Live: &laggingcache.Server{World: w},
		Published: func() map[Key]*service.Service { return maps.Clone(s.wall.services) },
		Suspected: func(int) {}, Compared: func(context.Context, []Difference, error) {},
		Wait: func(context.Context, time.Duration, time.Duration) { meanwhile() },
	}
}

func named(number int, name string) (*corev1.Service, *discoveryv1.EndpointSlice) {
	object, slice := &corev1.Service{}, &discoveryv1.EndpointSlice{AddressType: discoveryv1.AddressTypeIPv4}
	object.Namespace, object.Name, object.Spec.ClusterIP = "shop", name, fmt.Sprintf("10.96.%d.%d", number/250, number%250+1)
	object.Spec.Ports = []corev1.ServicePort{{Port: 80}}
	slice.Namespace, slice.Name, slice.Labels = "shop", name+"-x", map[string]string{discoveryv1.LabelServiceName: name}
	slice.Ports = []discoveryv1.EndpointPort{{Port: new(int32(8080))}}
	slice.Endpoints = []discoveryv1.Endpoint{{Addresses: []string{"10.244.0.1"}}}
	return object, slice
}

// What the cache, a handler or a queue has lost is found. What is on its way, however much,
// is not: neither at the first look nor later.
func TestWhatIsLostIsFound(t *testing.T) {
	for _, test := range []struct {
		what string
		lose func(*stage, *laggingcache.World)
		then func(*laggingcache.World) // in each pause
		want string
	}{
		{what: "nothing"},
		{what: "a change that comes late", lose: func(_ *stage, w *laggingcache.World) {
			_, slice := named(1, "web")
			w.Apply(slice)
		}},
		{what: "an object that comes and goes", lose: func(_ *stage, w *laggingcache.World) {
			object, slice := named(3, "brief")
			w.Apply(object, slice)
			w.Kind(object).Lose()
			w.Kind(slice).Lose()
		}, then: func(w *laggingcache.World) {
			object, slice := named(3, "brief")
			w.Remove(object, slice)
		}},
		{what: "a change of endpoints", want: "EndpointSlice shop/web-x (the agent has version 1800000004, the API server version 1800000005)",
			lose: func(_ *stage, w *laggingcache.World) {
				_, slice := named(1, "web")
				w.Apply(slice)
				w.Kind(slice).Lose()
			}},
		{what: "changes of an object that changes all the time", want: "(the agent has version 1800000004, the API server version",
			lose: func(_ *stage, w *laggingcache.World) {
				_, slice := named(1, "web")
				w.Apply(slice)
				w.Kind(slice).Lose()
			},
			then: func(w *laggingcache.World) {
				_, slice := named(1, "web")
				w.Apply(slice)
				w.Kind(slice).Lose()
			}},
		{what: "a new Service", want: "Service shop/more (the agent has none, the API server version 1800000005)",
			lose: func(_ *stage, w *laggingcache.World) {
				object, _ := named(2, "more")
				w.Apply(object)
				w.Kind(object).Lose()
			}},
		{what: "the end of one", want: "Service shop/web (the agent has version 1800000003, the API server none)",
			lose: func(_ *stage, w *laggingcache.World) {
				object, _ := named(1, "web")
				w.Remove(object)
				w.Kind(object).Lose()
			}},
		{what: "another with the same name", want: "EndpointSlice shop/web-x (the agent has version 1800000004, the API server version",
			lose: func(_ *stage, w *laggingcache.World) {
				_, slice := named(1, "web")
				w.Remove(slice)
				w.Apply(slice)
				w.Kind(slice).Lose()
				w.Kind(slice).Lose()
			}},
		{what: "a reconciliation", want: "Service shop/web (the agent serves something else than it knows)",
			lose: func(s *stage, _ *laggingcache.World) { s.Publish(Key{Namespace: "shop", Name: "web"}, nil) }},
		{what: "the reconciliation of one that is gone", want: "Service shop/old (the agent serves something else than it knows)",
			lose: func(s *stage, _ *laggingcache.World) {
				s.Publish(Key{Namespace: "shop", Name: "old"}, &service.Service{})
			}},
	} {
		t.Run(test.what, func(t *testing.T) {
			w := newWorld()
			must(t, Index(t.Context(), w))
			s := on(w, "n1", Config{})
			s.open(t.Context(), t, w)
			n, cidr := node(rand.New(rand.NewPCG(1, 1))), ranges(rand.New(rand.NewPCG(1, 1)))
			object, slice := named(1, "web")
			w.Apply(n, cidr, object, slice)
			s.settle(t.Context(), t, w)
			if test.lose != nil {
				test.lose(s, w)
			}
			differences, err := comparing(s, w, func() {
				if test.then != nil {
					test.then(w)
				}
				s.settle(t.Context(), t, w)
			}).compare(t.Context())
			must(t, err)
			got := Describe(differences)
			if test.want == "" && got != "" || !strings.Contains(got, test.want) {
				t.Errorf("it finds %q, want %q", got, test.want)
			}
		})
	}
}

// Whatever is going on, nothing is lost in an agent that works.
func TestNothingIsLostInHistories(t *testing.T) {
	for seed := range uint64(*histories) {
		random := rand.New(rand.NewPCG(seed, 7))
		w := newWorld()
		must(t, Index(t.Context(), w))
		s := on(w, "n1", Config{})
		s.open(t.Context(), t, w)
		differences, err := comparing(s, w, func() {
			for range 40 {
				s.step(t.Context(), t, w, random)
			}
			s.settle(t.Context(), t, w)
		}).compare(t.Context())
		must(t, err)
		if len(differences) > 0 {
			t.Fatalf("seed %d: %v", seed, differences)
		}
	}
}

// A comparison reads all pages, and ends the agent when it has told.
func TestAnAgentThatIsOutOfDateEnds(t *testing.T) {
	w := newWorld()
	must(t, Index(t.Context(), w))
	s := on(w, "n1", Config{})
	s.open(t.Context(), t, w)
	const many = 2*pageSize + 10
	for i := range many {
		object, slice := named(i, fmt.Sprintf("s%04d", i))
		w.Apply(object, slice)
	}
	s.settle(t.Context(), t, w)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	live, rounds := &laggingcache.Server{World: w}, 0
	var told []string
	c := comparing(s, w, func() {
		switch rounds++; rounds {
		case 2: // before the second comparison
			live.Away = true
		case 3:
			live.Away = false
			object, _ := named(1, "s0001")
			w.Remove(object)
			w.Kind(object).Lose()
		case 10: // it should have ended
			cancel()
		}
	})
	c.Live = live
	c.Compared = func(_ context.Context, differences []Difference, err error) {
		told = append(told, fmt.Sprint(len(differences), errors.Is(err, laggingcache.ErrAway)))
	}
	err := c.Run(ctx)
	if !errors.Is(err, ErrOutOfDate) || !strings.Contains(err.Error(), "Service shop/s0001 ") {
		t.Errorf("it ends with %v", err)
	}
	if got := strings.Join(told, ", "); got != "0 false, 0 true, 1 false" {
		t.Errorf("it tells %s", got)
	}
}
