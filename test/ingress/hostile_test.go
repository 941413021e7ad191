package ingress_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairwaynet/fairway/test/fairway"
	"github.com/fairwaynet/fairway/test/soak"
	"github.com/fairwaynet/fairway/xds/envoy"
	"github.com/fairwaynet/fairway/xds/route"
)

const (
	// many is as many paths and hosts as an Ingress can have before the API
	// server finds it too large.
	many = 10_000
	// hostileRate is how often the largest object changes, without an end.
	hostileRate = 20 * time.Millisecond
	// slowestChange is how long a change of a bystander's host may take.
	slowestChange = 5 * time.Second
	// longest is how long the hostile objects themselves may take on a machine that is
	// busy otherwise.
	longest = 5 * time.Minute
)

// measured is how often a bystander's host changes.
var measured = soak.Pick(5, 40)

// Objects as large as the API server takes cost only themselves: hosts of others
// change as fast as before, also while such an object changes again and again.
func TestHostileObjectsCostThemselves(t *testing.T) {
	r := start(t, fairway.Options{Flags: []string{"-v"}})
	bystander, bystanderHost := newSite(t, r), neighbourOf("paths.test")
	bystander.backends("one", "two")
	web := ingress("web")
	web.Spec.Rules = []networkingv1.IngressRule{rule(bystanderHost, "/", "one")}
	bystander.create(web)
	fairway.Eventually(t, patience, fairway.Answers(bystanderHost, "/", "one"))
	bystander.changeOften(web, "alone")
	memory := r.Controller.RSS(t)

	hostile := newSite(t, r)
	hostile.backends("bad")
	large := manyPaths()
	objects := []client.Object{large, manyHosts(), hugeAnnotation(), fairway.Service("crowd")}
	objects = append(objects, crowd()...)
	hostile.create(objects...)
	fairway.Eventually(t, longest, fairway.Answers("paths.test", "/p9999", "bad"))
	fairway.Eventually(t, longest, fairway.Answers("h9999.hostile.test", "/", "bad"))
	bystander.changeOften(web, "beside hostile objects")

	stop := hostile.changeForever(large)
	bystander.changeOften(web, "while one of them changes")
	stop()
	fairway.Eventually(t, longest, hostile.eventOf("annotated", "InvalidAnnotation"))
	t.Logf("controller: %d MiB, before %d; Envoy: %d MiB", r.Controller.RSS(t)>>20, memory>>20, r.Envoys[0].RSS(t)>>20)
}

// neighbourOf is a host in whose part of Envoy's configuration the given one is
// too, so that a change of the one resends the other.
func neighbourOf(host route.Hostname) string {
	for i := 0; ; i++ {
		if name := fmt.Sprintf("bystander%d.test", i); envoy.ShardOf(route.Hostname(name)) == envoy.ShardOf(host) {
			return name
		}
	}
}

// changeOften changes the backend of a host and measures how long that takes.
func (s *site) changeOften(web *networkingv1.Ingress, when string) {
	s.Helper()
	var took []time.Duration
	for i := range measured {
		backend := []string{"two", "one"}[i%2]
		began := time.Now()
		change(s, web, func(web *networkingv1.Ingress) {
			web.Spec.Rules[0].HTTP.Paths[0].Backend.Service.Name = backend
		})
		fairway.Eventually(s, patience, fairway.Answers(web.Spec.Rules[0].Host, "/", backend))
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	s.Logf("a change %s: median %s", when, took[measured/2].Round(time.Millisecond))
	soak.Promised(s, "the slowest change "+when, took[measured-1], slowestChange)
}

// changeForever changes the first path of an Ingress again and again, until
// stop is called.
func (s *site) changeForever(large *networkingv1.Ingress) (stop func()) {
	ctx, cancel := context.WithCancel(s.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(hostileRate)
		defer tick.Stop()
		for i := 0; ; i++ {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			patch := fmt.Sprintf(`[{"op":"replace","path":"/spec/rules/0/http/paths/0/path","value":"/changed%d"}]`, i)
			err := s.fairway.Client.Patch(ctx, large, client.RawPatch("application/json-patch+json", []byte(patch)))
			if err != nil && ctx.Err() == nil {
				s.Errorf("change the hostile Ingress: %v", err)
				return
			}
		}
	}()
	return func() { cancel(); <-ended }
}

// manyPaths is an Ingress with one host of many paths.
func manyPaths() *networkingv1.Ingress {
	large := ingress("paths")
	paths := make([]string, 0, 2*many)
	for i := range many {
		paths = append(paths, fmt.Sprintf("/p%d", i), "bad")
	}
	large.Spec.Rules = []networkingv1.IngressRule{rule("paths.test", paths...)}
	return large
}

// manyHosts is an Ingress with many hosts.
func manyHosts() *networkingv1.Ingress {
	large := ingress("hosts")
	for i := range many {
		large.Spec.Rules = append(large.Spec.Rules, rule(fmt.Sprintf("h%d.hostile.test", i), "/", "bad"))
	}
	return large
}

// hugeAnnotation is an Ingress with a mistake as large as annotations can be.
func hugeAnnotation() *networkingv1.Ingress {
	large := ingress("annotated")
	large.Annotations = map[string]string{"fairway.dev/max-request-body": strings.Repeat("9", 250_000)}
	large.Spec.Rules = []networkingv1.IngressRule{rule("annotated.test", "/", "bad")}
	return large
}

// crowd are the endpoints of a Service that has as many.
func crowd() []client.Object {
	const ofOne = 1000 // which is all that a slice may hold
	var slices []client.Object
	for i := range many / ofOne {
		slice := fairway.Slice("crowd")
		slice.Name = fmt.Sprintf("crowd-%d", i)
		for j := range ofOne {
			n := i*ofOne + j
			slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{
				Addresses: []string{fmt.Sprintf("10.78.%d.%d", n/250, n%250+1)},
			})
		}
		slices = append(slices, slice)
	}
	uses := ingress("crowd")
	uses.Spec.Rules = []networkingv1.IngressRule{rule("crowd.test", "/", "crowd")}
	return append(slices, uses)
}

// eventOf is a check for Eventually: an Ingress has an event of that reason.
func (s *site) eventOf(name, reason string) func(context.Context) error {
	return func(ctx context.Context) error {
		var events corev1.EventList
		if err := s.fairway.Client.List(ctx, &events, client.InNamespace(s.namespace)); err != nil {
			return err
		}
		for _, e := range events.Items {
			if e.InvolvedObject.Name == name && e.Reason == reason {
				return nil
			}
		}
		return fmt.Errorf("%s has no event %s", name, reason)
	}
}
