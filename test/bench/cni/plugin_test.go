package cni

import (
	"context"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/fairwaynet/fairway/test/netns"
)

const (
	pluginRounds = 6  // of which the first warms up
	alone        = 40 // pods a round, one after the other
	atOnce       = 20
	bursts       = 3 // a round, of pods at once
)

// BenchmarkPlugin measures ADD and DEL: of one pod after the other, and of 20 at once. Each
// call starts the program, as a container runtime does. The plugins take turns, round by
// round, because machines are not the same all the time.
func BenchmarkPlugin(b *testing.B) {
	netns.Forward(b)
	pods := make([]*netns.Namespace, alone)
	for i := range pods {
		pods[i] = netns.New(b) // used again and again: the end of one would disturb the next call
	}
	all := contenders(b)
	for b.Loop() {
		for _, c := range all {
			c.rounds = nil
		}
		for range pluginRounds {
			for _, c := range all {
				if err := c.round(b.Context(), pods); err != nil {
					b.Fatal(err)
				}
			}
		}
		for _, c := range all {
			c.rounds = c.rounds[1:]
		}
	}
	printCalls(os.Stdout, all)
}

// round is what calls took, by what they did.
type round map[string]*calls

// calls are those of one kind.
type calls struct {
	took, cpu []time.Duration // of each
	all       []time.Duration // of those that ran at once, together
}

// of returns the calls of a kind.
func (r round) of(kind string) *calls {
	if r[kind] == nil {
		r[kind] = &calls{}
	}
	return r[kind]
}

// round adds pods one after the other and deletes them, and then does so with some at once.
func (c *contender) round(ctx context.Context, pods []*netns.Namespace) error {
	r := round{}
	c.rounds = append(c.rounds, r)
	for _, verb := range []string{start, "ADD", "DEL"} {
		for i, pod := range pods {
			if err := c.timed(ctx, verb, i, pod, r.of(verb)); err != nil {
				return err
			}
		}
	}
	for range bursts {
		for _, verb := range []string{"ADD", "DEL"} {
			if err := c.burst(ctx, verb, pods[:atOnce], r.of(verb+together)); err != nil {
				return err
			}
		}
	}
	return nil
}

const (
	start    = "VERSION" // a call that does nothing: what starting the program costs
	together = " at once"
)

// burst runs the plugin for all pods at once.
func (c *contender) burst(ctx context.Context, verb string, pods []*netns.Namespace, into *calls) error {
	var adding sync.Mutex
	var running errgroup.Group
	began := time.Now()
	for i, pod := range pods {
		running.Go(func() error {
			var one calls
			err := c.timed(ctx, verb, i, pod, &one)
			adding.Lock()
			defer adding.Unlock()
			into.took, into.cpu = append(into.took, one.took...), append(into.cpu, one.cpu...)
			return err
		})
	}
	err := running.Wait()
	into.all = append(into.all, time.Since(began))
	return err
}

// timed runs the plugin once.
func (c *contender) timed(ctx context.Context, verb string, pod int, namespace *netns.Namespace, into *calls) error {
	began := time.Now()
	state, err := c.run(ctx, verb, fmt.Sprint("pod-", pod), namespace)
	if err != nil {
		return err
	}
	into.took = append(into.took, time.Since(began))
	into.cpu = append(into.cpu, state.UserTime()+state.SystemTime()) // also of the programs that it ran
	return nil
}
