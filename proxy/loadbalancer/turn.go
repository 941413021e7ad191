package loadbalancer

import (
	"cmp"
	"hash/fnv"
	"net/netip"
	"slices"
	"time"
)

// Times of who holds an address.
const (
	// Renewal is how often a node that holds addresses says that it lives.
	Renewal = time.Second
	// Life is how long it counts as living after it said so last.
	Life = 3 * time.Second
	// Restart is how long it counts as living after its agent was told to end.
	Restart = 10 * time.Second
	// Step is how much later each next node takes an address than the one before.
	Step = 300 * time.Millisecond
	// mostSpeakers are the nodes that stand for one address: those behind them wait for
	// as long as the last one.
	mostSpeakers = 16
)

// Will is whether a node answers for an address, if it must.
type Will int

// Wills, in their order.
const (
	Unable    Will = iota // it must not
	Reluctant             // it does if nobody else can: it is cordoned, or not Ready
	Willing
)

// Speaker is a node that may answer for an address.
type Speaker struct {
	Node string
	Will Will
	// Dead says that it held addresses, and that it no longer says that it lives.
	Dead bool
}

// View is what a node sees of one address.
type View struct {
	Address  netip.Addr
	Own      string // the node that looks
	Speakers []Speaker
	Holder   string // by the record; empty: nobody
	// Vacant is for how long the holder has been nobody, dead, or less willing than
	// another, as far as this node saw.
	Vacant time.Duration
}

// Act is what a node does about an address.
type Act int

// Acts.
const (
	Leave Act = iota // it is not ours
	Keep             // go on as holder
	Take             // become the holder
	Yield            // write that nobody is the holder
)

func (a Act) String() string {
	return [...]string{Leave: "leave", Keep: "keep", Take: "take", Yield: "yield"}[a]
}

// Turn returns what a node does about an address now. If that is to change by the passing of time
// alone, it returns after which; otherwise zero.
func Turn(v View) (act Act, again time.Duration) {
	holder, own := v.speaker(v.Holder), v.speaker(v.Own)
	if v.Holder == v.Own && v.Own != "" {
		if own.Will == Unable {
			return Yield, 0
		}
		return Keep, 0 // until another has taken it
	}
	if !v.Vacated(holder) || own.Will == Unable {
		return Leave, 0
	}
	order := v.order()
	at := slices.IndexFunc(order, func(s Speaker) bool { return s.Node == v.Own })
	if at < 0 || (v.Holder != "" && !holder.Dead && own.Will <= holder.Will) {
		return Leave, 0 // another takes it
	}
	if wait := time.Duration(min(at, mostSpeakers)) * Step; v.Vacant < wait {
		return Leave, wait - v.Vacant
	}
	return Take, 0
}

// Vacated says whether an address is for whoever takes it.
func (v *View) Vacated(holder Speaker) bool {
	if v.Holder == "" || holder.Dead {
		return true
	}
	return slices.ContainsFunc(v.Speakers, func(s Speaker) bool { return !s.Dead && s.Will > holder.Will })
}

// HolderOf is what the view knows of the holder.
func (v *View) HolderOf() Speaker { return v.speaker(v.Holder) }

func (v *View) speaker(node string) Speaker {
	for _, s := range v.Speakers {
		if s.Node == node {
			return s
		}
	}
	return Speaker{Node: node}
}

// order is in which order nodes take the address: the more willing first, and each address
// has its own order of equals.
func (v *View) order() []Speaker {
	var all []Speaker
	for _, s := range v.Speakers {
		if s.Will != Unable && !s.Dead {
			all = append(all, s)
		}
	}
	slices.SortFunc(all, func(a, b Speaker) int {
		return cmp.Or(cmp.Compare(b.Will, a.Will), cmp.Compare(v.weight(a.Node), v.weight(b.Node)), cmp.Compare(a.Node, b.Node))
	})
	return all
}

func (v *View) weight(node string) uint64 {
	sum := fnv.New64a()
	_, _ = sum.Write(v.Address.AsSlice()) // never fails
	_, _ = sum.Write([]byte(node))
	// The last byte of what fnv sums is only in the lowest bits otherwise.
	x := sum.Sum64()
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	return x
}

// Pulse follows when a holder's Lease changed, by a clock that never goes back.
type Pulse struct {
	version string
	since   time.Time // of the version
	lasts   time.Duration
}

// See takes a version of the Lease as it is now, and for how long it counts.
func (p *Pulse) See(version string, lasts time.Duration, now time.Time) {
	if version != p.version || p.since.IsZero() {
		p.version, p.since = version, now
	}
	p.lasts = lasts
}

// Restart makes the time begin anew: nobody could have seen a change.
func (p *Pulse) Restart(now time.Time) { p.since = now }

// Left is how long the holder still counts as living.
func (p *Pulse) Left(now time.Time) time.Duration { return max(0, p.lasts-now.Sub(p.since)) }

// Lasts changes for how long the version counts.
func (p *Pulse) Lasts(d time.Duration) { p.lasts = d }

// Duration is for how long the version counts.
func (p *Pulse) Duration() time.Duration { return p.lasts }

// Version is the last one that was seen.
func (p *Pulse) Version() string { return p.version }
