package challenge

import (
	"context"
	"fmt"
	"slices"

	"github.com/fairwaynet/fairway/controllers/replicas/replica"
	"github.com/fairwaynet/fairway/tls/challenge"
	"github.com/fairwaynet/fairway/xds/route"
)

// AllReplicas answers for all replicas what a Set answers for one. The leader asks
// it before it tells an authority to look.
type AllReplicas struct{ View *replica.View }

// Presented reports whether an authority that looks now finds the answer,
// whichever Envoy and replica it reaches. For HTTP-01, every live replica with
// Envoys of the gateway must report that all of them answer. For TLS-ALPN-01,
// every live replica must, because an Envoy may ask any of them. why says, for
// people, what is still missing. Envoys cannot present DNS-01: that is an error.
//
// It looks at what is known and does not wait; ask again a moment later.
func (e AllReplicas) Presented(_ context.Context, c challenge.Challenge) (ok bool, why string, err error) {
	if err := presentable(c); err != nil {
		return false, "", err
	}
	verdict := e.View.Presents(c.Digest(), route.Gateway(c.Gateway), c.Type == challenge.TLSALPN01)
	if verdict.Served {
		return true, "", nil
	}
	if verdict.Replica != "" {
		return false, fmt.Sprintf("replica %s: %s", verdict.Replica, verdict.Detail), nil
	}
	return false, verdict.Detail, nil
}

func presentable(c challenge.Challenge) error {
	if c.Type != challenge.HTTP01 && c.Type != challenge.TLSALPN01 {
		return fmt.Errorf("present %s: no Envoy answers that", c)
	}
	return nil
}

// Presented is AllReplicas.Presented for a process that is the only replica.
func (s *Set) Presented(_ context.Context, c challenge.Challenge) (ok bool, why string, err error) {
	if err := presentable(c); err != nil {
		return false, "", err
	}
	if slices.Contains(s.Live(), c.Digest()) {
		return true, "", nil
	}
	return false, s.why(c), nil
}

// why says what a challenge that is not live waits for.
func (s *Set) why(c challenge.Challenge) string {
	if c.Type == challenge.TLSALPN01 {
		return "the responder does not know the challenge yet"
	}
	if s.Hosts != nil {
		if state := s.Hosts.Host(KeyOf(c)); state.Rejected != "" {
			return "an Envoy refused the host: " + state.Rejected
		} else if state.WaitingFor != "" {
			return "Envoys have not accepted " + state.WaitingFor + " yet"
		}
	}
	return "no Envoy answers the challenge yet"
}
