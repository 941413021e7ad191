package nft

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/fairwaynet/fairway/proxy/nft/message"
)

// Result is what a Commit did.
type Result struct {
	Messages  int // that the kernel accepted
	Refused   []Refused
	Conflicts []Conflict
	Changes   []Change // by others, and undone
}

// Refused is a part that the kernel did not take. The key's last good part stays.
type Refused struct {
	Table TableKey
	Key   Key
	Err   error
}

// Commit writes the difference between what is wanted and what the kernel has, as
// one batch. If the kernel refuses it, Commit finds the keys at fault: they are
// in Result.Refused, and all others are written. An error means that nothing
// more can be written now; what was submitted is tried again by the next Commit.
// It is ErrOwned or ErrNewer for a table that is not ours to write. With keys, what
// was submitted to other tables waits.
func (e *Engine) Commit(ctx context.Context, keys ...TableKey) (Result, error) {
	defer e.lock()()
	var result Result
	if err := e.ready(ctx, &result); err != nil {
		return result, err
	}
	units, complete := e.take(keys)
	if err := e.divide(ctx, units, &result); err != nil {
		e.putBack(units)
		return result, err
	}
	return result, e.finish(ctx, complete, &result)
}

// Check asks whether somebody else has written, and puts back what they changed.
// It returns what that was. It costs one question if nobody has.
func (e *Engine) Check(ctx context.Context) ([]Change, error) {
	defer e.lock()()
	var result Result
	if err := e.ready(ctx, &result); err != nil {
		return result.Changes, err
	}
	return result.Changes, e.try(ctx, nil, &result)
}

// ready reads what the engine does not know.
func (e *Engine) ready(ctx context.Context, result *Result) error {
	changes, err := e.look(ctx)
	result.Changes = append(result.Changes, changes...)
	if err != nil {
		return err
	}
	for _, t := range e.all() {
		if t.ready {
			continue
		}
		if err := e.adopt(ctx, t); err != nil {
			return err
		}
	}
	return nil
}

func (e *Engine) all() []*table {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.tables)
}

// unit is the part of one key, which is written or not.
type unit struct {
	table *table
	key   Key
	part  *printed // nil removes it
	old   *printed
	done  bool
}

// take returns all that was submitted to tables, in the order of keys, and which of
// the tables are complete with that; all tables if none are named.
func (e *Engine) take(tables []TableKey) (units []*unit, complete []*table) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, t := range e.tables {
		if len(tables) > 0 && !slices.Contains(tables, t.skeleton.Key()) {
			continue
		}
		for _, key := range slices.Sorted(maps.Keys(t.pending)) {
			units = append(units, &unit{table: t, key: key, part: t.pending[key]})
		}
		clear(t.pending)
		if t.completed {
			complete = append(complete, t)
		}
	}
	return units, complete
}

// putBack submits again what was not written, unless there is something newer.
func (e *Engine) putBack(units []*unit) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, u := range units {
		if _, newer := u.table.pending[u.key]; !newer && !u.done {
			u.table.pending[u.key] = u.part
		}
	}
}

// divide writes units, and halves them if the kernel refuses. A key that was
// refused is tried again after the others, on which it may depend.
func (e *Engine) divide(ctx context.Context, units []*unit, result *Result) error {
	err := e.try(ctx, units, result)
	if err == nil || !refused(err) {
		return err
	}
	if err := e.try(ctx, nil, result); err != nil {
		return err // the skeleton is at fault
	}
	rest, err := e.halve(ctx, units, result)
	for err == nil && len(rest) > 0 {
		var again []Refused
		var left []*unit
		for _, u := range rest {
			err := e.try(ctx, []*unit{u}, result)
			if err != nil && !refused(err) {
				return err
			}
			if err != nil {
				left = append(left, u)
				again = append(again, Refused{u.table.skeleton.Key(), u.key, err})
			}
		}
		if len(left) == len(rest) {
			for _, u := range left {
				u.done = true
			}
			result.Refused = append(result.Refused, again...)
			break
		}
		rest = left
	}
	return err
}

// halve returns the units that are refused alone. The kernel has refused all.
func (e *Engine) halve(ctx context.Context, units []*unit, result *Result) ([]*unit, error) {
	if len(units) == 1 {
		return units, nil
	}
	var alone []*unit
	for _, half := range [][]*unit{units[:len(units)/2], units[len(units)/2:]} {
		err := e.try(ctx, half, result)
		if err != nil && !refused(err) {
			return nil, err
		}
		if err != nil {
			more, err := e.halve(ctx, half, result)
			if err != nil {
				return nil, err
			}
			alone = append(alone, more...)
		}
	}
	return alone, nil
}

