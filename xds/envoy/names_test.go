package envoy_test

import (
	"testing"

	"k8s.io/apimachinery/pkg/types"

	"github.com/fairwaynet/fairway/xds/envoy"
	"github.com/fairwaynet/fairway/xds/route"
)

func TestClusterNames(t *testing.T) {
	cart := servicePort("shop/cart:80")
	for want, c := range map[string]route.Cluster{
		"shop/cart:80":                       {Port: cart},
		"shop/cart:80 h2":                    {Port: cart, Protocol: route.HTTP2},
		"shop/cart:80 tls":                   {Port: cart, TLS: true},
		"shop/cart:80 tls-h2":                {Port: cart, TLS: true, Protocol: route.HTTP2},
		"shop/cart:80 tls-auto":              {Port: cart, TLS: true, Protocol: route.HTTPAuto},
		"shop/cart:80 dns=cart.example":      {Port: cart, DNS: "cart.example"},
		"shop/cart:80 tls dns=cart.example.": {Port: cart, TLS: true, DNS: "cart.example."},
		"shop/cart:80 dns=a.example port=81": {Port: cart, DNS: "a.example", DNSPort: 81},
		"shop/cart:80 per-client":            {Port: cart, PerClient: true},
	} {
		if got := envoy.ClusterName(c); got != want {
			t.Errorf("ClusterName(%+v) = %q, want %q", c, got, want)
		}
	}
	if got := envoy.EndpointsName(cart); got != "shop/cart:80" {
		t.Errorf("EndpointsName = %q", got)
	}
}

// Two clusters never share a name, whatever their parts hold.
func FuzzClusterNamesDiffer(f *testing.F) {
	f.Add("shop", "cart", int32(80), 0, false, "", "shop", "cart:80", int32(80), 1, false, "")
	f.Add("a/b", "c", int32(1), 0, false, "", "a", "b/c", int32(1), 0, false, "")
	f.Add("a", "b", int32(1), 1, false, "", "a", "b:1 h2", int32(1), 0, false, "")
	f.Add("a", "b", int32(1), 0, true, "x tls", "a", "b", int32(1), 0, true, "x%20tls")
	f.Add("a", "b", int32(1), 6, true, "x", "a", "b", int32(1), 0, true, "x port=1")
	f.Fuzz(func(t *testing.T, ns1, name1 string, port1 int32, p1 int, tls1 bool, dns1 string,
		ns2, name2 string, port2 int32, p2 int, tls2 bool, dns2 string) {
		one := cluster(ns1, name1, port1, p1, tls1, dns1)
		two := cluster(ns2, name2, port2, p2, tls2, dns2)
		if same := envoy.ClusterName(one) == envoy.ClusterName(two); same != (one == two) {
			t.Errorf("%+v and %+v are named %q and %q", one, two, envoy.ClusterName(one), envoy.ClusterName(two))
		}
	})
}

func cluster(namespace, name string, port int32, protocol int, tls bool, dns string) route.Cluster {
	return route.Cluster{
		Port:      route.ServicePort{Service: types.NamespacedName{Namespace: namespace, Name: name}, Port: port},
		Protocol:  route.Protocol(uint(protocol) % 3),
		TLS:       tls,
		DNS:       dns,
		PerClient: uint(protocol)/3%2 == 1,
		DNSPort:   int32(uint(protocol) / 6 % 3),
	}
}
