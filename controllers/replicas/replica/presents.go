package replica

import (
	"slices"
	"time"

	"github.com/fairwaynet/fairway/xds/route"
)

// Presents reports whether an ACME challenge, given by its digest, is answered
// wherever an authority may ask. That is at all Envoys of the gateway, and if
// every is true at every replica, with or without Envoys.
func (v *View) Presents(digest string, gateway route.Gateway, every bool) Verdict {
	own := v.Tracker.challenges() // not under the lock: challenges may call functions that use the View
	envoys := v.Tracker.envoys(gateway)
	v.mu.Lock()
	defer v.mu.Unlock()
	verdict, synced := judgeChallenge(envoys, slices.Contains(own, digest), every)
	return v.everywhere(gateway, verdict, synced, func(o *other, _ time.Time) (verdict Verdict, synced int) {
		if o.broken != "" {
			verdict = o.unreadable()
		} else {
			verdict, synced = judgeChallenge(o.report.Gateways[gateway], slices.Contains(o.report.Challenges, digest), every)
		}
		verdict.Again = renewal
		return verdict, synced
	})
}

// judgeChallenge reports whether one replica answers a challenge, as far as it
// must, and how many of its Envoys do.
func judgeChallenge(envoys Gateway, answers, every bool) (Verdict, int) {
	switch {
	case envoys.Awaited > 0:
		return Verdict{Reason: Newcomer, Detail: "an Envoy has just connected and catches up"}, 0
	case !answers && every:
		return Verdict{Reason: NotYet, Detail: "its responder does not know the challenge yet"}, 0
	case !answers && envoys.Synced > 0:
		return Verdict{Reason: NotYet, Detail: "not all of its Envoys answer the challenge yet"}, 0
	}
	return Verdict{Served: true}, envoys.Synced
}

func (t *Tracker) envoys(gateway route.Gateway) Gateway {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.gateways[gateway]
}
