package simulated

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
)

// placeholder begins the keys of scopes that name a RouteConfiguration and no
// virtual host.
const placeholder = "shard "

// config is what an Envoy has in use. It outlives streams, and differs from the
// versions that its subscriptions tell where a refused response has taken
// effect in part.
type config struct {
	resources map[string]map[string]*held // by type and name
	warming   map[string]time.Time        // clusters that wait for endpoints, since when
	clustered bool                        // there has been a response of clusters
	booted    bool                        // the first clusters have their endpoints: LDS is asked for
	ready     bool                        // a listener is active: all its routes have been there
}

func newConfig() *config {
	c := &config{resources: make(map[string]map[string]*held), warming: make(map[string]time.Time)}
	for _, url := range order {
		c.resources[url] = make(map[string]*held)
	}
	return c
}

// apply lets a resource take effect.
func (c *config) apply(url, name string, h *held, now time.Time) {
	c.resources[url][name] = h
	switch url {
	case resource.ClusterType:
		if h.endpoints != "" {
			c.warming[name] = now
		}
	case resource.EndpointType:
		c.warmed(name)
	}
}

// warmed ends the wait of the clusters that name these endpoints.
func (c *config) warmed(endpoints string) {
	for cluster := range c.warming {
		if c.resources[resource.ClusterType][cluster].endpoints == endpoints {
			delete(c.warming, cluster)
		}
	}
}

// remove takes a resource out of use, where Envoy does that for its type.
func (c *config) remove(url, name string) {
	switch url {
	case resource.RouteType:
		return
	case resource.EndpointType:
		c.warmed(name) // for nothing, but Envoy goes on
		return
	}
	delete(c.resources[url], name)
	if url == resource.ClusterType {
		delete(c.warming, name)
	}
}

// names are what one type's resources name of another.
func (c *config) names(url string, named func(*held) string) map[string]struct{} {
	names := make(map[string]struct{})
	for _, h := range c.resources[url] {
		if name := named(h); name != "" {
			names[name] = struct{}{}
		}
	}
	return names
}

// endpoints are the EDS resources that the clusters name.
func (c *config) endpoints() map[string]struct{} {
	return c.names(resource.ClusterType, func(h *held) string { return h.endpoints })
}

// routes are the RouteConfigurations that scopes and listeners name.
func (c *config) routes() map[string]struct{} {
	byRoute := func(h *held) string { return h.route }
	names := c.names(resource.ListenerType, byRoute)
	maps.Copy(names, c.names(resource.ScopedRouteType, byRoute))
	return names
}

// keep forgets what of a type is not wanted any more.
func (c *config) keep(url string, wanted map[string]struct{}) {
	maps.DeleteFunc(c.resources[url], func(name string, _ *held) bool {
		_, ok := wanted[name]
		return !ok
	})
}

// broken says what is wrong with the routes of a RouteConfiguration: every
// cluster that they name must be there, with endpoints.
func (c *config) broken(name string) []string {
	var faults []string
	h := c.resources[resource.RouteType][name]
	for _, domain := range slices.Sorted(maps.Keys(h.hosts)) {
		for _, cluster := range h.hosts[domain] {
			if fault := c.unusable(cluster); fault != "" {
				faults = append(faults, "a route of "+domain+" names cluster "+cluster+", "+fault)
			}
		}
	}
	return faults
}

// unusable says why a request to a cluster would be answered 503 for want of
// configuration.
func (c *config) unusable(cluster string) string {
	h, ok := c.resources[resource.ClusterType][cluster]
	if !ok {
		return "which this Envoy does not have"
	}
	if h.endpoints != "" && c.resources[resource.EndpointType][h.endpoints] == nil {
		return "whose endpoints this Envoy does not have"
	}
	return ""
}

// astray says what is wrong with a scope: its RouteConfiguration must be there
// and hold a virtual host for its key, placeholders apart.
func (c *config) astray(name string) string {
	scope := c.resources[resource.ScopedRouteType][name]
	routes, ok := c.resources[resource.RouteType][scope.route]
	if !ok {
		return "scope " + name + " names RouteConfiguration " + scope.route + ", which this Envoy does not have"
	}
	if _, ok := routes.hosts[scope.key]; !ok && !strings.HasPrefix(scope.key, placeholder) {
		return "scope " + name + " names RouteConfiguration " + scope.route + ", which has no virtual host for it"
	}
	return ""
}

// complete reports whether all that the listeners need has come.
func (c *config) complete() bool {
	if len(c.resources[resource.ListenerType]) == 0 || len(c.resources[resource.ScopedRouteType]) == 0 {
		return false
	}
	for name := range c.routes() {
		if c.resources[resource.RouteType][name] == nil {
			return false
		}
	}
	return true
}
