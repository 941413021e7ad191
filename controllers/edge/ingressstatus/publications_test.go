package ingressstatus

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/fairwaynet/fairway/xds/route"
)

func TestWhereGatewaysAreReached(t *testing.T) {
	p := Publications{}
	for _, given := range []string{"192.0.2.1", "lb.example", "team/web=2001:db8::1"} {
		if problem := p.AddAddress(given); problem != "" {
			t.Fatal(problem)
		}
	}
	if problem := p.AddService("inner=fairway-system/inner"); problem != "" {
		t.Fatal(problem)
	}
	want := Publications{
		Others:     {addresses: []networkingv1.IngressLoadBalancerIngress{{IP: "192.0.2.1"}, {Hostname: "lb.example"}}},
		"team/web": {addresses: []networkingv1.IngressLoadBalancerIngress{{IP: "2001:db8::1"}}},
		"inner":    {service: types.NamespacedName{Namespace: "fairway-system", Name: "inner"}},
	}
	if diff := cmp.Diff(want, p, cmp.AllowUnexported(publication{})); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	addresses := &Addresses{}
	p.SetAddresses(addresses)
	if diff := cmp.Diff(map[route.Gateway]types.NamespacedName{"inner": {Namespace: "fairway-system", Name: "inner"}}, p.Services()); diff != "" {
		t.Errorf("followed (-want +got):\n%s", diff)
	}
	for gateway, want := range map[route.Gateway]int{"default": 2, "team/web": 1, "inner": 0} {
		if got := addresses.Of(gateway); len(got) != want {
			t.Errorf("gateway %s is reached at %v, want %d addresses", gateway, got, want)
		}
	}
}
