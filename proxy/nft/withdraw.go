package nft

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/fairwaynet/fairway/proxy/nft/message"
)

// Withdrawal is what is taken out of others' tables.
type Withdrawal struct {
	Tables []TableKey
	Links  map[TableKey][]Link
	Chains map[TableKey][]string // with their rules
}

// Empty says that nothing is taken.
func (w Withdrawal) Empty() bool {
	return len(w.Tables) == 0 && len(w.Links) == 0 && len(w.Chains) == 0
}

// Withdraw takes out of others' tables what they hold in an outline, all at once. If they
// have written since, it does nothing and returns ErrChanged. A chain that something else
// than a rule leads to, such as a verdict map, loses its rules and stays. It never touches
// a table that the engine keeps.
func (e *Engine) Withdraw(ctx context.Context, o Outline, what Withdrawal) error {
	socket, err := message.Dial()
	if err != nil {
		return err
	}
	defer func() { _ = socket.Close() }() // it owns nothing
	const rounds = 10                     // of ten chains each, at most
	stays := map[string]bool{}
	for range rounds {
		messages := what.messages(e, stays)
		if len(messages) == 0 {
			return nil
		}
		err = socket.Commit(ctx, message.Batch{Generation: o.generation, Messages: messages})
		if errors.Is(err, message.ErrGeneration) {
			return ErrChanged
		}
		if busy := busy(err); len(busy) > 0 {
			for _, subject := range busy {
				stays[subject] = true
			}
			continue
		}
		break
	}
	if err != nil {
		return fmt.Errorf("take away what others have left: %w", err)
	}
	return nil
}

// messages of the batch. Chains whose deletion has a subject in stays are kept, empty.
func (w Withdrawal) messages(e *Engine, stays map[string]bool) []message.Message {
	var all []message.Message
	for _, k := range w.Tables {
		if !e.keeps(k) {
			table := &writer{table: k}
			table.deleteTable()
			all = append(all, table.messages...)
		}
	}
	for _, k := range tablesOf(w.Links, w.Chains) {
		if e.keeps(k) || slices.Contains(w.Tables, k) {
			continue
		}
		table := &writer{table: k}
		for _, link := range w.Links[k] {
			table.deleteRule(link.Chain, link.Handle)
		}
		for _, chain := range w.Chains[k] { // they may lead to one another
			table.flushChain(chain)
		}
		deletes := &writer{table: k}
		for _, chain := range w.Chains[k] {
			deletes.deleteChain(chain)
		}
		all = append(all, table.messages...)
		for _, m := range deletes.messages {
			if !stays[m.Subject] {
				all = append(all, m)
			}
		}
	}
	return all
}

// tablesOf are the keys of both maps, in order.
func tablesOf(links map[TableKey][]Link, chains map[TableKey][]string) []TableKey {
	var all []TableKey
	for k := range links {
		all = append(all, k)
	}
	for k := range chains {
		all = append(all, k)
	}
	slices.SortFunc(all, TableKey.compare)
	return slices.Compact(all)
}

// busy are the subjects of messages that the kernel refused because something leads to the
// chain, if it has refused no other message.
func busy(err error) []string {
	joined, many := err.(interface{ Unwrap() []error }) // as Commit joins them
	if !many {
		return nil
	}
	var subjects []string
	for _, one := range joined.Unwrap() {
		var refusal *message.RefusalError
		if !errors.As(one, &refusal) || refusal.Errno != unix.EBUSY {
			return nil
		}
		subjects = append(subjects, refusal.Subject)
	}
	return subjects
}
