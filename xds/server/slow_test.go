package server_test

import (
	"fmt"
	"runtime"
	"testing"

	"github.com/fairwaynet/fairway/xds/envoy"
	"github.com/fairwaynet/fairway/xds/route"
	"github.com/fairwaynet/fairway/xds/server/simulated"
)

// What an Envoy that does not answer has missed is told in few responses, each
// with the newest value, and not one by one.
func TestWhatASlowEnvoyMissedIsCoalesced(t *testing.T) {
	b := opened(t, quick())
	e := b.synced(simulated.Options{})
	names := inShard(3)
	for _, name := range names {
		b.served(hostOf(name, to("/", "web")))
	}
	e.Stall(true)
	before := e.Statistics().Responses
	for i := range 300 {
		b.publish(hostOf(names[i%3], to(fmt.Sprintf("/v%d", i), "web"), to("/", "web")))
	}
	e.Stall(false)
	for i, name := range names {
		b.eventually(string(name)+" has its newest value", func() bool {
			return virtualHost(e, name) == fmt.Sprintf("/v%d>shop/web:80 />shop/web:80", 297+i) && b.server.Host(keyOf(name)).Served
		})
	}
	if n := e.Statistics().Responses - before; n > 3 {
		t.Errorf("300 changes of 3 hosts came in %d responses, want the one under way and the rest", n)
	}
}

// An Envoy that is stalled while everything changes again and again costs the
// server the pending resources once, not every change.
func TestSlowEnvoyCostsBoundedMemory(t *testing.T) {
	b := opened(t, quick())
	e := b.synced(simulated.Options{})
	names := make([]route.Hostname, 200)
	for i := range names {
		names[i] = route.Hostname(fmt.Sprintf("h%d.test", i))
		b.publish(hostOf(names[i], to("/", "web")))
	}
	b.eventually("settled", b.idle)
	e.Stall(true)
	change := func(rounds, from int) {
		for round := range rounds {
			for _, name := range names {
				b.publish(hostOf(name, to(fmt.Sprintf("/v%d", from+round), "web"), to("/", "web")))
			}
			b.server.PublishBackend(portOf("web"), backendOf(portOf("web"), fmt.Sprintf("10.0.%d.1", round)))
		}
	}
	change(5, 0)
	before := heapInUse()
	change(100, 5)
	if grown := heapInUse() - before; grown > 4<<20 {
		t.Errorf("20,000 changes that a stalled Envoy missed cost %d KiB", grown>>10)
	}
	e.Stall(false)
	b.eventually("settled", func() bool { return b.idle() && virtualHost(e, names[0]) == "/v104>shop/web:80 />shop/web:80" })
	if states := b.server.Envoys(); len(states) != 1 || !states[0].Synced {
		t.Errorf("envoys %+v", states)
	}
}

func heapInUse() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapInuse)
}

// A flood of names that no host serves, as a scanner's SNI makes, leaves nothing
// behind.
func TestFloodOfUnknownNamesLeavesNothing(t *testing.T) {
	b := opened(t, quick())
	e := b.synced(simulated.Options{})
	flood := func(from int) {
		for i := range 2000 {
			e.Lookup(envoy.TypeSecret, fmt.Sprintf("%d.scanner.test", from+i), true)
		}
		b.eventually("all are answered", b.idle)
		for i := range 2000 {
			e.Lookup(envoy.TypeSecret, fmt.Sprintf("%d.scanner.test", from+i), false)
		}
		b.eventually("all are forgotten", b.idle)
	}
	flood(0)
	before := heapInUse()
	for round := 1; round < 5; round++ {
		flood(round * 2000)
	}
	if grown := heapInUse() - before; grown > 2<<20 {
		t.Errorf("8,000 unknown names cost %d KiB", grown>>10)
	}
}

// Envoys at very different speeds get the same.
func TestEnvoysOfManySpeeds(t *testing.T) {
	b := opened(t, quick())
	for i := range 8 {
		b.envoy(slowly(uint64(i), i))
	}
	for round := range 5 {
		for i, name := range inShard(10) {
			b.publish(hostOf(name, to("/", fmt.Sprintf("s%d", (i+round)%4))))
		}
	}
	b.eventually("settled", func() bool { return len(b.server.Envoys()) == 8 && b.idle() })
	for _, name := range inShard(10) {
		b.eventually("served", func() bool { return b.server.Host(keyOf(name)).Served })
	}
	for i, e := range b.envoys[1:] {
		b.eventually("unused clusters are gone", b.idle)
		diffPictures(t, "the first", versionsOf(b.envoys[0]), fmt.Sprint("envoy ", i+1), versionsOf(e))
	}
}
