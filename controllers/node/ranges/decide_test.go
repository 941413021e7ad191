package ranges

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/time/rate"
	"k8s.io/apimachinery/pkg/types"

	"github.com/fairwaynet/fairway/cni/ranges"
)

// nodes makes Nodes of words: a name, ":" and its ranges with "," between them. The UID is the
// name in capitals.
func nodes(words string) []Node {
	var all []Node
	for word := range strings.FieldsSeq(words) {
		name, has, _ := strings.Cut(word, ":")
		node := Node{Name: name, UID: types.UID(strings.ToUpper(name)), Served: has != ""}
		for text := range strings.SplitSeq(has, ",") {
			if text == "unreadable" || text == "" {
				continue
			}
			_, text, _ = strings.Cut(text, "=")
			node.Ranges = append(node.Ranges, netip.MustParsePrefix(text))
		}
		all = append(all, node)
	}
	return all
}

func promise(uid string, words ...string) Promise {
	p := Promise{UID: types.UID(uid)}
	for _, word := range words {
		p.Ranges = append(p.Ranges, netip.MustParsePrefix(word))
	}
	return p
}

func pool(t testing.TB, bits4 int, words ...string) ranges.Pools {
	t.Helper()
	made, err := ranges.New(promise("", words...).Ranges, bits4, 64)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

func TestDecide(t *testing.T) {
	const small = "10.0.0.0/23"
	for _, c := range []struct {
		name, nodes string
		promises    map[string]Promise
		refused     string // the answer about the node "a"
		added       string
		told        string // lines
	}{
		{name: "nobody asks", nodes: "a:=10.0.0.0/24"},
		{name: "one asks", nodes: "a:=10.0.0.0/24 b", added: "b 10.0.1.0/24"},
		{name: "what has ranges that cannot be read asks for none", nodes: "a:unreadable"},
		{name: "a promise takes a range and asks for none", nodes: "a b", promises: map[string]Promise{"a": promise("A", "10.0.0.0/24")}, added: "b 10.0.1.0/24"},
		{name: "a promise to one that is gone", nodes: "b c", promises: map[string]Promise{"a": promise("A", "10.0.0.0/24")}, added: "b 10.0.0.0/24 c 10.0.1.0/24"},
		{name: "a promise to another of that name", nodes: "a", promises: map[string]Promise{"a": promise("OLD", "10.0.0.0/24")}, added: "a 10.0.0.0/24"},
		{name: "a promise to one that has got another", nodes: "a:=10.9.0.0/24 b c", promises: map[string]Promise{"a": promise("A", "10.0.0.0/24")}, added: "b 10.0.0.0/24 c 10.0.1.0/24"},
		{name: "full", nodes: "a:=10.0.0.0/24 d c b", added: "b 10.0.1.0/24", told: "c NoFreeRange in 10.0.0.0/23\nd NoFreeRange in 10.0.0.0/23"},
		{name: "full by a foreign range", nodes: "a:=10.0.0.0/8 b", told: "b NoFreeRange in 10.0.0.0/23"},
		{name: "the API server refuses", nodes: "a", promises: map[string]Promise{"a": promise("A", "10.0.0.0/24")}, refused: "a policy", told: "a RangeRefused a policy"},
		{name: "two of one range", nodes: "a:=10.0.0.0/24 c:=10.0.0.128/25 d:=10.0.1.0/24", told: "a RangesOverlap with 10.0.0.128/25 of Node c\nc RangesOverlap with 10.0.0.0/24 of Node a"}, //nolint:dupword // two lines
	} {
		t.Run(c.name, func(t *testing.T) {
			p := decide(pool(t, 24, small), Ledger{Promises: c.promises}, nodes(c.nodes), map[string]string{"a": c.refused})
			var added []string
			for _, name := range p.added {
				promise := p.ledger.Promises[name]
				if promise.UID != types.UID(strings.ToUpper(name)) {
					t.Errorf("the promise of %s is for %s", name, promise.UID)
				}
				added = append(added, name, join(promise.Ranges))
			}
			if diff := cmp.Diff(c.added, strings.Join(added, " ")); diff != "" {
				t.Errorf("promised (-want +got):\n%s", diff)
			}
			told := 0
			for line := range strings.Lines(c.told) {
				name, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
				reason, words, _ := strings.Cut(rest, " ")
				for _, problem := range p.problems[name] {
					if told++; string(problem.Reason) != reason || !strings.Contains(problem.Message, words) || !ToldByLeader(problem) {
						t.Errorf("%v, want %s", problem, line)
					}
				}
			}
			if len(p.problems) != told || told != len(slices.Collect(strings.Lines(c.told))) {
				t.Errorf("the problems are %v, want\n%s", p.problems, c.told)
			}
		})
	}
}

// A leader does not begin before its cache shows all that was given.
func TestUnseen(t *testing.T) {
	for _, c := range []struct {
		listed, cached string
		want           int
	}{
		{"", "", 0},
		{"a b:=10.0.0.0/24", "b:=10.0.0.0/24 a", 0},
		{"a:=10.0.0.0/24", "a", 1},
		{"a:unreadable", "a", 1},
		{"a b", "a", 1},
		{"a", "a:=10.0.0.0/24 b", 0}, // the cache is ahead
	} {
		if got := unseen(nodes(c.listed), nodes(c.cached)); got != c.want {
			t.Errorf("%d of %q are missing in %q, want %d", got, c.listed, c.cached, c.want)
		}
	}
	again := nodes("a")
	again[0].UID = "another"
	if unseen(again, nodes("a")) != 1 {
		t.Error("a Node of an earlier UID counts as the one of now")
	}
}

// The ledger fits into an object, however long names are.
func TestTheLargestLedgerFits(t *testing.T) {
	var all []Node
	for i := range 2 * maxPromises {
		all = append(all, Node{Name: fmt.Sprintf("%s%04d", strings.Repeat("n", 249), i), UID: "01234567-0123-0123-0123-012345678901"})
	}
	p := decide(pool(t, 24, "240.0.0.0/8", "fdff:ffff:ffff::/48"), Ledger{}, all, nil)
	text, err := p.ledger.text()
	if err != nil || len(p.added) != maxPromises || len(p.problems) > 0 {
		t.Fatalf("%d promises, %v, %v", len(p.added), p.problems, err)
	}
	if most := 256<<10 - 1<<10; len(text) > most {
		t.Errorf("it has %d bytes, and may have %d", len(text), most)
	}
}

// crowd is a cluster whose API server takes as many requests as the leader's client sends.
// Some Nodes it never takes.
type crowd struct {
	mu      sync.Mutex
	nodes   map[string]Node
	writes  int
	limit   *rate.Limiter
	refuses func(name string) bool
	bell    bell
}

func (c *crowd) Nodes(context.Context) ([]Node, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []Node
	for _, node := range c.nodes {
		all = append(all, node)
	}
	return all, nil
}

func (c *crowd) Give(ctx context.Context, name string, p Promise) error {
	if err := c.limit.Wait(ctx); err != nil {
		return err
	}
	if c.refuses(name) {
		if strings.HasSuffix(name, "0") {
			<-time.After(patience) // it hangs
		}
		return errLost
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	node := c.nodes[name]
	node.Served, node.Ranges = true, p.Ranges
	c.nodes[name] = node
	c.bell.ring()
	return nil
}

func (c *crowd) Read(context.Context) (Ledger, Version, error) { return Ledger{}, Version{}, nil }

func (c *crowd) Write(ctx context.Context, _ Ledger, _ Version) (Version, error) {
	c.mu.Lock()
	c.writes++
	c.mu.Unlock()
	return Version{}, c.limit.Wait(ctx)
}

// 5,000 Nodes start at once, and the API server does not take a hundred of them, of which ten
// hang. All others have their ranges within a minute, by the limit of the client.
func TestFiveThousandNodesAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &crowd{nodes: map[string]Node{}, limit: rate.NewLimiter(qps, burst), bell: newBell()}
		for i := range 5000 {
			name := fmt.Sprintf("node-%04d", i)
			c.nodes[name] = Node{Name: name, UID: types.UID(name)}
		}
		c.refuses = func(name string) bool { return name < "node-0100" } // the first ones
		ctx, cancel := context.WithCancel(t.Context())
		began := time.Now()
		var took time.Duration
		leader := &term{pools: pool(t, 24, "10.0.0.0/8", "fd00::/40"), cluster: c, seen: c.Nodes, reporter: silent{}, log: logr.Discard(), changed: c.bell}
		err := leader.run(ctx, func(waiting int) {
			if waiting == 100 {
				took = time.Since(began)
				cancel()
			}
			if time.Since(began) > time.Hour {
				t.Errorf("%d nodes are without a range", waiting)
				cancel()
			}
		})
		if err != nil || took == 0 || took > 90*time.Second {
			t.Errorf("it took %s: %v", took, err)
		}
		t.Logf("%s, %d writes of the ledger", took, c.writes)
		all, _ := c.Nodes(t.Context())
		var owned []ranges.Owned
		for _, node := range all {
			for _, each := range node.Ranges {
				owned = append(owned, ranges.Owned{Node: node.Name, Range: each})
			}
		}
		if overlaps := ranges.Overlaps(owned); len(overlaps) > 0 || len(owned) != 2*4900 {
			t.Errorf("%d ranges, of which overlap: %v", len(owned), overlaps)
		}
	})
}

// BenchmarkDecide is one pass of the leader while 5,000 Nodes start beside 5,000 others.
func BenchmarkDecide(b *testing.B) {
	pools := pool(b, 24, "10.0.0.0/8", "fd00::/40")
	var all []Node
	for i := range 10000 {
		all = append(all, Node{Name: fmt.Sprintf("node-%05d", i), UID: types.UID(fmt.Sprint(i))})
	}
	ledger := Ledger{}
	for len(ledger.Promises) < maxPromises || slices.ContainsFunc(all[:5000], func(n Node) bool { return !n.Served }) {
		ledger = decide(pools, ledger, all[:5000], nil).ledger
		for i := range all {
			if p, ok := ledger.Promises[all[i].Name]; ok {
				all[i].Served, all[i].Ranges = true, p.Ranges
			}
		}
		if len(ledger.Promises) == 0 {
			break
		}
	}
	for b.Loop() {
		if p := decide(pools, ledger, all, nil); len(p.added) != maxPromises {
			b.Fatalf("%d promises", len(p.added))
		}
	}
}
