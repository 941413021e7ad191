package bench

import (
	"testing"
	"time"

	"github.com/fairwaynet/fairway/test/road"
)

// fairway is ours, with the rights that it ships with.
func fairway() peer {
	return peer{name: "fairway", controller: "fairway.dev/ingress-controller", start: startFairway}
}

func startFairway(b *testing.B, w *world) *running {
	b.Helper()
	run := &running{}
	r := road.Start(b, road.Options{Cluster: w.Cluster, Before: func(*road.Road) { run.began = time.Now() }})
	run.controller = func() int { return r.Controller.PID() }
	run.proxy = func() int { return r.Envoys[0].PID(b) }
	return run
}
