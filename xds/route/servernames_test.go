package route_test

import (
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/types"

	"github.com/fairwaynet/fairway/test/census"
	"github.com/fairwaynet/fairway/xds/route"
)

func TestCertificateOfAName(t *testing.T) {
	for _, c := range []struct {
		name      string
		published []route.Hostname // with a certificate
		answers   bool
		want      route.Hostname // "": none is shown
	}{
		{"a.shop.test", []route.Hostname{"a.shop.test", "*.shop.test", "*"}, true, "a.shop.test"},
		{"a.shop.test", []route.Hostname{"*.shop.test", "*"}, true, "*.shop.test"},
		{"a.shop.test", []route.Hostname{"*.shop.test", "*"}, false, "*.shop.test"},
		{"a.b.shop.test", []route.Hostname{"*.shop.test", "*"}, true, "*"},
		{"a.shop.test", []route.Hostname{"*"}, true, "*"},
		{"a.shop.test", nil, true, "*"},
		{"a.shop.test", []route.Hostname{"*"}, false, ""},
		{"shop", []route.Hostname{"*.shop"}, true, "*"},
		{"*", nil, false, "*"},
		{"*", []route.Hostname{"*"}, false, "*"},
	} {
		has := func(name route.Hostname) bool { return slices.Contains(c.published, name) }
		got, ok := route.CertificateFor(route.Hostname(c.name), has, func() bool { return c.answers })
		if ok != (c.want != "") || ok && got != c.want {
			t.Errorf("%s of %q (answered: %t): %q %t, want %q", c.name, c.published, c.answers, got, ok, c.want)
		}
	}
}

func TestChainOfAName(t *testing.T) {
	staff := route.ClientPolicy{CA: types.NamespacedName{Namespace: "shop", Name: "staff-ca"}, Required: true}
	to := route.Cluster{Port: route.ServicePort{Service: types.NamespacedName{Namespace: "shop", Name: "raw"}, Port: 443}}
	for _, c := range []struct {
		is   string
		host *route.Host
		pair route.Hostname
		want route.Chain
	}{
		{"nobody serves it", nil, "", route.Chain{}},
		{"a plain host", &route.Host{}, "", route.Chain{}},
		{"two certificates", &route.Host{}, "*.shop.test", route.Chain{Pair: "*.shop.test"}},
		{"two certificates, and nobody serves it", nil, "shop.test", route.Chain{Pair: "shop.test"}},
		{"clients are verified", &route.Host{Client: &staff}, "", route.Chain{Client: staff}},
		{"both", &route.Host{Client: &staff}, "shop.test", route.Chain{Client: staff, Pair: "shop.test"}},
		{"nothing counts where TLS does not end here", &route.Host{Client: &staff, Passthrough: &to}, "shop.test", route.Chain{Passthrough: to}},
	} {
		if got := route.ChainFor(c.host, c.pair); got != c.want {
			t.Errorf("%s: %+v, want %+v", c.is, got, c.want)
		}
	}
}

// What a connection serves is what its chain demanded.
func TestWhatAChainServes(t *testing.T) {
	policy := func(ca string) *route.ClientPolicy { return &route.ClientPolicy{CA: types.NamespacedName{Name: ca}} }
	raw := &route.Cluster{Port: route.ServicePort{Service: types.NamespacedName{Name: "raw"}}}
	hosts := map[string]*route.Host{
		"plain": {}, "staff": {Client: policy("staff")}, "partner": {Client: policy("partner")}, "raw": {Passthrough: raw},
	}
	want := map[string][]string{
		"plain": {"plain"}, "staff": {"plain", "staff"}, "partner": {"partner", "plain"}, "raw": {"plain", "raw"},
	}
	for by, host := range hosts {
		var served []string
		for name, other := range hosts {
			if route.ChainFor(host, "").Serves(other) {
				served = append(served, name)
			}
		}
		if slices.Sort(served); !slices.Equal(served, want[by]) {
			t.Errorf("a connection for %s serves %q, want %q", by, served, want[by])
		}
	}
}

// However the table got there, it is what the two rules say of each name, and what a
// fresh one with the same content is. When everything has gone, nothing stays.
func TestServerNamesDoNotDependOnTheirHistory(t *testing.T) {
	forSeeds(t, 300, func(t *testing.T, random *rand.Rand) {
		walked, empty := route.NewServerNames(), sizesOf(route.NewServerNames())
		content := newContent()
		for range 40 {
			name, changed := content.change(random, walked)
			before := content.overrides()
			if got := walked.Overrides(); !maps.Equal(got, before) {
				t.Fatalf("after a change of %s (-want +got):\n%s", name, cmp.Diff(before, got))
			}
			content.check(t, walked)
			content.checkChanged(t, name, changed)
		}
		if got, want := sizesOf(walked), sizesOf(content.fresh()); !maps.Equal(got, want) {
			t.Errorf("it keeps (-fresh +walked):\n%s", cmp.Diff(want, got))
		}
		for _, name := range serverNamePool() {
			walked.SetHost(name, nil)
			walked.SetCertificate(name, nil)
		}
		if got := sizesOf(walked); !maps.Equal(got, empty) {
			t.Errorf("of what has gone there stays (-want +got):\n%s", cmp.Diff(empty, got))
		}
	})
}

func sizesOf(n *route.ServerNames) map[string]int {
	return census.Of([]string{"github.com/fairwaynet/fairway/xds/route"}, n)
}

