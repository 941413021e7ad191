package challenge_test

import (
	"fmt"
	"testing"

	"github.com/fairwaynet/fairway/test/road"
	"github.com/fairwaynet/fairway/test/soak"
	tlschallenge "github.com/fairwaynet/fairway/tls/challenge"
)

// No request to a host fails while challenges come and go there: of a host that
// an Ingress names, and of one that is served as a wildcard, which for so long
// has a virtual host of its own.
func TestChallengesLoseNoRequest(t *testing.T) {
	s := start(t, road.Options{Envoys: 2, Flags: []string{"-v"}, Record: true})
	s.backend("web")
	s.ingress(road.Ingress("exact", class, "exact.test", "/", "web"))
	s.ingress(road.Ingress("wild", class, "*.wild.test", "/", "web"))
	road.Eventually(t, patience, road.Everywhere(road.Answers("exact.test", "/", "web")))
	road.Eventually(t, patience, road.Everywhere(road.Answers("a.wild.test", "/", "web")))
	loads := []*road.Load{s.road.StartLoad(t, "exact.test", "/"), s.road.StartLoad(t, "a.wild.test", "/x")}
	for i := range soak.Pick(12, 40) {
		all := []tlschallenge.Challenge{
			of("exact.test", fmt.Sprint("token-", i)), of("a.wild.test", fmt.Sprint("token-", i)), of("b.wild.test", fmt.Sprint("token-", i)),
		}
		secret := s.order(fmt.Sprint("load-", i), all...)
		for _, c := range all {
			road.Eventually(t, patience, s.presented(c))
			if a, err := road.Get(t.Context(), c.Name, c.Path()); err != nil || a.Body != c.KeyAuthorization {
				t.Errorf("%s: %d %q, %v", c, a.Status, a.Body, err)
			}
		}
		s.over(secret)
		for _, c := range all {
			road.Eventually(t, patience, s.absent(c))
		}
		for _, load := range loads {
			road.Eventually(t, patience, load.Reaches("web", 20))
		}
	}
	for _, load := range loads {
		load.StopClean()
	}
}
