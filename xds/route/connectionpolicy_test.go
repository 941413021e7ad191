package route_test

import (
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/fairwaynet/fairway/xds/route"
)

// connectionPolicy gives Ingresses annotations about who may connect.
func guard(random *rand.Rand, ingresses []*networkingv1.Ingress) {
	one := func(values ...string) string { return values[random.IntN(len(values))] }
	for _, ing := range ingresses {
		ing.Annotations = map[string]string{}
		if random.IntN(3) == 0 {
			ing.Annotations[route.AnnotationClientCA] = one("ca", "ca", "other-ca", "NOT A NAME", "")
		}
		if random.IntN(4) == 0 {
			ing.Annotations[route.AnnotationClientCertificate] = one("Required", "Optional", "Optional", "whatever", "")
		}
		if random.IntN(4) == 0 {
			ing.Annotations[route.AnnotationTLSPassthrough] = one("true", "true", "false", "whatever")
		}
	}
}

// Whatever Ingresses share a host: what demands certificates of clients is never
// served with less, what asks for its TLS to be passed through is never served
// where TLS ends, and a host is either passed through or has routes.
func TestNothingIsServedWithLessThanItDemands(t *testing.T) {
	for seed := range uint64(3000) {
		random := rand.New(rand.NewPCG(seed, 1))
		w := randomWorld(random)
		guard(random, w.ingresses)
		made := w.build()
		byName := map[types.NamespacedName]*networkingv1.Ingress{}
		for _, ing := range w.ingresses {
			byName[nameOf(ing)] = ing
		}
		for _, key := range sortedKeys(made.Hosts) {
			host := made.Hosts[key]
			for _, r := range host.Routes {
				if r.Cluster != nil && !fulfils(host, byName[r.Origin]) {
					t.Errorf("seed %d: %s with %s serves %s %s of %s, which demands %v", seed, key, host.Client,
						r.Match.Kind, r.Match.Path, r.Origin, byName[r.Origin].Annotations)
				}
			}
			if host.Passthrough != nil && (host.Client != nil || len(host.Routes) != 1 || host.Routes[0].Status != 421 || key.Host == route.AnyHost) {
				t.Errorf("seed %d: %s is passed through, and has %+v", seed, key, host)
			}
		}
		random.Shuffle(len(w.ingresses), func(i, j int) { w.ingresses[i], w.ingresses[j] = w.ingresses[j], w.ingresses[i] })
		if diff := diffOf(made, w.build()); diff != "" {
			t.Fatalf("seed %d: another order of the same Ingresses:\n%s", seed, diff)
		}
		if t.Failed() {
			t.FailNow()
		}
	}
}

// fulfils reports whether a host demands all that an Ingress does.
func fulfils(host *route.Host, ing *networkingv1.Ingress) bool {
	mode, hasMode := ing.Annotations[route.AnnotationClientCertificate]
	ca, hasCA := ing.Annotations[route.AnnotationClientCA]
	switch {
	case hasCA || hasMode:
		return host.Client != nil && host.Client.CA == types.NamespacedName{Namespace: ing.Namespace, Name: ca} &&
			(host.Client.Required || mode == route.ClientOptional)
	default:
		return ing.Annotations[route.AnnotationTLSPassthrough] != "true"
	}
}

// Policies that differ have names that differ, whatever their parts hold.
func TestPoliciesHaveNames(t *testing.T) {
	parts := []string{"", "a", "b", "a/b", "a b", "a%2Fb", " required", "b required"}
	seen := map[string]route.ClientPolicy{}
	for _, namespace := range parts {
		for _, name := range parts {
			for _, required := range []bool{true, false} {
				policy := route.ClientPolicy{CA: types.NamespacedName{Namespace: namespace, Name: name}, Required: required}
				if other, taken := seen[policy.String()]; taken {
					t.Errorf("%+v and %+v are both %q", policy, other, policy)
				}
				seen[policy.String()] = policy
			}
		}
	}
	if !slices.Contains(slices.Collect(maps.Keys(seen)), "a/b required") {
		t.Error("names are not what they were")
	}
}
