package server_test

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/fairwaynet/fairway/xds/envoy"
	"github.com/fairwaynet/fairway/xds/route"
	"github.com/fairwaynet/fairway/xds/server/simulated"
)

// dismantle withdraws everything, in any order, while Envoys are connected or
// after they have left. Then the server knows what one knows that was never told
// anything.
func (h *history) dismantle() {
	withdrawals := []func(){
		func() { h.bed.server.WithdrawGateway(route.DefaultGateway) },
		func() {
			for _, e := range h.bed.envoys {
				h.bed.mayDrop(e).Disconnect()
			}
		},
	}
	for name := range h.published.hosts {
		withdrawals = append(withdrawals, func() { h.bed.withdraw(name) })
	}
	for port := range h.published.backends {
		withdrawals = append(withdrawals, func() { h.bed.server.PublishBackend(port, nil) })
	}
	for name := range h.published.certificates {
		withdrawals = append(withdrawals, func() { h.publishCertificate(name, nil) })
	}
	for ca := range h.published.clientCAs {
		withdrawals = append(withdrawals, func() { h.bed.server.PublishClientCA(secretOf(ca), nil) })
	}
	for _, i := range h.random.Perm(len(withdrawals)) {
		withdrawals[i]()
	}
	h.bed.isForgotten()
}

// isForgotten waits until the server knows nothing.
func (b *bed) isForgotten() {
	b.t.Helper()
	fresh := newBed(b.t, quick())
	fresh.server.Open()
	b.hasSizes(fresh.server.Sizes())
}

// hasSizes waits until the server keeps no more and no less than that.
func (b *bed) hasSizes(want map[string]int) {
	b.t.Helper()
	var got map[string]int
	if !within(deadline, func() bool { got = b.server.Sizes(); return maps.Equal(got, want) }) {
		b.t.Fatalf("what is withdrawn is not forgotten (-want +got):\n%s\n%s", cmp.Diff(want, got), strings.Join(b.server.WaitingHosts(), "\n"))
	}
}

// compare checks that what an Envoy has is the render of what is published.
func (p *published) compare(t testing.TB, e *simulated.Envoy) {
	t.Helper()
	diffBodies(t, "listener", e.Bodies(envoy.TypeListener), p.listeners())
	scopes := make(map[string][]byte)
	for _, shard := range envoy.Shards() {
		r := envoy.Placeholder(shard)
		scopes[r.Name] = r.Body
	}
	for name := range p.withDefault() {
		r := envoy.Scope(name)
		scopes[r.Name] = r.Body
	}
	diffBodies(t, "scope", e.Bodies(envoy.TypeScope), scopes)
	p.compareRoutes(t, e)
	p.compareClusters(t, e)
}

// hasListeners reports whether an Envoy has the listeners that are published:
// that of HTTP/3 comes a moment later.
func (p *published) hasListeners(e *simulated.Envoy) bool {
	return maps.EqualFunc(e.Bodies(envoy.TypeListener), p.listeners(), bytes.Equal)
}

func (p *published) listeners() map[string][]byte {
	listeners := make(map[string][]byte)
	all := p.allChains()
	for _, l := range envoy.Listeners(p.settings, all) {
		listeners[l.Name] = l.Body
	}
	var listed []envoy.Listed
	for _, name := range slices.Sorted(maps.Keys(p.certificates)) {
		if c := p.chainOf(name); name != route.AnyHost && c.Client == (route.ClientPolicy{}) && !c.IsPassthrough() {
			listed = append(listed, envoy.Listed{Name: name, Served: p.hosts[name] != nil && !strings.HasPrefix(string(name), "*")})
		}
	}
	if c := p.chainOf(route.AnyHost); p.certificates[route.AnyHost] != nil && c.Client == (route.ClientPolicy{}) && !c.IsPassthrough() {
		listed = append(listed, envoy.Listed{Name: route.AnyHost})
	}
	if p.settings.TLS.HTTP3 && p.settings.HTTPSPort != 0 && len(listed) > 0 {
		l := envoy.HTTP3Listener(p.settings, listed)
		listeners[l.Name] = l.Body
	}
	return listeners
}

