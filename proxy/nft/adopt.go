package nft

import (
	"context"
	"fmt"

	"github.com/fairwaynet/fairway/proxy/nft/message"
)

// adopt reads a table for the first time. What it holds beside the skeleton
// stays until somebody wants it or Complete ends that.
func (e *Engine) adopt(ctx context.Context, t *table) error {
	have, err := e.reader.read(ctx, t.skeleton.Key())
	if err != nil {
		return err
	}
	if err := e.mayWrite(t, have); err != nil {
		return err
	}
	if err := e.own(ctx, t.skeleton.Key(), have); err != nil {
		return err
	}
	t.have, t.full, t.ready = have, true, true
	t.wanted = newWanted()
	scratch := newTouched()
	t.wanted.claim(claimant{rank: skeleton}, t.skeleton.part(), scratch)
	t.adopted = t.found(have)
	t.wanted.claim(claimant{rank: adopted}, t.adopted, scratch)
	return nil
}

// own takes a table that persists and whose owner has ended. It is a batch of its
// own: the kernel makes no base chain in one that changes the table's flags.
func (e *Engine) own(ctx context.Context, k TableKey, have *content) error {
	if e.flags == 0 || have.flags&flagPersist == 0 || have.owner != 0 {
		return nil
	}
	w := &writer{table: k}
	w.newTable(e.flags)
	if err := e.socket.Commit(ctx, message.Batch{Messages: w.messages}); err != nil {
		return fmt.Errorf("take ownership: %w", owned(err))
	}
	have.flags |= e.flags
	have.owner = e.socket.Port()
	return nil
}

func (e *Engine) mayWrite(t *table, have *content) error {
	k := t.skeleton.Key()
	if have.owner != 0 && have.owner != e.socket.Port() {
		return fmt.Errorf("adopt table %s of netlink port %d: %w", k, have.owner, ErrOwned)
	}
	if v := have.version(); v > t.skeleton.Version {
		return fmt.Errorf("adopt table %s of version %d with version %d: %w", k, v, t.skeleton.Version, ErrNewer)
	}
	return nil
}

// found is what the table holds beside the skeleton. A set that the skeleton
// declares otherwise is made again, and begins empty.
func (t *table) found(have *content) *printed {
	p := &printed{Part: Part{Elements: map[string][]Element{}}}
	for name, s := range have.sets {
		declared, ok := t.fixed[name]
		if !ok {
			p.Sets = append(p.Sets, s.Set)
		}
		if ok && !declared.equal(s.Set) {
			continue
		}
		for _, e := range s.elements {
			p.Elements[name] = append(p.Elements[name], *e)
		}
	}
	for name := range have.counters {
		p.counters = append(p.counters, name)
	}
	names := map[string]bool{versionChain: true}
	for _, c := range t.skeleton.Chains {
		names[c.Name] = true
	}
	for name, c := range have.chains {
		if !names[name] && c.Hook == nil {
			p.chains = append(p.chains, c)
		}
	}
	return p
}

// settle ends the adoption of what key wants now: it goes with key.
func (t *table) settle(p *printed) {
	who := claimant{rank: adopted}
	for _, s := range p.Sets {
		without(t.wanted.sets, s.Name, who)
	}
	for _, c := range p.chains {
		without(t.wanted.chains, c.Name, who)
	}
	for name, elements := range p.Elements {
		s := t.wanted.setOf(name, p)
		scratch := newTouched()
		for _, e := range elements {
			t.wanted.elements[name].drop(who, s, e, scratch)
		}
	}
}
