package plugin_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fairwaynet/fairway/test/soak"
)

// Forty pods at once get forty addresses, and each works.
func TestManyAtOnce(t *testing.T) {
	n := newNode(t, "10.244.1.0/24", "fd00:1::/64")
	var mu sync.Mutex
	seen := map[netip.Addr]string{}
	var pods []sandbox
	for i := range 40 {
		pods = append(pods, newSandbox(t, fmt.Sprintf("c%d", i)))
	}
	var adding sync.WaitGroup
	for _, pod := range pods {
		adding.Go(func() {
			said, failed := n.try(t, pod.as("ADD"))
			if failed != nil {
				t.Errorf("ADD %s: %v", pod.container, failed)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			for _, address := range addressesIn(t, said) {
				if other := seen[address]; other != "" {
					t.Errorf("%s and %s have %s", other, pod.container, address)
				}
				seen[address] = pod.container
			}
		})
	}
	adding.Wait()
	if len(seen) != 2*len(pods) {
		t.Errorf("%d addresses for %d pods", len(seen), len(pods))
	}
	for _, pod := range pods {
		if err := pod.answers(t)(); err != nil {
			t.Errorf("%s: %v", pod.container, err)
		}
	}
	var ending sync.WaitGroup
	for _, pod := range pods {
		ending.Go(func() { n.must(t, pod.as("DEL")) })
	}
	ending.Wait()
}

// However often and wherever ADD and DEL are killed, no address, interface, route or file
// is lost: DEL, or GC, takes away the rest.
func TestKilledAnywhere(t *testing.T) {
	kills := 300
	if soak.On() {
		kills = 10_000
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	n := newNode(t, "10.244.1.0/27", "fd00:1::/64")
	n.Isolated = []string{"nobody"} // no agent runs, so no pod may wait
	n.write(t)
	n.must(t, call{verb: "STATUS"}) // the first start reads the program from disk
	first := newSandbox(t, "first")
	began := time.Now()
	n.add(t, first)
	longest := max(20*time.Millisecond, 2*time.Since(began))
	n.must(t, first.as("DEL"))

	var killed, finished int
	for i := 0; killed < kills && i < 10*kills; i++ {
		pod := newSandbox(t, fmt.Sprintf("c%d", i))
		for _, verb := range []string{"ADD", "DEL"} {
			if n.kill(t, pod.as(verb), time.Duration(random.Int64N(int64(longest)))) {
				killed++
			} else {
				finished++
			}
		}
		switch random.IntN(3) {
		case 0:
			n.must(t, pod.as("DEL"))
		case 1:
			pod.End()
			n.must(t, pod.as("DEL"))
		default: // the runtime has forgotten it
		}
		pod.End()
		if random.IntN(8) == 0 { // a range of 31 must do for all that GC has not seen
			n.must(t, call{verb: "GC"})
			if left := n.left(t); left != "" {
				t.Fatalf("seed %d, round %d: GC leaves\n%s", seed, i, left)
			}
		}
	}
	n.must(t, call{verb: "GC"})
	t.Logf("%d calls were killed, %d came to their end", killed, finished)
	if killed < kills/2 {
		t.Errorf("only %d calls were killed: the test does not test", killed)
	}
	last := newSandbox(t, "last")
	n.add(t, last)
	if err := last.answers(t)(); err != nil {
		t.Error(err)
	}
	n.must(t, last.as("DEL"))
}

// kill starts the plugin and kills it after a time, and reports whether it was not done.
func (n *node) kill(t *testing.T, c call, after time.Duration) bool {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), after)
	defer cancel()
	err := n.command(ctx, c).Run()
	return err != nil && strings.Contains(err.Error(), "killed")
}
