package service_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/types"

	"github.com/fairwaynet/fairway/proxy/service"
)

// has is what a Service has and lacks, in words.
func has(c *service.Claims, name types.NamespacedName) string {
	s, lacks := c.Get(name)
	text := say(s)
	var lost []string
	for key, holder := range lacks {
		lost = append(lost, fmt.Sprintf("lacks %s, which %s has\n", key, holder.Name))
	}
	slices.Sort(lost)
	return text + fmt.Sprint(lost)
}

// However Services came, changed and went, everybody has what a fresh start gives, each
// front has one holder, and Set has named everybody for whom something changed.
func TestClaimsDoNotRememberHistory(t *testing.T) {
	for seed := range uint64(60) {
		r := random{rand.New(rand.NewPCG(seed, 2)), "203.0.113.7"}
		walked, are := service.NewClaims(), map[types.NamespacedName]*service.Service{}
		shown := map[types.NamespacedName]string{}
		for range 5 {
			name := types.NamespacedName{Namespace: "shop", Name: fmt.Sprint("s", r.IntN(5))}
			built, _ := service.Build(r.object(name.Name), r.slices(), node())
			if r.one(30) {
				built = nil
			}
			if delete(are, name); built != nil {
				are[name] = built
			}
			changed := walked.Set(name, built)
			if !slices.IsSortedFunc(changed, byName) || !slices.Contains(changed, name) {
				t.Fatalf("seed %d: changed %v", seed, changed)
			}
			for i := range 5 {
				other := types.NamespacedName{Namespace: "shop", Name: fmt.Sprint("s", i)}
				now := has(walked, other)
				if before, known := shown[other]; known && before != now && !slices.Contains(changed, other) {
					t.Fatalf("seed %d: nobody is told that %s changes from\n%sto\n%s", seed, other, before, now)
				}
				shown[other] = now
			}
		}
		fresh, holders := service.NewClaims(), map[service.FrontKey]types.NamespacedName{}
		names := slices.Collect(maps.Keys(are))
		r.Shuffle(len(names), func(i, k int) { names[i], names[k] = names[k], names[i] })
		for _, name := range names {
			fresh.Set(name, are[name])
		}
		for _, name := range names {
			if diff := cmp.Diff(has(fresh, name), has(walked, name)); diff != "" {
				t.Fatalf("seed %d (-fresh +walked)\n%s", seed, diff)
			}
			s, _ := walked.Get(name)
			for _, p := range s.Ports {
				for _, f := range p.Fronts {
					key := service.FrontKey{Address: f.Address, IPv6: p.IPv6, Protocol: p.Protocol, Port: f.Port}
					if other, taken := holders[key]; taken {
						t.Fatalf("seed %d: %s and %s have %s", seed, name, other, key)
					}
					holders[key] = name
				}
			}
		}
	}
}

// The oldest Service has what several want, whoever is told first. Of two that were made in
// one second it is the first by name.
func TestTheOldestServiceHasWhatSeveralWant(t *testing.T) {
	made := func(name string, seconds int64, changes ...change) *service.Service {
		s := object(append(changes, balancer("203.0.113.1"))...)
		s.Name, s.CreationTimestamp.Time = name, time.Unix(seconds, 0)
		built, _ := service.Build(s, one(here), node())
		return built
	}
	name := func(text string) types.NamespacedName { return types.NamespacedName{Namespace: "shop", Name: text} }
	c := service.NewClaims()
	c.Set(name("young"), made("young", 3))
	if changed := c.Set(name("old"), made("old", 2)); !slices.Equal(changed, []types.NamespacedName{name("old"), name("young")}) {
		t.Errorf("changed %v", changed)
	}
	c.Set(name("equal"), made("equal", 2))
	_, lacks := c.Get(name("young"))
	if len(lacks) != 2 { // its cluster IP, too: in the tests all have the same
		t.Errorf("young lacks %v", lacks)
	}
	for _, holder := range lacks {
		if holder != name("equal") {
			t.Errorf("%s has it", holder)
		}
	}
	c.Set(name("equal"), nil)
	if _, lacks := c.Get(name("old")); lacks != nil {
		t.Errorf("old lacks %v", lacks)
	}
	c.Set(name("old"), nil)
	if s, lacks := c.Get(name("young")); lacks != nil || len(s.Ports[0].Fronts) != 2 {
		t.Errorf("young has %s and lacks %v", say(s), lacks)
	}
	c.Set(name("young"), nil)
	if s, _ := c.Get(name("young")); s != nil {
		t.Errorf("nobody is there, and has %s", say(s))
	}
}

func byName(a, b types.NamespacedName) int { return strings.Compare(a.String(), b.String()) }
