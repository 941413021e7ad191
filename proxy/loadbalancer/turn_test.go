package loadbalancer

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"
)

func speakersOf(wills ...Will) []Speaker {
	var all []Speaker
	for i, w := range wills {
		all = append(all, Speaker{Node: fmt.Sprintf("n%d", i+1), Will: w})
	}
	return all
}

func TestTurn(t *testing.T) {
	a := netip.MustParseAddr("192.0.2.50")
	dead := func(all []Speaker, node string) []Speaker {
		for i := range all {
			if all[i].Node == node {
				all[i].Dead = true
			}
		}
		return all
	}
	for _, c := range []struct {
		name     string
		speakers []Speaker
		holder   string
		vacant   time.Duration
		want     map[string]Act // of nodes that do not leave it
	}{
		{"nobody has it: one takes it at once", speakersOf(Willing, Willing, Willing), "", 0, map[string]Act{"n1": Take}},
		{"and after a while everybody", speakersOf(Willing, Willing, Willing), "", time.Second, map[string]Act{"n1": Take, "n2": Take, "n3": Take}},
		{"the holder keeps it", speakersOf(Willing, Willing, Willing), "n2", time.Hour, map[string]Act{"n2": Keep}},
		{"the holder is dead", dead(speakersOf(Willing, Willing, Willing), "n1"), "n1", 0, map[string]Act{"n1": Keep, "n2": Take}},
		{"the holder is cordoned", speakersOf(Willing, Reluctant, Willing), "n2", 0, map[string]Act{"n2": Keep, "n1": Take}},
		{"all are cordoned", speakersOf(Reluctant, Reluctant, Reluctant), "n2", time.Hour, map[string]Act{"n2": Keep}},
		{"all are cordoned, and nobody has it", speakersOf(Reluctant, Reluctant), "", 0, map[string]Act{"n1": Take}},
		{"the holder must not", speakersOf(Willing, Unable), "n2", 0, map[string]Act{"n2": Yield, "n1": Take}},
		{"nobody may", speakersOf(Unable, Unable), "", time.Hour, nil},
		{"nobody may, and one has it", speakersOf(Unable, Unable), "n1", time.Hour, map[string]Act{"n1": Yield}},
		{"the holder is no node any more", speakersOf(Willing), "n9", 0, map[string]Act{"n1": Take}},
	} {
		for _, s := range c.speakers {
			act, again := Turn(View{Address: a, Own: s.Node, Speakers: c.speakers, Holder: c.holder, Vacant: c.vacant})
			if want := c.want[s.Node]; act != want && !(len(c.want) > 0 && anyTakes(c.want) && c.vacant == 0 && want != Keep && want != Yield) {
				t.Errorf("%s: %s does %s, want %s", c.name, s.Node, act, want)
			}
			if act != Leave && again != 0 {
				t.Errorf("%s: %s does %s and waits for %s", c.name, s.Node, act, again)
			}
		}
		takers := 0
		for _, s := range c.speakers {
			if act, _ := Turn(View{Address: a, Own: s.Node, Speakers: c.speakers, Holder: c.holder}); act == Take {
				takers++
			}
		}
		if want := map[bool]int{true: 1}[anyTakes(c.want)]; takers != want {
			t.Errorf("%s: %d nodes take it at once, want %d", c.name, takers, want)
		}
	}
}

func anyTakes(acts map[string]Act) bool {
	for _, a := range acts {
		if a == Take {
			return true
		}
	}
	return false
}

// Of nodes that see the same, exactly one takes an address at once if one must take it, and
// none if none must. Each other one that could takes it later, if it is still free.
func TestOneNodeTakesAnAddress(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0)) //nolint:gosec // a test
	for range 20000 {
		n := 1 + random.IntN(20)
		var speakers []Speaker
		best := Unable
		for i := range n {
			s := Speaker{Node: fmt.Sprintf("node-%d", i), Will: Will(random.IntN(3)), Dead: random.IntN(4) == 0}
			speakers = append(speakers, s)
			if !s.Dead {
				best = max(best, s.Will)
			}
		}
		v := View{Address: netip.AddrFrom4([4]byte{192, 0, 2, byte(random.IntN(256))}), Speakers: speakers}
		holder := Speaker{Will: Unable, Dead: true}
		if i := random.IntN(n + 1); i < n {
			holder = speakers[i]
			v.Holder = holder.Node
		}
		must := best > Unable && (holder.Dead || holder.Will < best)
		takers := 0
		for _, s := range speakers {
			v.Own, v.Vacant = s.Node, 0
			act, again := Turn(v)
			switch {
			case act == Take:
				takers++
				if s.Dead && s.Node != v.Holder || s.Will != best {
					t.Fatalf("%+v: %+v takes it", v, s)
				}
			case again > 0:
				if v.Vacant = again; again > mostSpeakers*Step {
					t.Fatalf("%+v: %s waits for %s", v, s.Node, again)
				}
				if act, _ := Turn(v); act != Take {
					t.Fatalf("%+v: %s waits for %s and then does %s", v, s.Node, again, act)
				}
			}
		}
		if want := map[bool]int{true: 1}[must]; takers != want {
			t.Fatalf("%+v: %d take it, want %d", v, takers, want)
		}
	}
}

// Addresses spread over nodes.
func TestAddressesSpread(t *testing.T) {
	took := map[string]int{}
	for i := range 250 {
		speakers := speakersOf(Willing, Willing, Willing, Willing, Willing)
		for _, s := range speakers {
			act, _ := Turn(View{Address: netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}), Own: s.Node, Speakers: speakers})
			if act == Take {
				took[s.Node]++
			}
		}
	}
	for node, n := range took {
		if n < 25 || n > 85 {
			t.Errorf("%s has %d of 250: %v", node, n, took)
		}
	}
}

func TestPulse(t *testing.T) {
	begin := time.Now()
	at := func(s float64) time.Time { return begin.Add(time.Duration(s * float64(time.Second))) }
	var p Pulse
	p.See("1", Life, at(0))
	p.See("1", Life, at(2)) // the same: no sign of life
	if left := p.Left(at(2.5)); left != 500*time.Millisecond {
		t.Errorf("left %s", left)
	}
	p.See("2", Restart, at(2.9))
	if left := p.Left(at(12)); left != 900*time.Millisecond {
		t.Errorf("left %s", left)
	}
	p.Restart(at(13))
	if left := p.Left(at(13)); left != Restart {
		t.Errorf("left %s", left)
	}
}