// refused says whether the kernel did not like a message, so that other messages
// may do better.
func refused(err error) bool {
	var refusal *message.RefusalError
	return errors.As(err, &refusal) && !errors.Is(err, ErrOwned)
}

// try writes units all together, or leaves everything as it was.
func (e *Engine) try(ctx context.Context, units []*unit, result *Result) error {
	changed := map[*table]*touched{}
	for _, u := range units {
		if changed[u.table] == nil {
			changed[u.table] = newTouched()
		}
		u.old = u.table.parts[u.key]
		u.table.wanted.replace(claimant{submitted, u.key}, u.old, u.part, changed[u.table])
	}
	if err := e.write(ctx, changed, result); err != nil {
		scratch := newTouched()
		for _, u := range slices.Backward(units) {
			u.table.wanted.replace(claimant{submitted, u.key}, u.part, u.old, scratch)
		}
		return err
	}
	for t, touched := range changed {
		var keys []Key
		for _, u := range units {
			if u.table == t {
				keys = append(keys, u.key)
			}
		}
		result.Conflicts = append(result.Conflicts, t.conflicts(touched, keys)...)
	}
	slices.SortFunc(result.Conflicts, func(a, b Conflict) int {
		return cmp.Or(cmp.Compare(a.Key, b.Key), cmp.Compare(a.What, b.What))
	})
	for _, u := range units {
		u.done = true
		if u.part == nil {
			delete(u.table.parts, u.key)
			continue
		}
		u.table.parts[u.key] = u.part
		u.table.settle(u.part)
	}
	return nil
}

// write sends the difference, again if others write at the same time.
func (e *Engine) write(ctx context.Context, changed map[*table]*touched, result *Result) error {
	for range attempts {
		batch, changes := e.batch(changed)
		if len(batch.Messages) == 0 {
			for t := range changes {
				t.full = false
			}
			return nil
		}
		err := e.socket.Commit(ctx, batch)
		switch {
		case err == nil:
			e.written(changes)
			result.Messages += len(batch.Messages)
			return nil
		case errors.Is(err, message.ErrGeneration), errors.Is(err, message.ErrLost):
			if errors.Is(err, message.ErrLost) {
				e.forget()
			}
			others, err := e.look(ctx)
			if err != nil {
				return err
			}
			result.Changes = append(result.Changes, others...)
		default:
			var refusal *message.RefusalError
			if !errors.As(err, &refusal) {
				e.forget() // it may be committed, or not
			}
			return owned(err)
		}
	}
	return fmt.Errorf("commit: others changed the rules %d times meanwhile: %w", attempts, message.ErrGeneration)
}

// written notes what a batch of ours has done. If somebody else wrote at the same
// moment, the generation is another, and the next look finds that.
func (e *Engine) written(changes map[*table]*change) {
	if e.judged.generation == e.generation {
		e.judged.generation++ // what others have is as it was
	}
	if e.seen.generation == e.generation {
		e.seen.generation++
	}
	e.generation++
	for t, c := range changes {
		c.done(t.have)
		t.full = false
		if t.have.exists = true; t.have.flags&flagOwner != 0 {
			t.have.owner = e.socket.Port()
		}
	}
}

// batch makes the messages for all tables.
func (e *Engine) batch(changed map[*table]*touched) (message.Batch, map[*table]*change) {
	var batch message.Batch
	changes := map[*table]*change{}
	for _, t := range e.all() {
		if !t.ready || !t.full && changed[t] == nil {
			continue
		}
		touched := changed[t]
		if touched == nil {
			touched = newTouched()
		}
		c := t.wanted.compare(t.have, touched, t.full)
		w := &writer{table: t.skeleton.Key()}
		if !t.have.exists {
			t.have.flags = e.flags
			w.newTable(e.flags)
		}
		c.write(w)
		if t.have.owner == 0 && (t.have.exists || e.flags == 0) {
			batch.Generation = e.generation
		}
		changes[t] = c
		batch.Messages = append(batch.Messages, w.messages...)
	}
	return batch, changes
}

// finish removes what nobody wants of tables that are complete, now that all of it is written.
func (e *Engine) finish(ctx context.Context, complete []*table, result *Result) error {
	found := false
	for _, t := range complete {
		if t.adopted != nil {
			t.wanted.drop(claimant{rank: adopted}, t.adopted, newTouched())
			t.adopted, t.full, found = nil, true, true
		}
	}
	if !found {
		return nil
	}
	return e.try(ctx, nil, result)
}
