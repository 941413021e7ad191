package route_test

import (
	"flag"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	networkingv1 "k8s.io/api/networking/v1"

	"github.com/fairwaynet/fairway/api/problem"
	"github.com/fairwaynet/fairway/xds/route"
)

var seedFlag = flag.Uint64("seed", 0, "seed of the property tests; 0: a new one each run")

// forSeeds runs a property on n random worlds and prints the seed of one that
// breaks it.
func forSeeds(t *testing.T, n int, property func(t *testing.T, random *rand.Rand)) {
	t.Helper()
	first := *seedFlag
	if first != 0 {
		n = 1
	} else {
		first = freshSeed()
	}
	for i := range n {
		seed := first + uint64(i)
		property(t, seeded(seed))
		if t.Failed() {
			t.Fatalf("again with -seed=%d", seed)
		}
	}
}

func diffOf(a, b any) string {
	return cmp.Diff(a, b, cmpopts.EquateComparable(netip.AddrPort{}), cmpopts.EquateEmpty())
}

// The first Route that matches a request is the choice of the Ingress API.
func TestRoutesAreTriedInTheAPIsOrder(t *testing.T) {
	forSeeds(t, 2000, func(t *testing.T, random *rand.Rand) {
		w := randomWorld(random)
		made := w.build()
		for range 40 {
			host := pick(random, []string{"a.test", "b.test", "x.a.test", "y.a.test", "y.x.a.test", "z.y.x.a.test", "other.test"})
			path := randomPath(random)
			if want, got := (oracle{w}).ask(host, path), made.ask(host, path); want != got {
				t.Errorf("%s%s: %s, want %s", host, path, got, want)
			}
		}
	})
}

// Objects come in no order, and equal objects give equal values.
func TestBuildIsBlindToOrder(t *testing.T) {
	forSeeds(t, 500, func(t *testing.T, random *rand.Rand) {
		w := randomWorld(random)
		made := w.build()
		shuffle(random, w.ingresses)
		shuffle(random, w.services)
		shuffle(random, w.slices)
		if diff := diffOf(made, w.build()); diff != "" {
			t.Errorf("(-before +after shuffling)\n%s", diff)
		}
	})
}

func shuffle[T any](random *rand.Rand, s []T) {
	random.Shuffle(len(s), func(i, j int) { s[i], s[j] = s[j], s[i] })
}

// Build reads caches that others read as well.
func TestBuildChangesNothing(t *testing.T) {
	forSeeds(t, 200, func(t *testing.T, random *rand.Rand) {
		w := randomWorld(random)
		var before world
		for _, ing := range w.ingresses {
			before.ingresses = append(before.ingresses, ing.DeepCopy())
		}
		for _, service := range w.services {
			before.services = append(before.services, service.DeepCopy())
		}
		for _, slice := range w.slices {
			before.slices = append(before.slices, slice.DeepCopy())
		}
		w.build()
		if diff := cmp.Diff(before, w, cmp.AllowUnexported(world{})); diff != "" {
			t.Errorf("(-before +after Build)\n%s", diff)
		}
	})
}

// Every key keeps the package's promises about values (see invariant_test.go).
func TestRandomWorldsAreWellFormed(t *testing.T) {
	forSeeds(t, 500, func(t *testing.T, random *rand.Rand) {
		checkInvariants(t, randomWorld(random))
	})
}

// What is wrong with an Ingress as a whole is found once, under the first of the
// hosts that it concerns.
func TestIngressIsReportedUnderOneKey(t *testing.T) {
	forSeeds(t, 500, func(t *testing.T, random *rand.Rand) {
		w := randomWorld(random)
		ing := w.ingresses[0]
		ing.Annotations = map[string]string{"fairway.dev/unknown": ""}
		var under []route.Hostname
		for key, ingresses := range w.keys() {
			_, problems := route.Build(key, route.Objects{Ingresses: ingresses})
			for _, p := range problems {
				if p.Object.Name == nameOf(ing) && p.Reason == route.ReasonUnknownAnnotation {
					under = append(under, key.Host)
				}
			}
		}
		if want := route.HostsOf(ing)[:1]; !slices.Equal(under, want) {
			t.Errorf("%s is reported under %q, want %q", nameOf(ing), under, want)
		}
	})
}

