package simulated

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tcpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
)

// held is a resource that Envoy has in use.
type held struct {
	version string
	body    []byte

	endpoints string              // of a cluster: its EDS resource, empty for other kinds of clusters
	scoped    bool                // of a listener: it has scoped routes
	passed    []string            // of a listener: the clusters to which it hands connections on, but for those of the bootstrap
	route     string              // of a scope: its RouteConfiguration; of a listener: the one it names itself
	key       string              // of a scope
	hosts     map[string][]string // of a RouteConfiguration: domain to the clusters that its routes name
}

// decode reads what Envoy's behaviour depends on. An error is what the real
// Envoy would refuse.
func decode(url, name, version string, body []byte) (*held, error) {
	h := &held{version: version, body: body}
	switch url {
	case resource.ClusterType:
		return h, h.cluster(name)
	case resource.ListenerType:
		return h, h.listener(name)
	case resource.RouteType:
		return h, h.routes(name)
	case resource.ScopedRouteType:
		return h, h.scope(name)
	default:
		return h, nil
	}
}

func (h *held) cluster(name string) error {
	var c clusterv3.Cluster
	if err := proto.Unmarshal(h.body, &c); err != nil {
		return fmt.Errorf("read cluster: %w", err)
	}
	if c.GetName() != name {
		return fmt.Errorf("cluster %q comes as resource %q", c.GetName(), name)
	}
	if c.GetType() == clusterv3.Cluster_EDS {
		h.endpoints = c.GetEdsClusterConfig().GetServiceName()
		if h.endpoints == "" {
			h.endpoints = name
		}
	}
	return nil
}

func (h *held) scope(name string) error {
	var s routev3.ScopedRouteConfiguration
	if err := proto.Unmarshal(h.body, &s); err != nil {
		return fmt.Errorf("read scope: %w", err)
	}
	if s.GetName() != name {
		return fmt.Errorf("scope %q comes as resource %q", s.GetName(), name)
	}
	h.route = s.GetRouteConfigurationName()
	for _, f := range s.GetKey().GetFragments() {
		h.key += f.GetStringKey()
	}
	return nil
}

func (h *held) listener(name string) error {
	var l listenerv3.Listener
	if err := proto.Unmarshal(h.body, &l); err != nil {
		return fmt.Errorf("read listener: %w", err)
	}
	if l.GetName() != name {
		return fmt.Errorf("listener %q comes as resource %q", l.GetName(), name)
	}
	for _, chain := range append(l.GetFilterChains(), l.GetDefaultFilterChain()) {
		for _, f := range chain.GetFilters() {
			var p tcpv3.TcpProxy
			if f.GetTypedConfig().MessageIs(&p) && f.GetTypedConfig().UnmarshalTo(&p) == nil && strings.Contains(p.GetCluster(), "/") {
				h.passed = append(h.passed, p.GetCluster())
			}
			var m hcmv3.HttpConnectionManager
			if f.GetTypedConfig().MessageIs(&m) && f.GetTypedConfig().UnmarshalTo(&m) == nil {
				h.scoped = h.scoped || m.GetScopedRoutes() != nil
				if r := m.GetRds().GetRouteConfigName(); r != "" {
					h.route = r
				}
			}
		}
	}
	return nil
}

func (h *held) routes(name string) error {
	var rc routev3.RouteConfiguration
	if err := proto.Unmarshal(h.body, &rc); err != nil {
		return fmt.Errorf("read routes: %w", err)
	}
	if rc.GetName() != name {
		return fmt.Errorf("RouteConfiguration %q comes as resource %q", rc.GetName(), name)
	}
	h.hosts = make(map[string][]string)
	for _, vh := range rc.GetVirtualHosts() {
		clusters := make(map[string]struct{})
		for _, r := range routesOf(vh) {
			collect(r.GetRoute(), clusters)
		}
		for _, domain := range vh.GetDomains() {
			if _, ok := h.hosts[domain]; ok {
				return fmt.Errorf("duplicate entry of domain %s", domain)
			}
			h.hosts[domain] = slices.Sorted(maps.Keys(clusters))
		}
	}
	return nil
}

// routesOf are the routes of a virtual host: its list, or those of all lists of
// its tree.
func routesOf(vh *routev3.VirtualHost) []*routev3.Route {
	routes := vh.GetRoutes()
	lists := slices.Collect(maps.Values(vh.GetMatcher().GetMatcherTree().GetPrefixMatchMap().GetMap()))
	for _, match := range append(lists, vh.GetMatcher().GetOnNoMatch()) {
		var list routev3.RouteList
		if match.GetAction().GetTypedConfig().UnmarshalTo(&list) == nil {
			routes = append(routes, list.GetRoutes()...)
		}
	}
	return routes
}

// collect adds the clusters that an action names.
func collect(a *routev3.RouteAction, clusters map[string]struct{}) {
	if c := a.GetCluster(); c != "" {
		clusters[c] = struct{}{}
	}
	for _, w := range a.GetWeightedClusters().GetClusters() {
		clusters[w.GetName()] = struct{}{}
	}
	for _, p := range a.GetRequestMirrorPolicies() {
		clusters[p.GetCluster()] = struct{}{}
	}
}
