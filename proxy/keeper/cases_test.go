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
	} {
		t.Run(c.name, func(t *testing.T) {
			w.begin(t, nft.Options{})
			c.run(t, w)
		})
	}
}
