//go:build lab && network

package lab

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/fairwaynet/fairway/cni/ipam"
)

// TestNetworkMore is what TestNetwork has no time for: frames of other sizes, nodes and ranges
// that are full, nodes that come back with another range, and an API server that is away. `make
// lab-network` runs it.
func TestNetworkMore(t *testing.T) {
	t.Run("large frames", testLargeFrames)
	t.Run("small frames, small ranges", testSmallFrames)
}

// testLargeFrames is a lab with jumbo frames, of which one node has none.
func testLargeFrames(t *testing.T) {
	before := look(t)
	l := Start(t, Options{
		Nodes: 3, Fabrics: 2, Families: DualStack, MTU: 9000, NodeMTU: map[string]int{"n3": 1500}, Fairway: Network,
	})
	remember(t, l)
	l.singleFrames(t)
	l.Kubectl(t, echoPod("one", "n1")+echoPod("two", "n2")+echoPod("three", "n3"), "apply", "-f", "-")
	l.waitFor(t, "--for=condition=Ready", "pod", "--all")

	t.Run("pods have what their node's link carries", func(t *testing.T) {
		testWires(t, l, map[string]string{"n1": "8950", "n2": "8950", "n3": "1450"})
	})
	t.Run("ten megabytes between all pods", func(t *testing.T) { testTransfers(t, l) })
	t.Run("a way out that carries less", func(t *testing.T) { testPathMTU(t, l) })
	t.Run("a node comes back with another range", func(t *testing.T) { testNodeComesBack(t, l) })
	t.Run("a full node", func(t *testing.T) { testFullNode(t, l) })
	t.Run("no address leaks", func(t *testing.T) { testNoLeaks(t, l, "n1", "n2", "n3") })
	remember(t, l)
	l.end(t, before)
}

// testSmallFrames is a lab whose fabrics carry little, the second as little as IPv6 allows, and
// whose nodes have few addresses.
func testSmallFrames(t *testing.T) {
	before := look(t)
	l := Start(t, Options{
		Nodes: 3, Fabrics: 2, Families: DualStack, MTU: 1400, NodeMTU: map[string]int{"n2": 1280}, NodeBits4: 28, Fairway: Network,
		KubeletConfiguration: map[string]any{"staticPodPath": manifests, "fileCheckFrequency": "1s"},
	})
	remember(t, l)
	l.singleFrames(t)
	l.Machine(routerName).Exec(t, "ip", "link", "set", "eth1", "mtu", "1280") // as n2
	l.Kubectl(t, echoPod("one", "n1")+echoPod("two", "n2")+echoPod("three", "n3"), "apply", "-f", "-")
	l.waitFor(t, "--for=condition=Ready", "pod", "--all")

	t.Run("pods have what their node's link carries", func(t *testing.T) {
		testWires(t, l, map[string]string{"n1": "1350", "n2": "1280", "n3": "1350"})
	})
	t.Run("ten megabytes between all pods", func(t *testing.T) { testTransfers(t, l) })
	t.Run("a full range", func(t *testing.T) { testFullRange(t, l) })
	t.Run("the API server is away", func(t *testing.T) { testWithoutAPIServer(t, l) })
	t.Run("no address leaks", func(t *testing.T) { testNoLeaks(t, l, "n1", "n2", "n3") })
	remember(t, l)
	l.end(t, before)
}

// end ends the lab, which must leave nothing.
func (l *Lab) end(t *testing.T, before sight) {
	t.Helper()
	if err := l.Down(); err != nil {
		t.Fatal(err)
	}
	before.compare(t)
}

// leases are the leases of a node, as its plugin has written them.
func (l *Lab) leases(t *testing.T, node string) []ipam.Lease {
	t.Helper()
	folder := ipam.Leases{Dir: filepath.Join(l.dirOf(node), "upper", "var/lib/fairway/cni")}
	leases, unreadable, err := folder.All()
	if err != nil || len(unreadable) > 0 {
		t.Fatalf("leases of %s: %v, %v", node, unreadable, err)
	}
	return leases
}

// remains is what a node has of its pods: names of leases and addresses, wires, and what leads
// to them, a line each.
func (l *Lab) remains(t *testing.T, node string) []string {
	t.Helper()
	said := l.Machine(node).Exec(t, "sh", "-ec", `
		ls /var/lib/fairway/cni 2>/dev/null | sed 's/^/lease /'
		ip -o link show | grep -o ' fw[^@:]*' | sed 's/^/link/'
		for family in 4 6; do
			ip -$family -o route show table all proto 102 | sed 's/^/route /; s/ *$//'
			ip -$family -o neigh show nud permanent | grep ' dev fw' | sed 's/^/neighbour /; s/ *$//'
		done
		nft list tables`)
	lines := strings.Split(strings.TrimSpace(said), "\n")
	slices.Sort(lines)
	return lines
}
