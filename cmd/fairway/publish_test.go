package main

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/fairwaynet/fairway/controllers/edge/ingressstatus"
	"github.com/fairwaynet/fairway/xds/route"
)

func TestWhereGatewaysAreReached(t *testing.T) {
	s := publishSettings{
		Addresses: []string{"192.0.2.1", "lb.example", "team/web=2001:db8::1"},
		Services:  []string{"inner=fairway-system/inner"},
	}
	if err := s.load(func(_, problem string) error { return errors.New(problem) }); err != nil {
		t.Fatal(err)
	}
	want := map[route.Gateway]published{
		ingressstatus.Others: {addresses: []networkingv1.IngressLoadBalancerIngress{{IP: "192.0.2.1"}, {Hostname: "lb.example"}}},
		"team/web":           {addresses: []networkingv1.IngressLoadBalancerIngress{{IP: "2001:db8::1"}}},
		"inner":              {service: types.NamespacedName{Namespace: "fairway-system", Name: "inner"}},
	}
	if diff := cmp.Diff(want, s.each, cmp.AllowUnexported(published{})); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	addresses := &ingressstatus.Addresses{}
	if diff := cmp.Diff([]route.Gateway{"inner"}, s.tell(addresses)); diff != "" {
		t.Errorf("followed (-want +got):\n%s", diff)
	}
	for gateway, want := range map[route.Gateway]int{"default": 2, "team/web": 1, "inner": 0} {
		if got := addresses.Of(gateway); len(got) != want {
			t.Errorf("gateway %s is reached at %v, want %d addresses", gateway, got, want)
		}
	}
}

func TestWrongAddressesAreUsageErrors(t *testing.T) {
	for _, test := range []struct {
		name, address, service, want string
	}{
		{"no address", "under_score", "", `publish-address: "under_score" is neither an IP address nor a host name`},
		{"no gateway", "In ner=192.0.2.1", "", `publish-address: "In ner" is not the name of a gateway`},
		{"an empty gateway", "=192.0.2.1", "", `publish-address: "" is not the name of a gateway`},
		{"no Service", "", "gateway", `publish-service: "gateway" is no namespace/name`},
		{"no Service of a gateway", "", "inner=gateway", `publish-service: "gateway" is no namespace/name`},
		{"both", "192.0.2.1", "a/b", `publish-service: cannot be used together with publish-address`},
		{"both of a gateway", "inner=192.0.2.1", "inner=a/b", `publish-service: cannot be used together with publish-address`},
		{"two Services", "", "a/b,a/c", `publish-service: "a/b" and "a/c": one Service is enough`},
	} {
		t.Run(test.name, func(t *testing.T) {
			var s publishSettings
			if test.address != "" {
				s.Addresses = []string{test.address}
			}
			if test.service != "" {
				s.Services = strings.Split(test.service, ",")
			}
			err := s.load(func(name, problem string) error { return errors.New(name + ": " + problem) })
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want %s", err, test.want)
			}
		})
	}
}
