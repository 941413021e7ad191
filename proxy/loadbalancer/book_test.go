package loadbalancer

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/fairwaynet/fairway/api/problem"
	"github.com/fairwaynet/fairway/api/v1alpha1"
)

func pool(name string, edit func(*v1alpha1.AddressPoolSpec), addresses ...string) v1alpha1.AddressPool {
	p := v1alpha1.AddressPool{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1alpha1.AddressPoolSpec{Addresses: addresses}}
	if edit != nil {
		edit(&p.Spec)
	}
	return p
}

func reservedOf(texts ...string) (all []Reserved) {
	for _, text := range texts {
		r, err := ParseRange(text)
		if err != nil {
			panic(err)
		}
		all = append(all, Reserved{r, "somebody's"})
	}
	return all
}

func bookOf(t *testing.T, reserved []Reserved, objects ...v1alpha1.AddressPool) *Book {
	t.Helper()
	pools, problems := BuildPools(objects, reserved)
	for _, p := range problems {
		t.Log(p)
	}
	b := NewBook()
	b.SetPools(pools, reserved)
	return b
}

var both = []corev1.IPFamily{corev1.IPv4Protocol, corev1.IPv6Protocol}

func asks(name string, edits ...func(*Request)) Request {
	r := Request{
		Service: types.NamespacedName{Namespace: "shop", Name: name}, Families: both[:1], Fronts: []Front{{corev1.ProtocolTCP, 80}},
	}
	for _, edit := range edits {
		edit(&r)
	}
	return r
}

func wanting(texts ...string) func(*Request) {
	return func(r *Request) {
		for _, text := range texts {
			r.Wanted = append(r.Wanted, netip.MustParseAddr(text))
		}
	}
}

func inPool(name string) func(*Request) { return func(r *Request) { r.Pool = name } }
func dual(r *Request)                   { r.Families = both }
func lenient(r *Request)                { r.Families, r.Lenient = both, true }
func sharing(key string) func(*Request) { return func(r *Request) { r.Sharing = key } }
func at(port int32) func(*Request) {
	return func(r *Request) { r.Fronts = []Front{{corev1.ProtocolTCP, port}} }
}
func localTo(backends string) func(*Request) { return func(r *Request) { r.Backends = backends } }
func labelled(key, v string) func(*Request) {
	return func(r *Request) { r.Labels = map[string]string{key: v} }
}
func inside(key, v string) func(*Request) {
	return func(r *Request) { r.NamespaceLabels = map[string]string{key: v} }
}
func off(s *v1alpha1.AddressPoolSpec)      { no := false; s.AutoAssign = &no }
func avoiding(s *v1alpha1.AddressPoolSpec) { s.AvoidFirstAndLast = true }
func selecting(s *v1alpha1.AddressPoolSpec) {
	s.ServiceSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"app": "shop"}}
	s.NamespaceSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"team": "a"}}
}

