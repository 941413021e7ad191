package route_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/fairwaynet/fairway/xds/route"
)

const challengePath = "/.well-known/acme-challenge/"

// Challenges are answered under their own host and nowhere else, and all other
// requests go where they go without: also those for names that only a wildcard
// or nobody serves.
func TestChallengesTakeTheirPathsAndNoOthers(t *testing.T) {
	names := []string{"a.test", "b.test", "x.a.test", "y.a.test", "y.x.a.test", "other.test"}
	forSeeds(t, 2000, func(t *testing.T, random *rand.Rand) {
		w := randomWorld(random)
		w.challenges = map[route.Key][]route.Challenge{}
		for range 1 + random.IntN(3) {
			key := route.Key{Gateway: route.DefaultGateway, Host: route.Hostname(pick(random, names))}
			token := fmt.Sprint("token-", random.IntN(4))
			w.challenges[key] = append(w.challenges[key], route.Challenge{Token: token, Answer: token + ".thumb"})
		}
		made := w.build()
		for range 40 {
			host, path := pick(random, append(names, "z.y.x.a.test")), randomPath(random)
			if random.IntN(3) == 0 {
				path = challengePath + fmt.Sprint("token-", random.IntN(4))
			}
			want := oracle{w}.ask(host, path)
			for _, c := range w.challenges[route.Key{Gateway: route.DefaultGateway, Host: route.Hostname(host)}] {
				if path == challengePath+c.Token {
					want = "200 " + route.ReasonChallenge
				}
			}
			if got := made.ask(host, path); got != want {
				t.Errorf("%s%s: %s, want %s", host, path, got, want)
			}
		}
	})
}

// What a host answers can be read from it again, and the order in which
// challenges come does not matter.
func TestChallengesOfAHost(t *testing.T) {
	a, b := route.Challenge{Token: "a", Answer: "a.thumb"}, route.Challenge{Token: "b", Answer: "b.thumb"}
	key := route.Key{Gateway: route.DefaultGateway, Host: "shop.test"}
	wider := &route.Host{Routes: []route.Route{{Match: route.Match{Path: "/"}, Status: 503, Reason: "BackendNotFound"}}}
	made, _ := route.Build(key, route.Objects{Challenges: []route.Challenge{b, a, b}, Wider: wider})
	if diff := diffOf([]route.Challenge{a, b}, route.ChallengesOf(made)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if len(wider.Routes) != 1 || made.Key != key || len(made.Routes) != 3 {
		t.Errorf("of %+v was made %+v", wider, made)
	}
	if got := route.ChallengesOf(wider); got != nil {
		t.Errorf("the wider host answers %v", got)
	}
}

// explain says of a challenge that it is answered, and of its neighbour where it
// goes.
func TestExplainFindsChallenges(t *testing.T) {
	key := route.Key{Gateway: route.DefaultGateway, Host: "shop.test"}
	made, _ := route.Build(key, route.Objects{Challenges: []route.Challenge{{Token: "a", Answer: "a.thumb"}}})
	find := func(host route.Hostname) *route.Host {
		if host == key.Host {
			return made
		}
		return nil
	}
	for target, want := range map[string]route.End{challengePath + "a": route.EndChallenge, challengePath + "b": route.EndNoPath} {
		trace := route.Explain(route.DefaultSettings(), find, route.Request{Authority: "shop.test", Target: target, Method: "GET"})
		if trace.End != want {
			t.Errorf("%s ends with %s, want %s", strings.TrimPrefix(target, challengePath), trace.End, want)
		}
	}
}
