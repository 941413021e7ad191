package bench

import (
	"testing"
	"time"

	"github.com/fairwaynet/fairway/test/fairway"
)

// fairwayPeer is ours, with the rights that it ships with.
func fairwayPeer() peer {
	return peer{name: "fairway", controller: "fairway.dev/ingress-controller", start: startFairway}
}

func startFairway(b *testing.B, w *world) *running {
	b.Helper()
	run := &running{}
	r := fairway.Start(b, fairway.Options{Cluster: w.Cluster, Before: func(*fairway.Installation) { run.began = time.Now() }})
	run.controller = func() int { return r.Controller.PID() }
	run.proxy = func() int { return r.Envoys[0].PID(b) }
	return run
}