// What each Service of a list gets, one after the other.
func TestAssign(t *testing.T) {
	for _, c := range []struct {
		name     string
		pools    []v1alpha1.AddressPool
		reserved []Reserved
		requests []Request
		want     []string // addresses, or words of the Problem in brackets
	}{
		{
			"one after the other", []v1alpha1.AddressPool{pool("a", nil, "192.0.2.1-192.0.2.2")}, nil,
			[]Request{asks("1"), asks("2"), asks("3"), asks("1")},
			[]string{"192.0.2.1", "192.0.2.2", "[NoAddressFree: no IPv4 address is free in AddressPool a]", "192.0.2.1"},
		},
		{
			"the next pool", []v1alpha1.AddressPool{pool("b", nil, "192.0.2.9"), pool("a", nil, "192.0.2.1")}, nil,
			[]Request{asks("1"), asks("2"), asks("3")},
			[]string{"192.0.2.1", "192.0.2.9", "[NoAddressFree: no IPv4 address is free in AddressPool a, b]"},
		},
		{
			"both families", []v1alpha1.AddressPool{pool("a", nil, "192.0.2.1", "2001:db8::/126")}, nil,
			[]Request{asks("1", dual), asks("2", dual), asks("3", lenient)},
			[]string{"192.0.2.1 2001:db8::", "2001:db8::1 [no IPv4 address is free]", "2001:db8::2 [no IPv4 address is free]"},
		},
		{
			"a second family that no pool has", []v1alpha1.AddressPool{pool("a", nil, "192.0.2.1-192.0.2.9")}, nil,
			[]Request{asks("1", lenient), asks("2", dual)},
			[]string{"192.0.2.1", "192.0.2.2 [no AddressPool has IPv6 addresses]"},
		},
		{
			"an address that is asked for", []v1alpha1.AddressPool{pool("a", nil, "192.0.2.1-192.0.2.9"), pool("b", off, "192.0.2.20")}, nil,
			[]Request{
				asks("1", wanting("192.0.2.7")), asks("2", wanting("192.0.2.7")), asks("3", wanting("192.0.2.20")), asks("4", wanting("203.0.113.1")),
				asks("5", wanting("192.0.2.20"), inPool("a")), asks("1"),
			},
			[]string{
				"192.0.2.7", "[AddressNotFree: Service shop/1 has 192.0.2.7]", "192.0.2.20", "[AddressInNoPool: no AddressPool can give 203.0.113.1]",
				"[AddressPool a, which the Service asks for, does not have 192.0.2.20: AddressPool b has it]", "192.0.2.7",
			},
		},
		{
			"another address than before", []v1alpha1.AddressPool{pool("a", nil, "192.0.2.1-192.0.2.9")}, nil,
			[]Request{asks("1"), asks("2"), asks("1", wanting("192.0.2.2")), asks("1", wanting("192.0.2.3")), asks("3")},
			[]string{"192.0.2.1", "192.0.2.2", "192.0.2.1 [Service shop/2 has 192.0.2.2]", "192.0.2.3", "192.0.2.1"},
		},
		{
			"pools that are asked for", []v1alpha1.AddressPool{pool("a", nil, "192.0.2.1"), pool("b", off, "192.0.2.9")}, nil,
			[]Request{asks("1", inPool("b")), asks("2", inPool("c")), asks("3"), asks("1", inPool("a"))},
			[]string{"192.0.2.9", `[AddressPoolUnknown: there is no AddressPool "c"]`, "192.0.2.1", "[no IPv4 address is free in AddressPool a]"},
		},
		{
			"no pool at all", nil, nil, []Request{asks("1")}, []string{"[NoAddressFree: no AddressPool has IPv4 addresses for this Service]"},
		},
		{
			"selectors", []v1alpha1.AddressPool{pool("a", selecting, "192.0.2.1-192.0.2.9")}, nil,
			[]Request{asks("1"), asks("2", labelled("app", "shop")), asks("3", labelled("app", "shop"), inside("team", "a")), asks("4", wanting("192.0.2.5"))},
			[]string{"[no AddressPool has IPv4", "[no AddressPool has IPv4", "192.0.2.1", "[is not for this Service"},
		},
		{
			"first and last", []v1alpha1.AddressPool{pool("a", avoiding, "192.0.2.255-192.0.3.1")}, nil,
			[]Request{asks("1"), asks("2"), asks("3", wanting("192.0.3.0"))}, []string{"192.0.3.1", "[no IPv4 address is free", "192.0.3.0"},
		},
		{
			"addresses of others", []v1alpha1.AddressPool{pool("a", nil, "192.0.2.0/29")}, reservedOf("192.0.2.0-192.0.2.2", "192.0.2.4"),
			[]Request{asks("1"), asks("2"), asks("3", wanting("192.0.2.4"))}, []string{"192.0.2.3", "192.0.2.5", "[no AddressPool can give 192.0.2.4"},
		},
		{
			"a key", []v1alpha1.AddressPool{pool("a", nil, "192.0.2.1-192.0.2.9")}, nil,
			[]Request{
				asks("1", sharing("k")), asks("2", sharing("k"), at(443)), asks("3", sharing("k")), asks("4", at(22)), asks("5", sharing("k"), at(25), localTo("x")),
				asks("6", sharing("k"), at(26), localTo("x")), asks("7", wanting("192.0.2.1"), at(9)), asks("2", sharing("k")),
			},
			[]string{
				"192.0.2.1", "192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4", "192.0.2.4", "[to share it, give both the same annotation", "192.0.2.5",
			},
		},
	} {
		b := bookOf(t, c.reserved, c.pools...)
		for i, r := range c.requests {
			addresses, problems := b.Assign(r)
			got, words, asksProblem := texts(addresses), problemText(problems), strings.Contains(c.want[i], "[")
			want, wantWords, _ := strings.Cut(c.want[i], "[")
			if got != strings.TrimSpace(want) || !strings.Contains(words, strings.TrimSuffix(wantWords, "]")) || asksProblem != (len(problems) > 0) {
				t.Errorf("%s: Service %s, step %d: %s [%s], want %s", c.name, r.Service.Name, i+1, got, words, c.want[i])
			}
		}
	}
}

