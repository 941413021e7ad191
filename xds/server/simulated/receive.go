package simulated

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
)

// receive takes one response as Envoy's main thread does: accept or refuse it,
// let it take effect, subscribe to what follows from it, answer.
func (e *Envoy) receive(response *discoveryv3.DeltaDiscoveryResponse) {
	now := time.Now()
	e.statistics.Responses++
	e.statistics.Resources += len(response.GetResources())
	e.traceResponse(response)
	s, ok := e.subscriptions[response.GetTypeUrl()]
	if !ok || !s.requested {
		e.violate("a response of type %q, which was not asked for", response.GetTypeUrl())
		return
	}
	e.checkResponse(s, response)
	if e.options.Light {
		e.skim(s, response)
		e.queue(s, answer{nonce: response.GetNonce(), due: now.Add(e.delay())})
		return
	}
	incoming, fault := e.judge(s, response)
	if fault == "" {
		e.accept(s, response, incoming, now)
	} else {
		e.statistics.Refused++
		e.refuse(s, response, incoming, now)
	}
	for _, name := range names(response) {
		delete(s.again, name)
		if fault != "" {
			s.again[name] = struct{}{} // the server cannot know what took effect
		}
	}
	s.answered = true
	e.follow(s)
	e.checkConfig(s.url, response)
	e.queue(s, answer{nonce: response.GetNonce(), detail: fault, due: now.Add(e.delay())})
	if fault == "" {
		e.tell(s, response)
	}
}

func (e *Envoy) tell(s *subscription, response *discoveryv3.DeltaDiscoveryResponse) {
	if e.options.Heard != nil {
		e.options.Heard(s.url, response)
	}
}

// skim is what a light Envoy does with a response: it subscribes to what
// follows, for ever, and remembers nothing else.
func (e *Envoy) skim(s *subscription, response *discoveryv3.DeltaDiscoveryResponse) {
	s.answered = true
	endpoints, routes := e.subscriptions[resource.EndpointType], e.subscriptions[resource.RouteType]
	for _, r := range response.GetResources() {
		if s.url == resource.EndpointType || s.url == resource.RouteType {
			break
		}
		h, err := decode(s.url, r.GetName(), r.GetVersion(), r.GetResource().GetValue())
		if err != nil {
			e.violate("%v", err)
			continue
		}
		endpoints.also(h.endpoints)
		routes.also(h.route)
		scoped := e.subscriptions[resource.ScopedRouteType]
		scoped.started = scoped.started || h.scoped
	}
	if s.url == resource.EndpointType || s.url == resource.ClusterType && !endpoints.started {
		e.subscriptions[resource.ListenerType].started = true
	}
	e.config.ready = e.config.ready || s.url == resource.RouteType
	e.tell(s, response)
}

// also wants one name more.
func (s *subscription) also(name string) {
	if _, ok := s.wanted[name]; !ok && name != "" {
		s.wanted[name] = struct{}{}
		s.started, s.changed = true, true
	}
}

// judge decodes what is in a response and says why it is refused, if it is. A
// resource at fault is nil.
func (e *Envoy) judge(s *subscription, response *discoveryv3.DeltaDiscoveryResponse) (map[string]*held, string) {
	incoming := make(map[string]*held, len(response.GetResources()))
	var faults []string
	for _, r := range response.GetResources() {
		h, err := decode(s.url, r.GetName(), r.GetVersion(), r.GetResource().GetValue())
		if err == nil && h.endpoints != "" {
			e.subscriptions[resource.EndpointType].again[h.endpoints] = struct{}{}
		}
		if err == nil && e.options.Refuse != nil {
			if why := e.options.Refuse(s.url, r.GetName(), r.GetResource().GetValue()); why != "" {
				err = fmt.Errorf("%s: %s", r.GetName(), why)
			}
		}
		if err != nil {
			faults = append(faults, err.Error())
			h = nil
		}
		incoming[r.GetName()] = h
	}
	if fault := e.conflict(s, response, incoming); fault != "" {
		faults = append(faults, fault)
	}
	return incoming, strings.Join(faults, "; ")
}

// conflict finds two scopes of one key.
func (e *Envoy) conflict(s *subscription, response *discoveryv3.DeltaDiscoveryResponse, incoming map[string]*held) string {
	if s.url != resource.ScopedRouteType {
		return ""
	}
	after := maps.Clone(e.config.resources[s.url])
	maps.Copy(after, incoming)
	for _, name := range response.GetRemovedResources() {
		delete(after, name)
	}
	keys := make(map[string]string, len(after))
	for name, h := range after {
		if h == nil {
			continue
		}
		if other, ok := keys[h.key]; ok {
			return fmt.Sprintf("scope key conflict found, first scope is '%s', second scope is '%s'", other, name)
		}
		keys[h.key] = name
	}
	return ""
}

// accept lets all of a response take effect and remembers its versions.
func (e *Envoy) accept(s *subscription, response *discoveryv3.DeltaDiscoveryResponse, incoming map[string]*held, now time.Time) {
	e.effect(s, response, incoming, now)
	for name, h := range incoming {
		if s.covers(name) {
			s.versions[name] = h.version
		}
	}
	for _, name := range response.GetRemovedResources() {
		delete(s.versions, name)
	}
}

