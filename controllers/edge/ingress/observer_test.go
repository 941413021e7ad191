package ingress

import (
	"testing"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairwaynet/fairway/controllers/objects/index"
	"github.com/fairwaynet/fairway/controllers/replicas/replica"
	"github.com/fairwaynet/fairway/test/indexed"
	"github.com/fairwaynet/fairway/xds/route"
	"github.com/fairwaynet/fairway/xds/server"
)

// The event of a class may come before events of Ingresses that the cache already
// has. It makes the Ingress wait, and claims no version of other Ingresses.
func TestTheEventOfAClassClaimsNoIngress(t *testing.T) {
	shop := &networkingv1.Ingress{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "shop", ResourceVersion: "500"}}
	shop.Spec.Rules = []networkingv1.IngressRule{{Host: "shop.test"}}
	key := route.Key{Gateway: route.DefaultGateway, Host: "shop.test"}
	tracker := &replica.Tracker{Hosts: server.New(server.Options{})}
	tracker.Envoys(map[route.Gateway]replica.Gateway{key.Gateway: {Envoys: 1, Synced: 1}})
	tracker.Saw(client.ObjectKey{Namespace: "shop", Name: "blog"}, 498, nil)
	r := &Reconciler{Objects: index.Objects{Cluster: indexed.Cluster(t, shop)}, Tracker: tracker}

	class := &networkingv1.IngressClass{ObjectMeta: metav1.ObjectMeta{Name: "fairway", UID: "1", ResourceVersion: "501"}}
	r.sawClass(t.Context(), class, false, []route.Key{key})

	report := tracker.Report()
	if report.Watermark != 498 {
		t.Errorf("watermark %d, want 498: of 499 nothing has been heard", report.Watermark)
	}
	if len(report.HeldUp) != 1 || report.HeldUp[0].Version != 500 {
		t.Errorf("held up: %+v, want the Ingress at 500", report.HeldUp)
	}
	if report.Scope == "" {
		t.Error("the class is not in the scope")
	}
}
