package nft

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/fairwaynet/fairway/proxy/nft/message"
)

// Blocker is a base chain of another's table that loses packets on their way
// through the machine.
type Blocker struct {
	Table    TableKey
	Chain    string // the base chain
	Priority int32  // of the base chain
	// At is the chain whose rule loses the packets. It is empty if the policy of the
	// base chain does.
	At string
	// Owned says that only the program that made the table can change it.
	Owned bool
	// Doubtful says that a rule may let each of the packets pass: one that depends
	// on more than a Packet has, or one that was not read.
	Doubtful bool
	Lost     []Packet
}

// judgement is what a look at others' chains has found.
type judgement struct {
	generation uint32
	known      bool
	packets    []Packet
	blockers   []Blocker
}

// Blockers returns which chains of others lose one of packets at the forward hook.
// To accept a packet in one table is not to accept it in another, so no rule of
// ours can help. Tables that the engine keeps are not looked at.
//
// It asks the kernel one question if nobody but the engine has written since the
// last call. Otherwise it reads the base chains and what packets meet from there,
// 10,000 rules at most. If others write all the time, it returns what it found last.
func (e *Engine) Blockers(ctx context.Context, packets []Packet) ([]Blocker, error) {
	const attempts = 3 // each may read all of it
	var last judgement
	for range attempts {
		before, earlier, err := e.judgement(ctx)
		last = earlier
		if err != nil || last.known && last.generation == before && slices.Equal(last.packets, packets) {
			return last.blockers, err
		}
		now := judgement{generation: before, known: true, packets: slices.Clone(packets)}
		now.blockers, err = e.judge(ctx, packets)
		if errors.Is(err, message.ErrInterrupted) || errors.Is(err, unix.ENOENT) {
			continue // somebody wrote meanwhile
		}
		if err != nil {
			return nil, fmt.Errorf("look for others' chains that lose packets: %w", err)
		}
		if same, err := e.judgedAt(ctx, now); same || err != nil {
			return now.blockers, err
		}
	}
	return last.blockers, nil
}

// judgement returns the generation of the rules, and the last judgement.
func (e *Engine) judgement(ctx context.Context) (uint32, judgement, error) {
	defer e.lock()()
	n, err := e.reader.generation(ctx)
	return n, e.judged, err
}

// judgedAt keeps a judgement, if its generation is still that of the rules.
func (e *Engine) judgedAt(ctx context.Context, now judgement) (bool, error) {
	defer e.lock()()
	n, err := e.reader.generation(ctx)
	if err != nil || n != now.generation {
		return false, err
	}
	e.judged = now
	return true, nil
}

func (e *Engine) judge(ctx context.Context, packets []Packet) ([]Blocker, error) {
	f, err := openForeign(ctx)
	if err != nil {
		return nil, err
	}
	defer f.close()
	var all []Blocker
	for _, h := range f.forward() {
		if e.keeps(h.table) {
			continue
		}
		b := judgeChain(f.table(h.table), h, packets)
		if len(b.Lost) == 0 {
			continue
		}
		head := newContent()
		f.fail("read table "+h.table.String(), f.reader.head(ctx, h.table, head))
		if b.Owned = head.owner != 0; head.flags&unix.NFT_TABLE_F_DORMANT == 0 {
			all = append(all, b)
		}
	}
	slices.SortFunc(all, func(a, b Blocker) int {
		return cmp.Or(a.Table.compare(b.Table), cmp.Compare(a.Chain, b.Chain))
	})
	return all, f.err
}

func (e *Engine) keeps(k TableKey) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.table(k) != nil
}

// judgeChain sends packets through a base chain.
func judgeChain(rules ruleset, h hooked, packets []Packet) Blocker {
	b := Blocker{Table: h.table, Chain: h.chain.Name, Priority: h.chain.Hook.Priority, Doubtful: true}
	for _, p := range packets {
		t := trace{packet: p, rules: rules}
		if !p.meets(h.table.Family) || t.base(h.chain) != lost {
			continue
		}
		if len(b.Lost) == 0 || b.Doubtful && !t.doubt {
			b.At = t.last // a chain that is certain to lose one says more
			if t.byPolicy {
				b.At = ""
			}
		}
		b.Lost = append(b.Lost, p)
		b.Doubtful = b.Doubtful && t.doubt
	}
	return b
}
