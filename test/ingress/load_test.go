package ingress_test

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairwaynet/fairway/test/fairway"
	"github.com/fairwaynet/fairway/test/soak"
)

// A change of a host under 500 requests a second on that very host shows its
// users no error, whatever changes, with one Envoy and with two.
func TestChangesUnderLoadShowNoError(t *testing.T) {
	type kind struct {
		name string
		test func(*site, string)
	}
	kinds := []kind{
		{"service", changeService},
		{"new service", changeToNewService},
		{"endpoints", changeEndpoints},
		{"path", changePath},
		{"ingress", changeIngress},
		{"protocol", changeProtocol},
		{"port", changePort},
		{"return to others", changeAndReturnToOthers},
		{"hosts", hostsComeAndGo},
	}
	run := func(envoys int, kinds ...kind) {
		t.Run(fmt.Sprintf("envoys-%d", envoys), func(t *testing.T) {
			r := start(t, fairway.Options{Envoys: envoys, Rate: 500, Record: true})
			for _, k := range kinds {
				t.Run(k.name, func(t *testing.T) { k.test(newSite(t, r), "load.test") })
			}
		})
	}
	run(1, kinds...)
	run(2, append(kinds, kind{"return", changeAndReturn}, kind{"envoy killed", changeWhileEnvoyIsDown})...)
}

// step is a change, and the backend that answers when it is done.
type step struct {
	what string
	do   func()
	then string
}

// underLoad does steps one after the other. After each, the load must reach the
// step's backend; no request may fail from first to last.
func (s *site) underLoad(host, path, first string, steps int, next func(i int) step) fairway.Tally {
	s.Helper()
	fairway.Eventually(s, patience, fairway.Everywhere(answered(host, path, first)))
	load := s.fairway.StartLoad(s, host, path)
	fairway.Eventually(s, patience, load.Reaches(first, 50))
	for i := range steps {
		step := next(i)
		s.fairway.Timeline.Note("the test changes: %s", step.what)
		step.do()
		fairway.Eventually(s, patience, load.Reaches(step.then, 20))
	}
	return load.StopClean()
}

// changes is how often a host changes under load. Elsewhere 28 of 30 changes show
// errors.
var changes = soak.Pick(12, 30)

// changeService alternates between two Services.
func changeService(s *site, host string) {
	s.backends("blue", "green")
	shop := withRules("shop", rule(host, "/", "blue"))
	s.create(shop)
	s.underLoad(host, "/cart", "blue", changes, func(i int) step {
		to := []string{"green", "blue"}[i%2]
		return step{"service " + to, func() {
			moveTo(s, shop, to)
		}, to}
	})
}

// changeToNewService moves the host to a Service that came a moment ago, and
// then deletes the one before.
func changeToNewService(s *site, host string) {
	s.backends("v0")
	shop := withRules("shop", rule(host, "/", "v0"))
	s.create(shop)
	var before []client.Object
	s.underLoad(host, "/cart", "v0", changes, func(i int) step {
		to := fmt.Sprintf("v%d", i+1)
		made := []client.Object{fairway.Service(to), fairway.Slice(to, s.endpoint(to))}
		if i%2 == 0 {
			slices.Reverse(made) // the endpoints before the Service
		}
		return step{"new service " + to, func() {
			s.create(made...)
			moveTo(s, shop, to)
			// The Service that this Ingress has just left goes at once.
			s.delete(before...)
			before = made
		}, to}
	})
}

// changeEndpoints replaces the only endpoint, as a rolling update does: the new
// one is ready before the old one is not.
func changeEndpoints(s *site, host string) {
	first, second := s.endpoint("first"), s.endpoint("second")
	endpoints := fairway.Slice("shop", first)
	s.create(fairway.Service("shop"), endpoints, withRules("shop", rule(host, "/", "shop")))
	s.underLoad(host, "/cart", "first", changes, func(i int) step {
		to, ip := "second", second
		if i%2 == 1 {
			to, ip = "first", first
		}
		return step{"endpoint " + to, func() {
			change(s, endpoints, func(o *discoveryv1.EndpointSlice) { o.Endpoints[0].Addresses = []string{ip} })
		}, to}
	})
}

// changePath moves requests between rules of the host.
func changePath(s *site, host string) {
	s.backends("wide", "narrow")
	shop := withRules("shop", rule(host, "/", "wide"))
	s.create(shop)
	s.underLoad(host, "/cart/1", "wide", changes, func(i int) step {
		paths, to := rule(host, "/", "wide", "/cart", "narrow"), "narrow"
		switch i % 4 {
		case 1:
			paths = rule(host, "/", "narrow", "/cart", "wide")
			to = "wide"
		case 2:
			paths = rule(host, "/", "wide", "=/cart/1", "narrow", "/cart", "wide")
		case 3:
			paths, to = rule(host, "/", "wide"), "wide"
		}
		return step{fmt.Sprintf("paths %d", i%4), func() {
			change(s, shop, func(o *networkingv1.Ingress) { o.Spec.Rules = []networkingv1.IngressRule{paths} })
		}, to}
	})
}

