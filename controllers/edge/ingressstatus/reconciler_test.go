package ingressstatus

import (
	"testing"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
)

// The last write to an Ingress is remembered for as long as it matters, and no
// longer: a leader lives long.
func TestGiftsAreForgottenAfterTheTruce(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	ing := &networkingv1.Ingress{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web"}}
	name := types.NamespacedName{Namespace: "shop", Name: "web"}
	r := &Reconciler{Ingresses: fake.NewClientset(ing).NetworkingV1(), Manager: "fairway", Now: func() time.Time { return now }}
	write := func(addresses ...networkingv1.IngressLoadBalancerIngress) {
		t.Helper()
		if err := r.write(t.Context(), ing, addresses); err != nil {
			t.Fatal(err)
		}
	}
	write(Address("192.0.2.1"))
	now = now.Add(rewriteInterval / 2)
	if left := r.lapse(name); left != rewriteInterval/2 || len(r.written) != 1 {
		t.Errorf("%s are left and %d gifts, want %s and one", left, len(r.written), rewriteInterval/2)
	}
	now = now.Add(rewriteInterval / 2)
	if left := r.lapse(name); left != 0 || len(r.written) != 0 {
		t.Errorf("%s are left and %d gifts, want none", left, len(r.written))
	}
	write() // no addresses: takes them away
	if len(r.written) != 0 {
		t.Error("what was taken away counts as given")
	}
}
