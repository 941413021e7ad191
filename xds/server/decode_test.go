package server_test

import (
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
)

// hostsIn describes the virtual hosts of a RouteConfiguration by domain, each
// as its routes in order: "/cart>shop/cart:80 />503".
func hostsIn(body []byte) map[string]string {
	var rc routev3.RouteConfiguration
	if err := proto.Unmarshal(body, &rc); err != nil {
		return map[string]string{"": err.Error()}
	}
	hosts := make(map[string]string)
	for _, vh := range rc.GetVirtualHosts() {
		var routes []string
		for _, r := range vh.GetRoutes() {
			action := r.GetRoute().GetCluster()
			if d := r.GetDirectResponse(); d != nil {
				action = fmt.Sprint(d.GetStatus())
			}
			if p := pathOf(r.GetMatch()); p != "" { // the last resort of every host is not told
				routes = append(routes, p+">"+action)
			}
		}
		for _, domain := range vh.GetDomains() {
			hosts[domain] = strings.Join(routes, " ")
		}
	}
	return hosts
}

func pathOf(m *routev3.RouteMatch) string {
	return m.GetPath() + m.GetPrefix() + m.GetPathSeparatedPrefix()
}

// virtualHostBytes are the virtual hosts of a RouteConfiguration, marshalled
// one by one and sorted: equal for RouteConfigurations that differ in order.
func virtualHostBytes(body []byte) []string {
	var rc routev3.RouteConfiguration
	if err := proto.Unmarshal(body, &rc); err != nil {
		return []string{err.Error()}
	}
	var hosts []string
	for _, vh := range rc.GetVirtualHosts() {
		b, err := proto.MarshalOptions{Deterministic: true}.Marshal(vh)
		if err != nil {
			return []string{err.Error()}
		}
		hosts = append(hosts, string(b))
	}
	slices.Sort(hosts)
	return hosts
}

// scopeKey is the key of a scope: the domain of the virtual host behind it.
func scopeKey(body []byte) string {
	var scope routev3.ScopedRouteConfiguration
	if err := proto.Unmarshal(body, &scope); err != nil {
		return err.Error()
	}
	key := ""
	for _, f := range scope.GetKey().GetFragments() {
		key += f.GetStringKey()
	}
	return key
}
