package keeper_test

import (
	"testing"

	"github.com/fairwaynet/fairway/proxy/nft"
)

// TestCases are failures that users of other proxies had, in one world: each case begins
// with an agent that has no Services.
func TestCases(t *testing.T) {
	w := newWorld(t)
	for _, c := range []struct {
		name string
		run  func(*testing.T, *world)
	}{
		{"one-way flows end with what they call", testOneWayFlows},
		{"flows follow the endpoints", testFlowsFollowTheEndpoints},
		{"answers on their way", testAnswersOnTheirWay},
		{"very many flows that are left", testManyFlows},
		{"clients stay with their endpoint", testAffinity},
		{"clients stay at each port", testAffinityIsOfAPort},
		{"clients are forgotten", testAffinityEnds},
		{"more clients than can be remembered", testAffinityOfTooMany},
		{"restart", testRestart},
		{"restart with half the state", testRestartWithHalfTheState},
		{"somebody flushes the tables", testFlush},
		{"a Service that cannot be written", testRefused},
		{"others change all the time", testChanges},
		{"the policy Local, and endpoints elsewhere", testLocalWithoutLocalEndpoints},
		{"pods that call themselves", testHairpin},
		{"two slices with one address", testTwoSlices},
		{"addresses of others", testReservedAddresses},
		{"associations follow the endpoints", testSCTP},
		{"stray segments", testStraySegments},
		{"nft lists the tables", testListing},
		{"sockets of the node at node ports", testSocketsAtNodePorts},
		{"masquerade at node ports", testMasqueradeAtNodePorts},
		{"changes of endpoints are timed", testTriggered},
	} {
		t.Run(c.name, func(t *testing.T) {
			w.begin(t, nft.Options{})
			c.run(t, w)
		})
	}
}
