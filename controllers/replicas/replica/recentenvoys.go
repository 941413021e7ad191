package replica

import (
	"slices"
	"time"

	"github.com/fairwaynet/fairway/xds/route"
	"github.com/fairwaynet/fairway/xds/server"
)

// catchUpTimeout is how long to wait for an Envoy that catches up. recentMemory is
// how long to remember an Envoy that is gone.
const (
	catchUpTimeout = 10 * time.Second
	recentMemory   = time.Minute
)

// recentEnvoys counts the Envoys that came a moment ago. Such an Envoy may still
// serve what another replica gave it. So for a while it is unknown whether every
// Envoy serves something. An Envoy that does not catch up in that time is not
// awaited again until it has, however often it connects.
type recentEnvoys struct{ known map[node]*connectionTimes }

type node struct {
	gateway route.Gateway
	id      string
}

type connectionTimes struct{ first, last time.Time }

// count returns the connected Envoys by gateway.
func (n *recentEnvoys) count(envoys []server.EnvoyState, now time.Time) map[route.Gateway]Gateway {
	counts := map[route.Gateway]Gateway{}
	for _, e := range envoys {
		g := counts[e.Gateway]
		g.Envoys++
		if e.Synced {
			g.Synced++
		}
		if n.awaits(e, now) {
			g.Awaited++
		}
		g.Versions = withVersion(g.Versions, e.Version)
		counts[e.Gateway] = g
	}
	for id, a := range n.known {
		if now.Sub(a.last) > recentMemory {
			delete(n.known, id)
		}
	}
	return counts
}

// maxVersions bounds the Envoy versions in a Lease.
const maxVersions = 8

func withVersion(versions []string, version string) []string {
	at, found := slices.BinarySearch(versions, version)
	if found || version == "" || len(versions) == maxVersions {
		return versions
	}
	return slices.Insert(versions, at, version)
}

func (n *recentEnvoys) awaits(e server.EnvoyState, now time.Time) bool {
	id := node{e.Gateway, e.Node}
	a := n.known[id]
	switch {
	case e.Synced && (e.Pending == 0 || a == nil):
		delete(n.known, id)
		return false
	case a == nil:
		a = &connectionTimes{first: now}
		set(&n.known, id, a)
	}
	a.last = now
	return now.Sub(a.first) < catchUpTimeout
}