func texts(all []netip.Addr) string {
	var words []string
	for _, a := range all {
		words = append(words, a.String())
	}
	return strings.Join(words, " ")
}

func problemText(all []problem.Problem) string {
	var words []string
	for _, p := range all {
		words = append(words, fmt.Sprintf("%s: %s", p.Reason, p.Message))
	}
	return strings.Join(words, "; ")
}

// A pool that is changed takes no address away, but for one that turns out to be the
// cluster's own; one that somebody else answers for is replaced.
func TestWhatAServiceHasIsTakenForAReasonOnly(t *testing.T) {
	b := bookOf(t, nil, pool("a", nil, "192.0.2.1-192.0.2.9"))
	b.Assign(asks("1"))
	b.Assign(asks("2"))
	pools, _ := BuildPools([]v1alpha1.AddressPool{pool("a", nil, "192.0.2.5-192.0.2.9")}, nil)
	b.SetPools(pools, nil)
	addresses, problems := b.Assign(asks("1"))
	if texts(addresses) != "192.0.2.1" || !strings.Contains(problemText(problems), "AddressOutsidePools") {
		t.Errorf("after the pool has changed: %v, %v", addresses, problems)
	}
	b.SetPools(pools, reservedOf("192.0.2.1"))
	if addresses, problems = b.Assign(asks("1")); texts(addresses) != "192.0.2.5" || len(problems) > 0 {
		t.Errorf("a node has the address: %v, %v", addresses, problems)
	}
	b.SetForeign(netip.MustParseAddr("192.0.2.5"), "02:00:00:00:00:01")
	if addresses, _ = b.Assign(asks("1")); texts(addresses) != "192.0.2.6" {
		t.Errorf("a machine answers: %v", addresses)
	}
	if _, problems = b.Assign(asks("3", wanting("192.0.2.5"))); !strings.Contains(problemText(problems), "MAC 02:00:00:00:00:01") {
		t.Errorf("asked for what a machine has: %v", problems)
	}
	if addresses = b.Of(types.NamespacedName{Namespace: "shop", Name: "2"}); texts(addresses) != "192.0.2.2" {
		t.Errorf("another Service: %v", addresses)
	}
}

// However Services come, change and go, and however often a new leader begins: nobody has an
// address that he may not have, nobody loses one to another, and who lacks one is told.
// A Service that asks for an address gets it, though others that take any come first.
func TestAnAddressWaitsForItsAsker(t *testing.T) {
	b := bookOf(t, nil, pool("a", nil, "192.0.2.1-192.0.2.3"), pool("b", selecting, "192.0.2.4"))
	asker, stranger := asks("asker", wanting("192.0.2.1")), asks("stranger", wanting("192.0.2.2", "192.0.2.4"), inPool("b"))
	for _, r := range []Request{asker, stranger} {
		b.Adopt(r, nil)
	}
	for _, step := range []struct {
		r    Request
		want string
	}{
		{asks("1"), "192.0.2.2"}, // which the stranger cannot have
		{asks("2"), "192.0.2.3"},
		{asks("3"), ""},
		{asker, "192.0.2.1"},
		{asks("asker"), "192.0.2.1"},
		{asks("3"), ""},
	} {
		if got, problems := b.Assign(step.r); texts(got) != step.want || (step.want == "") != (len(problems) > 0) {
			t.Errorf("%s gets %s, want %s; %s", step.r.Service.Name, texts(got), step.want, problemText(problems))
		}
	}
	b.Release(asker.Service)
	b.Release(stranger.Service)
	if got, _ := b.Assign(asks("3")); texts(got) != "192.0.2.1" || len(b.askers) > 0 {
		t.Errorf("when the asker is gone, 3 gets %s; askers are %v", texts(got), b.askers)
	}
}

