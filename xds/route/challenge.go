package route

import (
	"cmp"
	"net/http"
	"slices"
	"strings"
)

// Challenge is what a certificate authority asks for over HTTP to see whether a
// host is ours (RFC 8555, section 8.3), and the answer.
type Challenge struct {
	Token  string // of the base64url alphabet
	Answer string
}

// ReasonChallenge is the Reason of the routes that answer challenges. It is no
// Problem.
const ReasonChallenge = "ACMEChallenge"

// challengePath is what the paths of challenges begin with.
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

// ChallengesOf is what host answers to authorities; a nil host answers none.
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

// withChallenges is host with routes that answer challenges before all others.
// Where no Ingress names its name (host is nil), it is a copy of the wider host
// that serves the name's requests, so that nothing but the challenges is
// answered otherwise; where there is none either, what is left is 404 as before.
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