// allChains are the chains of all names, one by one.
func (p *published) allChains() map[route.Hostname]route.Chain {
	all := make(map[route.Hostname]route.Chain)
	names := slices.AppendSeq(slices.Collect(maps.Keys(p.hosts)), maps.Keys(p.certificates))
	for _, name := range append(names, route.AnyHost) {
		c := p.chainOf(name)
		if _, there := p.clientCAs[c.Client.CA.Name]; c.Client != (route.ClientPolicy{}) && !there {
			c = route.Chain{Closed: true}
		}
		all[name] = c
	}
	return all
}

func (p *published) chainOf(name route.Hostname) route.Chain {
	var chain route.Chain
	wildcard, _ := name.Wildcard()
	for _, owner := range []route.Hostname{name, wildcard, route.AnyHost} {
		if h := p.hosts[owner]; h != nil {
			if h.Passthrough != nil {
				return route.Chain{Passthrough: *h.Passthrough}
			}
			if h.Client != nil {
				chain.Client = *h.Client
			}
			break
		}
	}
	for _, owner := range []route.Hostname{name, wildcard} {
		if c := p.certificates[owner]; c != nil {
			if c.Other != nil && owner != route.AnyHost {
				chain.Pair = owner
			}
			break
		}
	}
	return chain
}

// withDefault are the published hosts and the default host, which is always
// there.
func (p *published) withDefault() map[route.Hostname]*route.Host {
	hosts := maps.Clone(p.hosts)
	if hosts[route.AnyHost] == nil {
		hosts[route.AnyHost] = hostOf(route.AnyHost)
	}
	return hosts
}

func (p *published) compareRoutes(t testing.TB, e *simulated.Envoy) {
	t.Helper()
	count := 0
	for name, value := range p.withDefault() {
		got := virtualHost(e, name)
		if isPoison(value) {
			p.compareRejected(t, name, got)
			continue
		}
		body := envoy.RouteConfiguration(envoy.ShardOf(name), [][]byte{envoy.VirtualHost(value, p.settings)}).Body
		want := virtualHostBytes(body)[0]
		if !slices.Contains(virtualHostBytes(e.Body(envoy.TypeRoute, envoy.ShardOf(name))), want) {
			t.Errorf("%s serves %q, want %v", name, got, hostsIn(body))
		}
	}
	for _, body := range e.Bodies(envoy.TypeRoute) {
		count += len(hostsIn(body))
	}
	if want := len(p.withDefault()); count != want {
		t.Errorf("%d virtual hosts, want %d", count, want)
	}
}

// compareRejected checks that a rejected host serves a good version that it
// once had, or a stand-in.
func (p *published) compareRejected(t testing.TB, name route.Hostname, got string) {
	t.Helper()
	could := []string{standIn}
	if name == route.AnyHost {
		could = append(could, "") // there before anything is published
	}
	for _, past := range p.past[name] {
		if !isPoison(past) {
			body := envoy.RouteConfiguration("", [][]byte{envoy.VirtualHost(past, p.settings)}).Body
			could = append(could, slices.Collect(maps.Values(hostsIn(body)))...)
		}
	}
	if !slices.Contains(could, got) {
		t.Errorf("%s is rejected and serves %q, want one of %q", name, got, could)
	}
}

func (p *published) compareClusters(t testing.TB, e *simulated.Envoy) {
	t.Helper()
	for name, value := range p.hosts {
		for _, c := range clustersOf(value) {
			if isPoison(value) {
				continue
			}
			want := envoy.Cluster(*c, p.settings)
			if string(e.Body(envoy.TypeCluster, want.Name)) != string(want.Body) {
				t.Errorf("%s: cluster %s is not what is published", name, want.Name)
			}
			backend := p.backends[c.Port]
			if c.DNS != "" || backend == nil || strings.Contains(fmt.Sprint(backend), poison[envoy.TypeEndpoints]) {
				continue
			}
			endpoints := envoy.Endpoints(*backend)
			if string(e.Body(envoy.TypeEndpoints, endpoints.Name)) != string(endpoints.Body) {
				t.Errorf("%s: endpoints %s are not what is published: %v", name, endpoints.Name, backend)
			}
		}
	}
}

func diffBodies(t testing.TB, what string, got, want map[string][]byte) {
	t.Helper()
	for name, body := range want {
		if string(got[name]) != string(body) {
			t.Errorf("%s %s is missing or not what is published", what, name)
		}
	}
	for name := range got {
		if want[name] == nil {
			t.Errorf("%s %s is not published", what, name)
		}
	}
}