// changeIngress hands the host from one Ingress to another: the second is there
// before the first goes.
func changeIngress(s *site, host string) {
	s.backends("blue", "green")
	makeOf := func(i int) *networkingv1.Ingress {
		return withRules(fmt.Sprintf("shop-%03d", i), rule(host, "/", []string{"blue", "green"}[i%2]))
	}
	now := makeOf(0)
	s.create(now)
	s.underLoad(host, "/cart", "blue", changes, func(i int) step {
		next := makeOf(i + 1)
		return step{"ingress " + next.Name, func() {
			s.create(next)
			s.delete(now)
			now = next
		}, []string{"blue", "green"}[(i+1)%2]}
	})
}

// changeProtocol switches what is spoken to the backend, which understands both.
func changeProtocol(s *site, host string) {
	service := fairway.Service("shop")
	s.create(service, fairway.Slice("shop", s.speaker()), withRules("shop", rule(host, "/", "shop")))
	s.underLoad(host, "/cart", "HTTP/1.1", changes, func(i int) step {
		protocol, to := new("kubernetes.io/h2c"), "HTTP/2.0"
		if i%2 == 1 {
			protocol, to = nil, "HTTP/1.1"
		}
		return step{"protocol " + to, func() {
			change(s, service, func(o *corev1.Service) { o.Spec.Ports[0].AppProtocol = protocol })
		}, to}
	})
}

// changePort renumbers the Service's port and names the new one at once.
func changePort(s *site, host string) {
	s.backends("shop")
	service := fairway.Service("shop")
	service.Namespace = s.namespace
	shop := withRules("shop", rule(host, "/", "shop"))
	shop.Spec.Rules[0].HTTP.Paths[0].Backend.Service.Port = networkingv1.ServiceBackendPort{Name: "http"}
	s.create(shop)
	s.underLoad(host, "/cart", "shop", changes, func(i int) step {
		return step{fmt.Sprintf("port %d", 1000+i), func() {
			change(s, service, func(o *corev1.Service) { o.Spec.Ports[0].Port = int32(1000 + i) })
		}, "shop"}
	})
}

// changeAndReturn goes to another Service for so long that the first one's
// cluster is gone, and returns.
func changeAndReturn(s *site, host string) {
	s.backends("blue", "green")
	shop := withRules("shop", rule(host, "/", "blue"))
	s.create(shop)
	began := time.Now()
	s.underLoad(host, "/cart", "blue", 2, func(i int) step {
		to := []string{"green", "blue"}[i%2]
		return step{"service " + to, func() {
			if to == "blue" {
				fairway.Eventually(s, patience, func(context.Context) error {
					gone := "Cluster [0-9]+ without \\[.*" + s.namespace + "/blue"
					if !regexp.MustCompile(gone).MatchString(s.fairway.Timeline.Around(began, 0, time.Hour)) {
						return errors.New("the cluster of blue is not removed")
					}
					return nil
				})
			}
			moveTo(s, shop, to)
		}, to}
	})
}

// changeAndReturnToOthers leaves a Service and returns to it a moment later,
// when its cluster is still there but its pods are others.
func changeAndReturnToOthers(s *site, host string) {
	s.backends("blue")
	ip := s.fairway.Address()
	stop := fairway.Backend(s, "green-0", ip)
	endpoints := fairway.Slice("green", ip)
	shop := withRules("shop", rule(host, "/", "green"))
	s.create(fairway.Service("green"), endpoints, shop)
	s.underLoad(host, "/cart", "green-0", changes, func(i int) step {
		if i%2 == 0 {
			return step{"to blue", func() { moveTo(s, shop, "blue") }, "blue"}
		}
		stop()
		to := fmt.Sprintf("green-%d", i)
		ip := s.fairway.Address()
		stop = fairway.Backend(s, to, ip)
		return step{"to " + to, func() {
			change(s, endpoints, func(o *discoveryv1.EndpointSlice) { o.Endpoints[0].Addresses = []string{ip} })
			moveTo(s, shop, "green")
		}, to}
	})
}

// moveTo makes a Service the backend of the first path.
func moveTo(s *site, o *networkingv1.Ingress, service string) {
	s.Helper()
	change(s, o, func(o *networkingv1.Ingress) { o.Spec.Rules[0].HTTP.Paths[0].Backend.Service.Name = service })
}

// changeWhileEnvoyIsDown goes on with changes while one of several Envoys is
// down and comes back: nobody waits for it, and what it then serves is the
// newest. (With one Envoy, see TestOutages.)
func changeWhileEnvoyIsDown(s *site, host string) {
	s.backends("blue", "green")
	shop := withRules("shop", rule(host, "/", "blue"))
	s.create(shop)
	s.eventually(host, "/cart", "blue")
	s.fairway.Envoys[0].Kill(s)
	s.underLoad(host, "/cart", "blue", changes, func(i int) step {
		to := []string{"green", "blue"}[i%2]
		return step{"service " + to, func() {
			moveTo(s, shop, to)
			if i == changes/2 {
				s.fairway.Envoys[0].WaitReady(s)
			}
		}, to}
	})
}
