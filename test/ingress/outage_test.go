package ingress_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"

	"github.com/fairwaynet/fairway/test/fairway"
)

// Traffic goes on while a part of the installation is away, and what was asked for
// meanwhile is done when it is back.
func TestOutages(t *testing.T) {
	r := start(t, fairway.Options{Record: true})
	for _, outage := range []struct {
		name string
		test func(*testing.T, *fairway.Installation)
	}{
		{"controller killed", testControllerKilled},
		{"controller killed amid changes", testControllerKilledAmidChanges},
		{"settings changed", testSettingsChanged},
		{"envoy killed", testEnvoyKilled},
		{"API server away", testAPIServerAway},
	} {
		t.Run(outage.name, func(t *testing.T) { outage.test(t, r) })
	}
}

func testControllerKilled(t *testing.T, r *fairway.Installation) {
	s := newSite(t, r)
	s.backends("blue", "green", "old")
	endpoints := fairway.Slice("stay", s.endpoint("first"))
	s.create(fairway.Service("stay"), endpoints)
	shop := withRules("shop", rule("outage.test", "/", "blue", "/stay", "stay"))
	old := withRules("old", rule("old.outage.test", "/", "old"))
	s.create(shop, old)
	s.eventually("outage.test", "/", "blue")
	s.eventually("outage.test", "/stay", "first")
	s.eventually("old.outage.test", "/", "old")
	moving, staying := r.StartLoad(t, "outage.test", "/"), r.StartLoad(t, "outage.test", "/stay")

	r.Controller.Kill()
	r.Timeline.Note("the test has killed the controller")
	fairway.Eventually(t, patience, moving.Reaches("blue", 100))
	s.backends("fresh")
	moveTo(s, shop, "fresh")
	second := s.endpoint("second")
	change(s, endpoints, func(o *discoveryv1.EndpointSlice) { o.Endpoints[0].Addresses = []string{second} })
	s.delete(old)
	s.create(withRules("new", rule("new.outage.test", "/", "green")))
	fairway.Eventually(t, patience, moving.Reaches("blue", 100))
	s.now("old.outage.test", "/", "old")

	r.StartController(t)
	r.Timeline.Note("the test has started the controller")
	fairway.Eventually(t, patience, moving.Reaches("fresh", 100))
	fairway.Eventually(t, patience, staying.Reaches("second", 100))
	s.eventually("new.outage.test", "/", "green")
	s.eventually("old.outage.test", "/", notFound)
	moving.StopClean()
	staying.StopClean()
}

func testControllerKilledAmidChanges(t *testing.T, r *fairway.Installation) {
	s := newSite(t, r)
	s.backends("v0")
	shop := withRules("shop", rule("amid.test", "/", "v0"))
	s.create(shop)
	s.underLoad("amid.test", "/", "v0", 5, func(i int) step {
		to := fmt.Sprintf("v%d", i+1)
		return step{to + ", and kills the controller", func() {
			s.backends(to)
			moveTo(s, shop, to)
			r.Controller.Kill()
			r.StartController(t)
		}, to}
	})
}

// Settings of the gateway change all clusters under their names, and no
// listener.
func testSettingsChanged(t *testing.T, r *fairway.Installation) {
	s := newSite(t, r)
	var rules []networkingv1.IngressRule
	for i := range 20 {
		name := fmt.Sprintf("shop-%d", i)
		s.backends(name)
		rules = append(rules, rule(name+".settings.test", "/", name))
	}
	s.create(withRules("shops", rules...))
	for i := range rules {
		s.eventually(rules[i].Host, "/", fmt.Sprintf("shop-%d", i))
	}
	first, last := r.StartLoad(t, rules[0].Host, "/"), r.StartLoad(t, rules[19].Host, "/")
	for _, flag := range []string{"--connect-timeout=7s", "--max-response-headers=300", "--max-response-header-count=900"} {
		began := time.Now()
		if err := r.Controller.Stop(t, patience); err != nil {
			t.Errorf("after SIGTERM: %v", err)
		}
		r.StartController(t, flag)
		fairway.Eventually(t, patience, r.Ready)
		fairway.Eventually(t, patience, r.Metric("fairway_xds_envoys 1"))
		fairway.Eventually(t, patience, first.Reaches("shop-0", 100))
		fairway.Eventually(t, patience, last.Reaches("shop-19", 100))
		what := r.Timeline.Around(began, 0, time.Hour)
		if !strings.Contains(what, " < Cluster ") {
			t.Errorf("the clusters have not changed:\n%s", what)
		}
		if strings.Contains(what, " < Listener ") {
			t.Errorf("a listener has changed, and with it all its connections:\n%s", what)
		}
	}
	first.StopClean()
	last.StopClean()
}

// An Envoy that crashed comes back by itself and serves what it served: it
// refuses connections until then, and never answers wrong.
func testEnvoyKilled(t *testing.T, r *fairway.Installation) {
	s := newSite(t, r)
	s.backends("blue", "green")
	shop := withRules("shop", rule("killed.test", "/", "blue"))
	s.create(shop)
	s.eventually("killed.test", "/", "blue")
	load := r.StartLoad(t, "killed.test", "/")
	fairway.Eventually(t, patience, load.Reaches("blue", 100))
	killed := time.Now()
	r.Envoys[0].Kill(t)
	moveTo(s, shop, "green")
	fairway.Eventually(t, patience, load.Reaches("green", 1))
	back := time.Now()
	fairway.Eventually(t, patience, load.Reaches("green", 100))
	tally := load.Stop()
	if tally.Failures == 0 {
		t.Error("nobody noticed that Envoy was killed")
	}
	t.Logf("back after %s; %d requests failed meanwhile", back.Sub(killed), tally.Failures)
	for _, f := range tally.Failed {
		if f.At.Before(killed) || f.At.After(back) || strings.Contains(f.What, "status") {
			t.Errorf("%s after the kill (back after %s): %s\n%s", f.At.Sub(killed), back.Sub(killed), f.What,
				r.Timeline.Around(f.At, 200*time.Millisecond, 200*time.Millisecond))
		}
	}
}

func testAPIServerAway(t *testing.T, r *fairway.Installation) {
	s := newSite(t, r)
	s.backends("blue", "green")
	shop := withRules("shop", rule("away.test", "/", "blue"))
	s.create(shop)
	s.eventually("away.test", "/", "blue")
	load := r.StartLoad(t, "away.test", "/")
	// A starting API server knows nobody's rights for a moment.
	r.Controller.Tolerate("Failed to watch", "Error retrieving lease lock", "cannot watch what certificates are ordered by",
		"cut off from the API server")
	r.Cluster.StopAPIServer()
	r.Timeline.Note("the test has stopped the API server")
	fairway.Eventually(t, patience, load.Reaches("blue", 1000))
	if err := r.Cluster.StartAPIServer(); err != nil {
		t.Fatal(err)
	}
	r.Timeline.Note("the test has started the API server")
	moveTo(s, shop, "green")
	fairway.Eventually(t, 2*patience, load.Reaches("green", 100))
	s.create(withRules("more", rule("more.away.test", "/", "blue")))
	s.eventually("more.away.test", "/", "blue")
	load.StopClean()
}
