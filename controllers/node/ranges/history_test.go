package ranges

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"

	"github.com/fairwaynet/fairway/api/problem"
	"github.com/fairwaynet/fairway/cni/ranges"
)

// world is an API server: Nodes, the ledger, and requests that are under way.
type world struct {
	random  *rand.Rand
	nodes   map[string]Node
	uids    int
	past    [][]Node // the Nodes after each change, for caches that are late
	ledger  string
	version int
	late    []func()
}

func (w *world) changed() {
	var now []Node
	for _, node := range w.nodes {
		now = append(now, node)
	}
	w.past = append(w.past, now)
}

// join adds a Node, also one of a name that was there before.
func (w *world) join(name string) {
	w.uids++
	w.nodes[name] = Node{Name: name, UID: types.UID(fmt.Sprint(w.uids))}
	w.changed()
}

func (w *world) leave(name string) {
	delete(w.nodes, name)
	w.changed()
}

// Nodes implements Cluster.
func (w *world) Nodes(context.Context) ([]Node, error) { return w.past[len(w.past)-1], nil }

var errLost = errors.New("the answer is lost")

// Give implements Cluster: the request may arrive at any time, whatever the answer is.
func (w *world) Give(_ context.Context, name string, p Promise) error {
	w.late = append(w.late, func() {
		if node, ok := w.nodes[name]; ok && node.UID == p.UID && !node.Served {
			node.Served, node.Ranges = true, p.Ranges
			w.nodes[name] = node
			w.changed()
		}
	})
	if w.random.IntN(2) == 0 {
		return errLost
	}
	return nil
}

// arrive lets a request arrive.
func (w *world) arrive() {
	if len(w.late) > 0 {
		at := w.random.IntN(len(w.late))
		request := w.late[at]
		w.late = slices.Delete(w.late, at, at+1)
		request()
	}
}

// Read implements Cluster.
func (w *world) Read(context.Context) (Ledger, Version, error) {
	ledger, err := readLedger(w.ledger)
	return ledger, Version{Resource: fmt.Sprint(w.version)}, err
}

// Write implements Cluster. As an API server it makes no new version of an equal content.
func (w *world) Write(_ context.Context, l Ledger, at Version) (Version, error) {
	if at.Resource != fmt.Sprint(w.version) {
		return Version{}, errMoved
	}
	text, err := l.text()
	if err != nil {
		return Version{}, err
	}
	if text != w.ledger {
		w.ledger, w.version = text, w.version+1
	}
	if w.random.IntN(10) == 0 {
		return Version{}, errLost
	}
	return Version{Resource: fmt.Sprint(w.version)}, nil
}

// twice returns two Nodes that have one address.
func (w *world) twice() []ranges.Overlap {
	var owned []ranges.Owned
	for _, node := range w.nodes {
		for _, each := range node.Ranges {
			owned = append(owned, ranges.Owned{Node: node.Name, Range: each})
		}
	}
	return ranges.Overlaps(owned)
}

// candidate believes that it leads, or not. Nothing ever tells it that another does.
type candidate struct {
	*term

	world  *world
	shown  int // what of the world's past its cache shows
	behind bool
	leads  bool
}

// cached are the Nodes of its cache, which goes on while it has to catch up.
func (c *candidate) cached(context.Context) ([]Node, error) {
	if c.behind {
		c.shown = min(c.shown+1, len(c.world.past)-1)
	}
	return c.world.past[c.shown], nil
}

// begin is a new term, of a process that has just started or not.
func (c *candidate) begin(pools ranges.Pools, restarted bool) {
	if restarted {
		c.shown += c.world.random.IntN(len(c.world.past) - c.shown)
	}
	c.term = &term{
		pools: pools, cluster: c.world, seen: c.cached, reporter: silent{}, log: logr.Discard(), changed: newBell(),
		queue: workqueue.NewTypedRateLimitingQueue(workqueue.DefaultTypedControllerRateLimiter[string]()),
	}
	c.behind = true
	c.leads = c.term.begin(context.Background()) == nil
	c.behind = false
	c.queue.ShutDown()
}

func (c *candidate) step(pools ranges.Pools) {
	random := c.world.random
	switch dice := random.IntN(10); {
	case !c.leads || random.IntN(15) == 0:
		c.begin(pools, random.IntN(2) == 0)
	case dice < 4:
		_, err := c.pass(context.Background())
		c.leads = err == nil
	case dice < 6:
		for name := range c.ledger.Promises {
			c.give(context.Background(), name)
			break
		}
	default:
		c.shown = min(c.shown+1, len(c.world.past)-1)
	}
}

type silent struct{}

// Report implements Reporter.
func (silent) Report(context.Context, any, []problem.Problem) {}

// Two leaders that both believe to be the only one, with caches that are late and requests
// that arrive whenever they like: no address is ever given to two Nodes. In the end each
// Node has a range, or there is none left.
func TestNoRangeIsGivenTwice(t *testing.T) {
	for seed := range uint64(300) {
		synctest.Test(t, func(t *testing.T) { history(t, seed) })
	}
}

func history(t *testing.T, seed uint64) {
	t.Helper()
	pools, err := ranges.New([]netip.Prefix{netip.MustParsePrefix("10.0.0.0/22"), netip.MustParsePrefix("fd00::/61")}, 24, 64)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{random: rand.New(rand.NewPCG(seed, 7)), nodes: map[string]Node{}}
	w.nodes["foreign"] = Node{Name: "foreign", UID: "foreign", Served: true, Ranges: []netip.Prefix{netip.MustParsePrefix("10.0.1.64/26")}}
	w.changed()
	leaders := []*candidate{{world: w}, {world: w}}
	for step := range 400 {
		name := fmt.Sprint("n", w.random.IntN(9))
		switch dice := w.random.IntN(10); {
		case dice == 0:
			w.leave(name)
		case dice == 1:
			w.join(name)
		case dice < 4:
			w.arrive()
		default: // one works, and the other mostly stands still
			leaders[(step/50+w.random.IntN(10)/9)%2].step(pools)
		}
		if twice := w.twice(); len(twice) > 0 {
			t.Fatalf("seed %d step %d: %v", seed, step, twice)
		}
	}
	settle(w, leaders[0], pools)
	served := 0
	for _, node := range w.nodes {
		if node.Served && node.Name != "foreign" {
			served++
		}
	}
	if want := min(3, len(w.nodes)-1); served != want { // of four parts one is foreign
		t.Fatalf("seed %d: %d of %d nodes have ranges, want %d", seed, served, len(w.nodes)-1, want)
	}
}

// settle lets one leader work until nothing is left to do.
func settle(w *world, only *candidate, pools ranges.Pools) {
	only.leads = false
	for range 50 {
		for len(w.late) > 0 {
			w.arrive()
		}
		only.shown = len(w.past) - 1
		for !only.leads {
			only.begin(pools, false)
		}
		if _, err := only.pass(context.Background()); err != nil {
			only.leads = false
			continue
		}
		for name := range only.ledger.Promises {
			only.give(context.Background(), name)
		}
	}
}