// refuse lets what is good in a response take effect all the same, where Envoy
// goes through its resources one by one. Where that depends on the kind of
// fault, chance decides.
func (e *Envoy) refuse(s *subscription, response *discoveryv3.DeltaDiscoveryResponse, incoming map[string]*held, now time.Time) {
	maps.DeleteFunc(incoming, func(_ string, h *held) bool { return h == nil })
	inPart := s.url == resource.ClusterType || s.url == resource.ListenerType
	if e.options.Random != nil && s.url != resource.ScopedRouteType {
		inPart = e.options.Random.IntN(2) == 0
	}
	if inPart {
		e.trace.add("   (its good resources take effect)")
		e.effect(s, response, incoming, now)
	}
	if s.url == resource.EndpointType {
		clear(e.config.warming) // a refused response ends the wait of all
	}
}

// effect changes what is in use.
func (e *Envoy) effect(s *subscription, response *discoveryv3.DeltaDiscoveryResponse, incoming map[string]*held, now time.Time) {
	for name, h := range incoming {
		if s.covers(name) {
			e.config.apply(s.url, name, h, now)
		}
	}
	for _, name := range response.GetRemovedResources() {
		e.config.remove(s.url, name)
	}
}

// covers reports whether a resource of that name is of use to Envoy.
func (s *subscription) covers(name string) bool {
	if s.wildcard {
		return true
	}
	_, ok := s.wanted[name]
	return ok
}

// follow subscribes to what follows from a change of s.
func (e *Envoy) follow(s *subscription) {
	c := e.config
	switch s.url {
	case resource.ClusterType:
		c.clustered = true
		e.want(resource.EndpointType, c.endpoints())
	case resource.ListenerType:
		scoped := e.subscriptions[resource.ScopedRouteType]
		for _, l := range c.resources[s.url] {
			scoped.started = scoped.started || l.scoped
		}
		e.want(resource.RouteType, c.routes())
	case resource.ScopedRouteType:
		e.want(resource.RouteType, c.routes())
	}
	e.boot()
	if !c.ready && c.complete() {
		c.ready = true
		e.trace.add("== ready")
		e.checkAll()
	}
}

// boot goes on to listeners when there has been a response of clusters, and all
// of them have their endpoints.
func (e *Envoy) boot() {
	if !e.config.booted && e.config.clustered && len(e.config.warming) == 0 {
		e.config.booted = true
		e.subscriptions[resource.ListenerType].started = true
	}
}

func (e *Envoy) want(url string, names map[string]struct{}) {
	e.subscriptions[url].want(names)
	e.config.keep(url, names)
}

// paused reports whether nothing of a type leaves now.
func (e *Envoy) paused(url string) bool {
	return url == resource.ClusterType && e.config.booted && len(e.config.warming) > 0
}

// bootWarm is how long an Envoy that has never been initialised waits. The real
// one takes as long as ever, 15 s. If its first stream ends between a cluster and
// its endpoints no server can know that it waits, and tests do not want to.
const bootWarm = time.Second

// rewarm ends the wait of clusters that have waited too long, and says when to
// look again.
func (e *Envoy) rewarm(now time.Time) time.Duration {
	wait := time.Hour
	for cluster, since := range e.config.warming {
		limit := e.options.Warm
		if !e.config.booted {
			limit = bootWarm
		}
		left := since.Add(limit).Sub(now)
		if left > 0 {
			wait = min(wait, left)
			continue
		}
		delete(e.config.warming, cluster)
		if e.config.booted {
			e.violate("cluster %s had to wait %s for endpoints that did not come", cluster, limit)
		}
	}
	e.boot()
	return wait
}

func (e *Envoy) delay() time.Duration {
	if e.options.Random == nil || e.options.Delay == 0 {
		return 0
	}
	return time.Duration(e.options.Random.Int64N(int64(e.options.Delay)))
}

// queue has an answer leave when it is due, after those before it.
func (e *Envoy) queue(s *subscription, a answer) {
	if s.unanswered > 0 {
		e.violate("a second response of %s while one is unanswered", kind(s.url))
	}
	s.unanswered++
	s.answers = append(s.answers, a)
}

// names are all resources that a response speaks of.
func names(response *discoveryv3.DeltaDiscoveryResponse) []string {
	all := slices.Clone(response.GetRemovedResources())
	for _, r := range response.GetResources() {
		all = append(all, r.GetName())
	}
	return all
}

func (e *Envoy) traceResponse(response *discoveryv3.DeltaDiscoveryResponse) {
	sent := make([]string, 0, len(response.GetResources()))
	for _, r := range response.GetResources() {
		sent = append(sent, r.GetName()+"@"+r.GetVersion()[:min(6, len(r.GetVersion()))])
	}
	slices.Sort(sent)
	line := fmt.Sprintf("-> %s %s %s", kind(response.GetTypeUrl()), response.GetNonce(), some(sent))
	if len(response.GetRemovedResources()) > 0 {
		line += " removed " + some(response.GetRemovedResources())
	}
	e.trace.add("%s", line)
}
