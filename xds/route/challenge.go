package route

import (
	"cmp"
	"net/http"
	"slices"
	"strings"
)

// Challenge is the path that a certificate authority asks for over HTTP to validate
// a host (RFC 8555, section 8.3), and the answer.
type Challenge struct {
	Token  string // of the base64url alphabet
	Answer string
}

// ReasonChallenge is the Reason of the routes that answer challenges. It is not that
// of a Problem.
const ReasonChallenge = "ACMEChallenge"

// challengePath begins the paths of challenges.
const challengePath = "/.well-known/acme-challenge/"

// IsChallenge reports whether the route answers a challenge.
func (r *Route) IsChallenge() bool { return r.Cluster == nil && r.Reason == ReasonChallenge }

// route answers c, on HTTP as on HTTPS.
func (c Challenge) route() Route {
	return Route{
		Match:  Match{Kind: Exact, Path: challengePath + c.Token},
		Status: http.StatusOK,
		Reason: ReasonChallenge,
		Body:   c.Answer,
	}
}

// ChallengesOf are the challenges that host answers; a nil host answers none.
func ChallengesOf(host *Host) []Challenge {
	if host == nil {
		return nil
	}
	var challenges []Challenge
	for i := range host.Routes {
		r := &host.Routes[i]
		if !r.IsChallenge() {
			break // they come first
		}
		challenges = append(challenges, Challenge{Token: strings.TrimPrefix(r.Match.Path, challengePath), Answer: r.Body})
	}
	return challenges
}

// withChallenges is host with routes that answer challenges before all others. If no
// Ingress names the host (host is nil), it is a copy of the wider host that serves its
// requests, so that only the challenges are answered differently. If there is no wider
// host either, all other requests are still answered 404.
func withChallenges(key Key, host, wider *Host, challenges []Challenge) *Host {
	if len(challenges) == 0 {
		return host
	}
	var answering Host
	switch {
	case host != nil:
		answering = *host
	case wider != nil:
		answering = *wider
	}
	answering.Key = key
	sorted := slices.Clone(challenges)
	slices.SortFunc(sorted, func(a, b Challenge) int {
		return cmp.Or(cmp.Compare(a.Token, b.Token), cmp.Compare(a.Answer, b.Answer))
	})
	routes := make([]Route, 0, len(sorted)+len(answering.Routes))
	for _, c := range slices.Compact(sorted) {
		routes = append(routes, c.route())
	}
	answering.Routes = append(routes, answering.Routes...)
	return &answering
}
