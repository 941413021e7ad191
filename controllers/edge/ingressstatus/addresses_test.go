package ingressstatus

import (
	"testing"

	networkingv1 "k8s.io/api/networking/v1"

	"github.com/fairwaynet/fairway/xds/route"
)

func TestAddressesOfGateways(t *testing.T) {
	outside := []networkingv1.IngressLoadBalancerIngress{Address("192.0.2.1")}
	inside := []networkingv1.IngressLoadBalancerIngress{Address("inner.example")}
	changes := 0
	a := &Addresses{Changed: func() { changes++ }}
	a.Set(Others, outside)
	for _, test := range []struct {
		gateway route.Gateway
		list    []networkingv1.IngressLoadBalancerIngress
		want    bool
	}{
		{"inner", outside, false}, // it shares them
		{"inner", inside, false},  // no gateway is known to have these
	} {
		if got := a.elsewhere(test.list, test.gateway); got != test.want {
			t.Errorf("%v elsewhere than at %s: %t, want %t", test.list, test.gateway, got, test.want)
		}
	}
	a.Set("inner", nil)
	if got := a.Of("inner"); len(got) > 0 {
		t.Errorf("a gateway whose Service has no address yet is reached at %v", got)
	}
	a.Set("inner", inside)
	a.Set("inner", inside)
	if changes != 3 {
		t.Errorf("%d changes, want 3", changes)
	}
	if !a.elsewhere(outside, "inner") || !a.elsewhere(inside, "outer") || a.elsewhere(inside, "inner") || a.elsewhere(nil, "inner") {
		t.Error("addresses are taken for those of the wrong gateway")
	}
}