// A broken object costs only itself: beside one Ingress broken in every way
// that there is, the good ones serve what they served, and hear nothing new.
func TestBrokenIngressCostsOnlyItself(t *testing.T) {
	broken := brokenIngresses(t)
	forSeeds(t, 200, func(t *testing.T, random *rand.Rand) {
		good := randomWorld(random)
		// No good one is broken, or has a broken one's path.
		good.ingresses = slices.DeleteFunc(good.ingresses, func(ing *networkingv1.Ingress) bool { return ing.Spec.DefaultBackend != nil })
		mixed := good
		mixed.ingresses = append(slices.Clone(good.ingresses), broken...)
		shuffle(random, mixed.ingresses)
		before, after := good.build(), mixed.build()

		if diff := diffOf(servedFor(before, good), servedFor(after, good)); diff != "" {
			t.Errorf("(-alone +beside broken ones)\n%s", diff)
		}
		if diff := diffOf(problemsOf(before, good), problemsOf(after, good)); diff != "" {
			t.Errorf("(-alone +beside broken ones)\n%s", diff)
		}
		for range 40 {
			host, path := pick(random, []string{"a.test", "b.test", "x.a.test"}), randomPath(random)
			// Naming a host is no mistake, even in an Ingress that is full of them.
			named := before.Hosts[route.Key{Gateway: route.DefaultGateway, Host: route.Hostname(host)}] != nil
			if want := before.ask(host, path); named && want != "404" && after.ask(host, path) != want {
				t.Errorf("%s%s: %s, want %s", host, path, after.ask(host, path), want)
			}
		}
	})
}

// brokenIngresses are every kind of broken Ingress, older than any good one,
// on the hosts that the good ones have.
func brokenIngresses(t *testing.T) []*networkingv1.Ingress {
	t.Helper()
	good := `{path: "/broken", pathType: Prefix, backend: {service: {name: gone, port: {number: 80}}}}`
	paths := []string{
		strings.ReplaceAll(good, `"/broken"`, `"broken"`),
		strings.ReplaceAll(good, `"/broken"`, `""`),
		strings.ReplaceAll(good, `"/broken"`, `"/broken//a"`),
		strings.ReplaceAll(good, `"/broken"`, `"/broken/../a"`),
		strings.ReplaceAll(good, `"/broken"`, `"/broken?a"`),
		strings.ReplaceAll(good, `"/broken"`, `"/broken(/|$)(.*)"`),
		strings.ReplaceAll(good, `Prefix`, `Regex`),
		`{path: "/broken"}`,
		`{path: "/broken", pathType: Exact}`,
		`{path: "/broken", pathType: Exact, backend: {resource: {kind: Bucket, name: b}}}`,
		`{path: "/broken", pathType: Exact, backend: {service: {name: web}}}`,
		`{path: "/broken", pathType: Exact, backend: {service: {name: "", port: {number: 80}}}}`,
		`{path: "/broken", pathType: Exact, backend: {service: {name: web, port: {number: 65536}}}}`,
		`{path: "/broken", pathType: Exact, backend: {service: {name: web, port: {name: none}}}}`,
		good, "{}",
	}
	specs := []string{"{}", `{tls: [{}]}`, `{rules: [{}]}`, `{rules: [{host: BAD}]}`, `{rules: [{host: "*"}]}`, `{rules: [{host: 192.0.2.1}]}`}
	for _, host := range []string{"a.test", "x.a.test", "UPPER.test"} {
		specs = append(specs, `{rules: [{host: `+host+`}]}`, `{rules: [{host: `+host+`, http: {}}]}`)
		for _, path := range paths {
			specs = append(specs, `{rules: [{host: `+host+`, http: {paths: [`+path+`]}}]}`)
		}
	}
	var broken []*networkingv1.Ingress
	for i, spec := range specs {
		ing := decoded[networkingv1.Ingress](t, "spec: "+spec)
		ing.Namespace, ing.Name = "broken", "broken-"+string(rune('A'+i%26))+string(rune('A'+i/26))
		ing.Annotations = map[string]string{"fairway.dev/no-such": "", "fairway.dev/max-request-body": "much"}
		broken = append(broken, ing)
	}
	return broken
}

// servedFor are the routes that the Ingresses of w asked for, in their order.
func servedFor(made picture, w world) map[string][]route.Route {
	served := map[string][]route.Route{}
	for key, host := range made.Hosts {
		for _, r := range host.Routes {
			if slices.ContainsFunc(w.ingresses, func(ing *networkingv1.Ingress) bool { return nameOf(ing) == r.Origin }) {
				served[key.String()] = append(served[key.String()], r)
			}
		}
	}
	return served
}

// problemsOf are the Problems of the Ingresses of w.
func problemsOf(made picture, w world) []problem.Problem {
	return slices.DeleteFunc(slices.Clone(made.Problems), func(p problem.Problem) bool {
		return p.Object.Kind == "Ingress" && !slices.ContainsFunc(w.ingresses, func(ing *networkingv1.Ingress) bool {
			return nameOf(ing) == p.Object.Name
		})
	})
}