func TestABookOfAnyHistory(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0)) //nolint:gosec // a test
	for range 100 {
		objects := []v1alpha1.AddressPool{pool("a", nil, "192.0.2.1-192.0.2.5", "2001:db8::/126"), pool("b", off, "192.0.2.9")}
		pools, _ := BuildPools(objects, nil)
		b := NewBook()
		b.SetPools(pools, nil)
		requests := map[string]Request{}
		for range 120 {
			name := fmt.Sprint(random.IntN(9))
			before := map[types.NamespacedName][]netip.Addr{}
			for _, r := range requests {
				before[r.Service] = b.Of(r.Service)
			}
			switch random.IntN(5) {
			case 0:
				delete(requests, name)
				b.Release(types.NamespacedName{Namespace: "shop", Name: name})
			case 1: // a new leader; what is recorded is adopted in any order
				again := NewBook()
				again.SetPools(pools, nil)
				for _, r := range requests {
					if lost := again.Adopt(r, b.Of(r.Service)); len(lost) > 0 {
						t.Fatalf("%v loses %v", r.Service, lost)
					}
				}
				for _, r := range requests {
					again.Assign(r)
				}
				b = again
				name = ""
			default:
				r := asks(name, []func(*Request){dual, lenient, func(*Request) {}}[random.IntN(3)], at([]int32{80, 443}[random.IntN(2)]))
				if random.IntN(3) == 0 {
					r.Sharing = "k"
				}
				if random.IntN(4) == 0 {
					r.Wanted = []netip.Addr{netip.AddrFrom4([4]byte{192, 0, 2, byte(1 + random.IntN(10))})}
				}
				if random.IntN(4) == 0 {
					r.Backends = "local"
				}
				r.Created = time.Unix(int64(random.IntN(3)), 0)
				requests[name] = r
				addresses, problems := b.Assign(r)
				families := map[corev1.IPFamily]bool{}
				for _, a := range addresses {
					families[familyOf(a)] = true
				}
				if len(families) != len(addresses) || (len(addresses) < len(r.Families) && len(problems) == 0 && len(r.Wanted) == 0) {
					t.Fatalf("%+v has %v, %v", r, addresses, problems)
				}
			}
			for _, r := range requests {
				if r.Service.Name != name && !slices.Equal(before[r.Service], b.Of(r.Service)) && len(before[r.Service]) > 0 && name != "" {
					t.Fatalf("%s has changed, and %s has %v in place of %v", name, r.Service, b.Of(r.Service), before[r.Service])
				}
				for _, a := range b.Of(r.Service) {
					for _, holder := range b.Holders(a) {
						other := requests[holder.Name]
						if other.Service.Name == "" || !r.fits(&other) {
							t.Fatalf("%v and %v have %s", r, other, a)
						}
					}
				}
			}
			for a := range maps.Keys(b.holders) {
				if b.poolOf(a) == nil {
					t.Fatalf("%s is in no pool", a)
				}
			}
		}
	}
}

func TestBuildPools(t *testing.T) {
	bad := pool("bad", func(s *v1alpha1.AddressPoolSpec) {
		s.NodeSelector = &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "x", Operator: "Near"}}}
	}, "198.51.100.1")
	older, newer := pool("z", nil, "192.0.2.0/28"), pool("a", nil, "192.0.2.8-192.0.2.20", "nonsense")
	older.CreationTimestamp, newer.CreationTimestamp = metav1.Unix(1, 0), metav1.Unix(2, 0)
	pools, problems := BuildPools([]v1alpha1.AddressPool{newer, bad, older}, reservedOf("192.0.2.1", "192.0.2.3"))
	var got []string
	for _, p := range pools {
		got = append(got, fmt.Sprint(p.Name, p.Ranges))
	}
	want := []string{"a[192.0.2.16-192.0.2.20]", "z[192.0.2.0 192.0.2.2 192.0.2.4-192.0.2.15]"}
	if !slices.Equal(got, want) {
		t.Errorf("pools %q, want %q", got, want)
	}
	words := problemText(problems)
	for _, each := range []string{
		"AddressInvalid: it is left out", "PoolsOverlap: the pool does not give 192.0.2.0-192.0.2.15 (AddressPool z)",
		"PoolHasReservedAddresses: the pool does not give 192.0.2.1 (somebody's), 192.0.2.3 (somebody's)", "SelectorInvalid: no Service gets an address",
	} {
		if !strings.Contains(words, each) {
			t.Errorf("problems %q lack %q", words, each)
		}
	}
}