func serverNamePool() []route.Hostname {
	return []route.Hostname{"*", "*.a.test", "x.a.test", "y.a.test", "*.b.test", "x.b.test", "*.x.b.test", "alone", "*.alone"}
}

// nameContent is what is published, for the rules to be asked one by one.
type nameContent struct {
	hosts        map[route.Hostname]*route.Host
	certificates map[route.Hostname]*route.Certificate
	last         map[route.Hostname]route.Chain // the overrides before the last change
}

func newContent() *nameContent {
	return &nameContent{
		hosts: map[route.Hostname]*route.Host{}, certificates: map[route.Hostname]*route.Certificate{},
		last: map[route.Hostname]route.Chain{},
	}
}

// change publishes something under a name, or withdraws it.
func (c *nameContent) change(random *rand.Rand, in *route.ServerNames) (name route.Hostname, changed []route.Hostname) {
	c.last = c.overrides()
	name = pick(random, serverNamePool())
	if random.IntN(2) == 0 {
		c.certificates[name] = pick(random, []*route.Certificate{nil, {}, {Other: &route.Certificate{}}})
		return name, in.SetCertificate(name, c.certificates[name])
	}
	c.hosts[name] = nil
	if random.IntN(4) > 0 {
		host := &route.Host{Key: route.Key{Host: name}, Routes: make([]route.Route, random.IntN(2))}
		if random.IntN(3) == 0 {
			host.Client = &route.ClientPolicy{CA: types.NamespacedName{Name: pick(random, []string{"ca1", "ca2"})}}
		}
		if random.IntN(4) == 0 {
			host.Passthrough = &route.Cluster{Port: route.ServicePort{Service: types.NamespacedName{Name: "raw"}}}
		}
		c.hosts[name] = host
	}
	return name, in.SetHost(name, c.hosts[name])
}

// chain is what the rules say of one name.
func (c *nameContent) chain(name route.Hostname) route.Chain {
	pair := route.Hostname("")
	if owner, _ := c.certificate(name); owner != route.AnyHost && c.certificates[owner].Other != nil {
		pair = owner
	}
	return route.ChainFor(c.hostFor(name), pair)
}

func (c *nameContent) hostFor(name route.Hostname) *route.Host {
	return route.HostFor(name, func(name route.Hostname) *route.Host { return c.hosts[name] })
}

func (c *nameContent) certificate(name route.Hostname) (owner route.Hostname, ok bool) {
	return route.CertificateFor(name,
		func(name route.Hostname) bool { return c.certificates[name] != nil },
		func() bool { return c.hostFor(name).Answers() })
}

// overrides are the names whose chain is not that of what covers them.
func (c *nameContent) overrides() map[route.Hostname]route.Chain {
	overrides := map[route.Hostname]route.Chain{}
	for _, name := range serverNamePool() {
		var above route.Chain
		if name != route.AnyHost {
			wildcard, covered := name.Wildcard()
			if !covered {
				wildcard = route.AnyHost
			}
			above = c.chain(wildcard)
		}
		if c.hosts[name] == nil && c.certificates[name] == nil {
			continue
		}
		if chain := c.chain(name); chain != above {
			overrides[name] = chain
		}
	}
	return overrides
}

// check compares what the table says of all names, also of some that it never heard of.
func (c *nameContent) check(t *testing.T, n *route.ServerNames) {
	t.Helper()
	for _, name := range append(serverNamePool(), "new.a.test", "new.x.b.test", "new") {
		if got, want := n.Chain(name), c.chain(name); got != want {
			t.Errorf("the chain of %s is %+v, want %+v", name, got, want)
		}
		if got, want := n.Answers(name), c.hostFor(name).Answers(); got != want {
			t.Errorf("%s answers: %t, want %t", name, got, want)
		}
		got, ok := n.Certificate(name)
		if want, shown := c.certificate(name); got != want || ok != shown {
			t.Errorf("the certificate of %s is that of %s (%t), want %s (%t)", name, got, ok, want, shown)
		}
	}
	chains := map[route.Chain]bool{}
	for _, chain := range c.overrides() {
		chains[chain] = true
	}
	got := map[route.Chain]bool{}
	for chain := range n.Chains() {
		got[chain] = n.Uses(chain)
	}
	if !maps.Equal(got, chains) {
		t.Errorf("chains (-want +got):\n%s", cmp.Diff(chains, got))
	}
}

// checkChanged demands that exactly those overrides were returned that are others now.
func (c *nameContent) checkChanged(t *testing.T, name route.Hostname, changed []route.Hostname) {
	t.Helper()
	now := c.overrides()
	var want []route.Hostname
	for _, name := range serverNamePool() {
		before, had := c.last[name]
		if after, has := now[name]; had != has || before != after {
			want = append(want, name)
		}
	}
	slices.Sort(want)
	if slices.Sort(changed); !slices.Equal(changed, want) {
		t.Errorf("a change of %s is said to change the overrides of %q, want %q", name, changed, want)
	}
}

// fresh is a table that is told everything at once.
func (c *nameContent) fresh() *route.ServerNames {
	n := route.NewServerNames()
	for name, host := range c.hosts {
		n.SetHost(name, host)
	}
	for name, certificate := range c.certificates {
		n.SetCertificate(name, certificate)
	}
	return n
}
