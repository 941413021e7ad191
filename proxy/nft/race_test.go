package nft_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/fairwaynet/fairway/proxy/nft"
)

// Others write other tables all the time, and submitters do not wait for one another.
func TestConcurrentWritersLoseNothing(t *testing.T) {
	for _, options := range []nft.Options{{}, {WithoutOwner: true}} {
		table := small("busy")
		k := table.Key()
		e := open(t, options, table)
		ctx, stop := context.WithCancel(t.Context())
		var others sync.WaitGroup
		others.Go(func() {
			for ctx.Err() == nil {
				_, _ = try(ctx, "add table ip6 neighbour; delete table ip6 neighbour") // ended by stop
			}
		})
		var submitters sync.WaitGroup
		for i := range 4 {
			submitters.Go(func() {
				for j := range 25 {
					a := fmt.Sprintf("10.%d.0.%d", i, j)
					if err := e.Submit(k, nft.Key(a), addresses(a)); err != nil {
						t.Error(err)
					}
					if _, err := e.Commit(t.Context()); err != nil {
						t.Error(err)
					}
				}
			})
		}
		submitters.Wait()
		stop()
		others.Wait()
		if n := strings.Count(list(t, k), "10."); n != 100 {
			t.Errorf("%d elements, want 100", n)
		}
		if err := e.Remove(t.Context(), k); err != nil {
			t.Fatal(err)
		}
	}
}

func TestACancelledCommitIsTriedAgain(t *testing.T) {
	table := small("cancelled")
	k := table.Key()
	e := open(t, nft.Options{}, table)
	commit(t, e)
	submit(t, e, k, "a", addresses("10.0.0.1"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := e.Commit(ctx); err == nil {
		t.Error("a cancelled commit has no error")
	}
	commit(t, e)
	expect(t, k, "10.0.0.1")
}

func TestAnElementThatRanOutIsNotPutBack(t *testing.T) {
	table := small("timed")
	table.Sets = append(table.Sets, nft.Set{Name: "timed", Key: nft.Type{nft.IPv4Addr}, Timed: true})
	k := table.Key()
	e := open(t, nft.Options{WithoutOwner: true}, table)
	submit(t, e, k, "a", nft.Part{Elements: map[string][]nft.Element{"timed": {{Key: addr("10.0.0.1"), Timeout: 1 << 40}}}})
	commit(t, e)
	run(t, "flush", "set", "ip", "timed", "timed") // as time does
	if changes, err := e.Check(t.Context()); err != nil || len(changes) > 0 {
		t.Errorf("check: %v %v", changes, err)
	}
	expect(t, k, "!10.0.0.1")
	submit(t, e, k, "a", nft.Part{}) // the kernel would refuse to delete what is missing
	commit(t, e)
	expect(t, k, "!10.0.0.1")
}
