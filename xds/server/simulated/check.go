package simulated

import (
	"fmt"
	"maps"
	"slices"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
)

// mostViolations bounds what is remembered: the first one tells.
const mostViolations = 20

func (e *Envoy) violate(format string, args ...any) {
	violation := fmt.Sprintf(format, args...)
	e.trace.add("!! %s", violation)
	if len(e.violations) < mostViolations {
		e.violations = append(e.violations, violation)
	}
}

// checkResponse checks what must hold of a response on its own, before it is
// accepted.
func (e *Envoy) checkResponse(s *subscription, response *discoveryv3.DeltaDiscoveryResponse) {
	if _, ok := e.nonces[response.GetNonce()]; ok || response.GetNonce() == "" {
		e.violate("nonce %q is not new", response.GetNonce())
	}
	e.nonces[response.GetNonce()] = struct{}{}
	all := names(response)
	if len(all) == 0 && s.answered {
		e.violate("a response of %s that says nothing", kind(s.url))
	}
	slices.Sort(all)
	if len(slices.Compact(all)) < len(names(response)) {
		e.violate("a response of %s names a resource twice", kind(s.url))
	}
	if e.options.Light {
		return
	}
	for _, r := range response.GetResources() {
		if r.GetResource().GetTypeUrl() != s.url {
			e.violate("%s is of type %q in a response of %s", r.GetName(), r.GetResource().GetTypeUrl(), kind(s.url))
		}
		if r.GetVersion() == "" {
			e.violate("%s %s has no version", kind(s.url), r.GetName())
		}
		if s.versions[r.GetName()] == r.GetVersion() && !e.asksFor(s, r.GetName()) {
			e.violate("%s %s is sent again at the version that this Envoy has", kind(s.url), r.GetName())
		}
	}
}

// asksFor reports whether a resource may come at the version that Envoy has: it
// subscribed anew, or waits for it to warm a cluster, or refused a response that
// it was in.
func (*Envoy) asksFor(s *subscription, name string) bool {
	_, ok := s.again[name]
	return ok
}

// checkConfig checks what is in use after a response took effect.
func (e *Envoy) checkConfig(url string, response *discoveryv3.DeltaDiscoveryResponse) {
	switch url {
	case resource.ClusterType:
		if len(response.GetRemovedResources()) > 0 {
			e.checkListeners()
			e.checkRoutes(slices.Sorted(maps.Keys(e.config.resources[resource.RouteType])))
		}
	case resource.ListenerType:
		e.checkListeners()
	case resource.RouteType:
		e.checkRoutes(names(response))
		e.checkScopes()
	case resource.ScopedRouteType:
		e.checkScopes()
	}
}

// checkListeners checks that every cluster is there to which a listener hands
// connections on.
func (e *Envoy) checkListeners() {
	for name, h := range e.config.resources[resource.ListenerType] {
		for _, cluster := range h.passed {
			if fault := e.config.unusable(cluster); fault != "" {
				e.violate("listener %s names cluster %s, %s", name, cluster, fault)
			}
		}
	}
}

func (e *Envoy) checkRoutes(names []string) {
	for _, name := range names {
		if e.config.resources[resource.RouteType][name] == nil {
			continue
		}
		for _, fault := range e.config.broken(name) {
			e.violate("%s: %s", name, fault)
		}
	}
}

// checkScopes checks the scopes of an Envoy whose listener is active. Before,
// scopes come first by necessity: RDS is asked for by the names in them.
func (e *Envoy) checkScopes() {
	if !e.config.ready {
		return
	}
	for _, name := range slices.Sorted(maps.Keys(e.config.resources[resource.ScopedRouteType])) {
		if fault := e.config.astray(name); fault != "" {
			e.violate("%s", fault)
		}
	}
}

// checkAll checks everything, when a listener becomes active.
func (e *Envoy) checkAll() {
	e.checkRoutes(slices.Sorted(maps.Keys(e.config.resources[resource.RouteType])))
	e.checkScopes()
}
