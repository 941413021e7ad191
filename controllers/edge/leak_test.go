package edge

import (
	"fmt"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairwaynet/fairway/controllers/objects/report"
	"github.com/fairwaynet/fairway/controllers/replicas/replica"
	"github.com/fairwaynet/fairway/test/census"
	"github.com/fairwaynet/fairway/test/soak"
	"github.com/fairwaynet/fairway/xds/route"
	"github.com/fairwaynet/fairway/xds/server"
)

// When thousands of names come and go, nothing of them stays. This replica has no
// Envoys and does not lead: so it never hears that anything is served, and nobody
// takes its Problems.
func TestNothingStaysOfWhatComesAndGoes(t *testing.T) {
	soak.Bulk(t)
	s := start(t.Context(), t, newWorld())
	led := &report.LeaderOnly{}
	s.controllers.Reporter = report.New(led)
	delivery, _ := deliveryOf(t, s)
	ads := server.New(server.Options{Log: logr.Discard(), Observer: delivery})
	s.controllers.Publisher, s.controllers.Tracker = ads, &replica.Tracker{Hosts: ads}
	delivery.Served = s.controllers.Tracker.Heard
	s.controllers.Delivery, s.controllers.Metrics = delivery, delivery.Metrics
	publisher := s.controllers.counted()
	all := s.openOn(t.Context(), t, publisher)

	kept := func() map[string]int {
		return census.Of([]string{"github.com/fairwaynet/fairway/controllers"}, publisher, all, delivery, s.controllers.Tracker, led)
	}
	s.settle(t.Context())
	before := kept()
	for round := range 3 {
		each := func(change func(...client.Object)) {
			for i := range 1000 {
				change(comers(fmt.Sprintf("r%d-%d", round, i))...)
			}
			s.settle(t.Context())
		}
		each(s.world.Apply)
		if during := kept(); during["edge.counted.hosts"] < 1000 || during["report.LeaderOnly.untold"] == 0 {
			t.Fatalf("nothing has come: %v", during)
		}
		each(s.world.Remove)
	}
	gone := time.Now()
	for tick := time.Tick(10 * time.Millisecond); anyLeaves(ads); <-tick {
		if time.Since(gone) > patience {
			t.Fatal("hosts do not leave")
		}
	}
	ads.Close() // no observer hears of anything after this
	if diff := cmp.Diff(before, kept()); diff != "" {
		t.Errorf("what stays (-before +after):\n%s", diff)
	}
}

// anyLeaves reports whether some host is not gone yet.
func anyLeaves(ads *server.Server) bool {
	for round := range 3 {
		for i := range 1000 {
			name := fmt.Sprintf("r%d-%d.test", round, i)
			for _, host := range []string{name, "missing-" + name, "guarded-" + name} {
				if ads.Host(keyOf(route.Hostname(host))).Withdrawing {
					return true
				}
			}
		}
	}
	return false
}

// comers are an Ingress of three hosts and what it names: a Service, a missing
// Service, a certificate, and missing authorities of clients.
func comers(name string) []client.Object {
	ingress := ingressOf(name+".test", name)
	ingress.Spec.TLS = []networkingv1.IngressTLS{{SecretName: name, Hosts: []string{name + ".test"}}}
	for _, other := range []string{"missing-", "guarded-"} {
		more := ingressOf(other+name+".test", other+name).Spec.Rules[0]
		ingress.Spec.Rules = append(ingress.Spec.Rules, more)
	}
	guarded := ingressOf("guarded-"+name+".test", name)
	guarded.Annotations[route.AnnotationClientCA] = "ca-" + name
	return []client.Object{
		ingress, guarded, serviceOf(name, 80), sliceOf(name, "10.0.0.1"),
		&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name}, Type: corev1.SecretTypeTLS},
	}
}
