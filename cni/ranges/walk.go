package ranges

import (
	"net/netip"
	"slices"
)

// walk goes once through the free parts of a family's pools, beginning behind the part
// that was given last.
type walk struct {
	taken    []span
	segments []segment
}

// segment is a stretch of a pool: from the part next to the part last.
type segment struct{ next, last netip.Prefix }

// walk begins behind the last given part that lies in one of the pools.
func (p Pools) walk(taken []span, given []netip.Prefix) *walk {
	w := &walk{taken: taken}
	for i, pool := range p {
		at := slices.IndexFunc(given, func(g netip.Prefix) bool { return pool.Range.Contains(g.Addr()) })
		if at < 0 {
			continue
		}
		first, last := pool.ends()
		mark := netip.PrefixFrom(given[at].Addr(), pool.Bits).Masked()
		if next, ok := after(mark); ok && mark != last {
			w.segments = append(w.segments, segment{next, last})
		}
		for _, other := range slices.Concat(p[i+1:], p[:i]) {
			w.add(other)
		}
		w.segments = append(w.segments, segment{first, mark})
		return w
	}
	for _, pool := range p {
		w.add(pool)
	}
	return w
}

func (w *walk) add(pool Pool) {
	first, last := pool.ends()
	w.segments = append(w.segments, segment{first, last})
}

// ends are the first and the last part of a pool.
func (p Pool) ends() (first, last netip.Prefix) {
	return netip.PrefixFrom(p.Range.Addr(), p.Bits), netip.PrefixFrom(highest(p.Range), p.Bits).Masked()
}

// peek returns the next free part, without taking it.
func (w *walk) peek() (netip.Prefix, bool) {
	for len(w.segments) > 0 {
		part := w.segments[0].next
		rival, found := overlapping(w.taken, part)
		if !found {
			return part, true
		}
		// One step leads behind all that the rival has.
		w.advance(netip.PrefixFrom(smaller(rival.last, highest(w.segments[0].last)), part.Bits()).Masked())
	}
	return netip.Prefix{}, false
}

// take takes the part that peek has returned.
func (w *walk) take() { w.advance(w.segments[0].next) }

// advance goes on behind a part of the first segment.
func (w *walk) advance(behind netip.Prefix) {
	next, ok := after(behind)
	if !ok || behind == w.segments[0].last {
		w.segments = w.segments[1:]
		return
	}
	w.segments[0].next = next
}

// after returns the prefix of the same length that follows; false if it is the last of its
// family.
func after(p netip.Prefix) (netip.Prefix, bool) {
	next := highest(p).Next()
	return netip.PrefixFrom(next, p.Bits()), next.IsValid()
}

func smaller(a, b netip.Addr) netip.Addr {
	if a.Less(b) {
		return a
	}
	return b
}
