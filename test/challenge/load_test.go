package challenge_test

import (
	"fmt"
	"testing"

	"github.com/fairwaynet/fairway/test/fairway"
	"github.com/fairwaynet/fairway/test/soak"
	tlschallenge "github.com/fairwaynet/fairway/tls/challenge"
)

// No request to a host fails while challenges come and go there: of a host that
// an Ingress names, and of one that is served as a wildcard, which for so long
// has a virtual host of its own.
func TestChallengesLoseNoRequest(t *testing.T) {
	s := start(t, fairway.Options{Envoys: 2, Flags: []string{"-v"}, Record: true})
	s.backend("web")
	s.ingress(fairway.Ingress("exact", class, "exact.test", "/", "web"))
	s.ingress(fairway.Ingress("wild", class, "*.wild.test", "/", "web"))
	fairway.Eventually(t, patience, fairway.Everywhere(fairway.Answers("exact.test", "/", "web")))
	fairway.Eventually(t, patience, fairway.Everywhere(fairway.Answers("a.wild.test", "/", "web")))
	loads := []*fairway.Load{s.fairway.StartLoad(t, "exact.test", "/"), s.fairway.StartLoad(t, "a.wild.test", "/x")}
	for i := range soak.Pick(12, 40) {
		all := []tlschallenge.Challenge{
			of("exact.test", fmt.Sprint("token-", i)), of("a.wild.test", fmt.Sprint("token-", i)), of("b.wild.test", fmt.Sprint("token-", i)),
		}
		secret := s.order(fmt.Sprint("load-", i), all...)
		for _, c := range all {
			fairway.Eventually(t, patience, s.presented(c))
			if a, err := fairway.Get(t.Context(), c.Name, c.Path()); err != nil || a.Body != c.KeyAuthorization {
				t.Errorf("%s: %d %q, %v", c, a.Status, a.Body, err)
			}
		}
		s.over(secret)
		for _, c := range all {
			fairway.Eventually(t, patience, s.absent(c))
		}
		for _, load := range loads {
			fairway.Eventually(t, patience, load.Reaches("web", 20))
		}
	}
	for _, load := range loads {
		load.StopClean()
	}
}
