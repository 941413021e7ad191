package nft

import (
	"context"
	"fmt"
)

// Change is something that another process did to a table, as far as the kernel
// tells: it does not say which process.
type Change struct {
	Table TableKey
	What  string // "set pods: 3 elements are missing"
}

// String is "nftables table ip fairway-pods: set pods: 3 elements are missing".
func (c Change) String() string { return fmt.Sprintf("nftables table %s: %s", c.Table, c.What) }

// look compares the tables with the kernel if somebody else may have written.
func (e *Engine) look(ctx context.Context) ([]Change, error) {
	n, err := e.reader.generation(ctx)
	if err != nil || n == e.generation {
		return nil, err
	}
	e.generation = n
	return e.readBack(ctx)
}

// readBack reads the tables again, and says what differs from what they should
// be. Nobody else can have written into a table that this engine owns.
func (e *Engine) readBack(ctx context.Context) ([]Change, error) {
	var changes []Change
	for _, t := range e.all() {
		if !t.ready {
			continue
		}
		k := t.skeleton.Key()
		head := newContent()
		if err := e.reader.head(ctx, k, head); err != nil {
			return nil, fmt.Errorf("look at table %s: %w", k, err)
		}
		if !t.unsure && head.exists && head.flags&flagOwner != 0 && head.owner == e.socket.Port() {
			continue
		}
		now, err := e.reader.read(ctx, k)
		if err != nil {
			return nil, err
		}
		if err := e.mayWrite(t, now); err != nil {
			return nil, err
		}
		now.expire(t.have)
		if !t.unsure {
			for _, what := range t.have.differences(now) {
				changes = append(changes, Change{k, what})
			}
		}
		t.have, t.full, t.unsure = now, true, false
	}
	return changes, nil
}

// forget makes the next look read everything: a batch of ours may be committed,
// or not.
func (e *Engine) forget() {
	e.generation = 0 // the kernel has none such
	for _, t := range e.all() {
		t.unsure = true
	}
}

// expire counts elements whose time may have run out as if they were there, so
// that nobody puts them back.
func (c *content) expire(before *content) {
	for name, s := range before.sets {
		now := c.sets[name]
		if now == nil || !s.Timed || s.Dynamic {
			continue
		}
		for key, e := range s.elements {
			if _, there := now.elements[key]; !there {
				now.elements[key] = e
			}
		}
	}
}

// differences says in words what is not as it was.
func (c *content) differences(now *content) []string {
	if c.exists && !now.exists {
		return []string{"the table is missing"}
	}
	var all []string
	for _, name := range names(c.counters, now.counters) {
		all = append(all, difference("counter "+name, c.counters[name], now.counters[name], true)...)
	}
	for _, name := range names(c.chains, now.chains) {
		a, b := c.chains[name], now.chains[name]
		same := a == nil || b == nil || a.head() == b.head() && a.rules == b.rules
		all = append(all, difference("chain "+name, a != nil, b != nil, same)...)
	}
	for _, name := range names(c.sets, now.sets) {
		a, b := c.sets[name], now.sets[name]
		same := a == nil || b == nil || a.equal(b.Set)
		all = append(all, difference("set "+name, a != nil, b != nil, same)...)
		if a != nil && b != nil {
			all = append(all, a.differences(b)...)
		}
	}
	return all
}

func difference(what string, before, now, same bool) []string {
	switch {
	case before && !now:
		return []string{what + " is missing"}
	case !before && now:
		return []string{what + " is not ours"}
	case !same:
		return []string{what + " is not as it was"}
	default:
		return nil
	}
}

func (s *setContent) differences(now *setContent) []string {
	missing, strange := 0, 0
	for key, e := range s.elements {
		if x, ok := now.elements[key]; !ok || !x.same(e) {
			missing++
		}
	}
	for key, e := range now.elements {
		if x, ok := s.elements[key]; !ok || !x.same(e) {
			strange++
		}
	}
	var all []string
	if missing > 0 {
		all = append(all, fmt.Sprintf("set %s: %d elements are missing", s.Name, missing))
	}
	if strange > 0 {
		all = append(all, fmt.Sprintf("set %s: %d elements are not ours", s.Name, strange))
	}
	return all
}
