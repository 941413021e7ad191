package announcement

import (
	"context"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"

	"github.com/fairwaynet/fairway/proxy/loadbalancer/announce"
)

// segment is a link on which others answer, and what this node holds there.
type segment struct {
	mu     sync.Mutex
	others map[netip.Addr]bool // that answer
	wants  bool                // they only probe
	held   map[netip.Addr]string
	asked  map[netip.Addr]int
	silent bool // after a pause
}

func (g *segment) Hold(a netip.Addr, device string) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.held[a] = device
	return nil
}

func (g *segment) Drop(a netip.Addr) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.held, a)
}

func (g *segment) Held() map[netip.Addr]string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return maps.Clone(g.held)
}

func (g *segment) Probe(ctx context.Context, a netip.Addr, _ string) (announce.Answer, error) {
	if !pause(ctx, 600*time.Millisecond) {
		return announce.Answer{}, ctx.Err()
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.asked[a]++
	if g.others[a] {
		return announce.Answer{MAC: net.HardwareAddr{2, 0, 0, 0, 0, 7}, Wants: g.wants}, nil
	}
	return announce.Answer{}, nil
}

func (g *segment) Resume() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.silent = false
}

func (*segment) Announce(netip.Addr)       {}
func (*segment) Run(context.Context) error { return nil }

func (g *segment) answers(addresses ...string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.others = map[netip.Addr]bool{}
	for _, a := range addrs(addresses...) {
		g.others[a] = true
	}
}

// resuming is a node that had addresses, and whose agent has started without the API server.
func resuming(t *testing.T, held ...string) (*Speaker, *segment) {
	t.Helper()
	g := &segment{others: map[netip.Addr]bool{}, held: map[netip.Addr]string{}, asked: map[netip.Addr]int{}}
	s := &Speaker{
		Node: "n1", Log: logr.Discard(), Memory: Memory{Path: MemoryIn(t.TempDir()), Boot: "b"}, announcer: g,
		Links: func() ([]Link, error) {
			return []Link{{"eth0", []netip.Prefix{netip.MustParsePrefix("192.0.2.9/24")}}}, nil
		},
		Routes: func() (Routes, error) { return Routes{}, nil },
		unsure: make(chan struct{}, 1), claimed: make(chan struct{}, 1),
		states: map[netip.Addr]*state{}, services: map[Service]map[netip.Addr]bool{}, queue: newQueue(),
	}
	t.Cleanup(s.queue.ShutDown)
	if err := s.Memory.write("n1", addrs(held...)); err != nil {
		t.Fatal(err)
	}
	return s, g
}

// passes lets virtual time pass.
func passes(d time.Duration) { time.Sleep(d) } //nolint:forbidigo // in a bubble of synctest it is exact

// begin resumes until the test ends, or end is called.
func (s *Speaker) begin(t *testing.T) (end func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { s.resume(ctx) })
	return func() { cancel(); running.Wait() }
}

func (g *segment) holds(t *testing.T, when string, want ...string) {
	t.Helper()
	got := slices.SortedFunc(maps.Keys(g.Held()), netip.Addr.Compare)
	if !slices.Equal(got, addrs(want...)) {
		t.Errorf("%s it holds %v, want %v", when, got, want)
	}
}

// A node goes on with what nobody else answers for on the link, after it has asked there. It holds
// nothing that it did not have, nor what no interface is in the network of.
func TestANodeGoesOnWithoutTheAPIServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, g := resuming(t, "192.0.2.1", "192.0.2.2", "198.51.100.1")
		g.answers("192.0.2.2")
		defer s.begin(t)()
		passes(unanswered + 500*time.Millisecond)
		g.holds(t, "before it has asked")
		passes(time.Second)
		g.holds(t, "then", "192.0.2.1")
		passes(time.Minute)
		g.holds(t, "a minute later", "192.0.2.1")
		if n := g.asked[addrs("192.0.2.2")[0]]; n != 1 {
			t.Errorf("it has asked %d times for an address that somebody else has, want 1", n)
		}
		if n := g.asked[addrs("192.0.2.1")[0]]; n < 8 || n > 14 {
			t.Errorf("it has asked %d times in a minute whether it is alone", n)
		}
		if s.settled.Load() {
			t.Error("it would announce")
		}
	})
}

// Two agents that ask at the same moment hear each other. Both try again, and at other times.
func TestAnAddressThatSomebodyWantedOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, g := resuming(t, "192.0.2.1", "192.0.2.2")
		g.answers("192.0.2.1", "192.0.2.2")
		g.wants = true
		defer s.begin(t)()
		passes(unanswered + time.Second)
		g.holds(t, "at first")
		g.answers("192.0.2.2")
		passes(6 * time.Second)
		g.holds(t, "when the other has given up", "192.0.2.1")
		passes(time.Minute)
		g.mu.Lock()
		n := g.asked[addrs("192.0.2.2")[0]]
		g.mu.Unlock()
		if n != mostTries {
			t.Errorf("it has asked %d times for an address that somebody goes on wanting, want %d", n, mostTries)
		}
	})
}

// What another machine announces, or answers for, is dropped.
func TestANodeGivesWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, g := resuming(t, "192.0.2.1", "192.0.2.2", "192.0.2.3")
		defer s.begin(t)()
		passes(5 * time.Second)
		g.holds(t, "alone", "192.0.2.1", "192.0.2.2", "192.0.2.3")
		s.heard(addrs("192.0.2.1")[0], net.HardwareAddr{2, 0, 0, 0, 0, 7})
		passes(time.Second)
		g.holds(t, "after an announcement", "192.0.2.2", "192.0.2.3")
		g.answers("192.0.2.2")
		passes(reprobe + 6*time.Second) // it asks once more
		g.holds(t, "after answers", "192.0.2.3")
		g.answers()
		passes(time.Minute)
		g.holds(t, "later: what others have had is theirs, until a record says so", "192.0.2.3")
		g.answers("192.0.2.3") // of two agents that hold it and ask at the same moment, both give way
		for range 100 {
			if passes(100 * time.Millisecond); len(g.Held()) == 0 {
				break
			}
		}
		g.holds(t, "when it is dropped")
		g.answers()
		passes(6 * time.Second)
		g.holds(t, "when nobody else has come back", "192.0.2.3")
	})
}

// After a pause of the process the link is asked again before anything is answered.
func TestAPauseWithoutTheAPIServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, g := resuming(t, "192.0.2.1", "192.0.2.2")
		defer s.begin(t)()
		passes(4 * time.Second)
		g.mu.Lock()
		g.silent = true
		g.mu.Unlock()
		g.answers("192.0.2.1")
		s.unsure <- struct{}{}
		passes(500 * time.Millisecond)
		g.mu.Lock()
		if !g.silent {
			t.Error("it answers before it has asked")
		}
		g.mu.Unlock()
		passes(2 * time.Second)
		g.mu.Lock()
		if g.silent {
			t.Error("it goes on being silent")
		}
		g.mu.Unlock()
		g.holds(t, "after the pause", "192.0.2.2")
	})
}

// An API server that answers soon is waited for, and what it says counts alone.
func TestTheAPIServerAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, g := resuming(t, "192.0.2.1")
		end := s.begin(t)
		passes(time.Second)
		end()
		g.holds(t, "with an API server")
		if len(s.states) > 0 || len(g.asked) > 0 {
			t.Errorf("it has done something: %v, %v", s.states, g.asked)
		}
	})
}
