package announcement

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"time"

	coordination "k8s.io/api/coordination/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairwaynet/fairway/proxy/loadbalancer"
	"github.com/fairwaynet/fairway/proxy/loadbalancer/announce"
)

// Times of an agent that starts without the API server.
const (
	// unanswered is how long the API server has to answer before the agent goes on without it.
	unanswered = 2 * time.Second
	// reprobe is how often the link is asked whether somebody else answers, too: a node that was
	// paused when it was asked first may.
	reprobe = 5 * time.Second
	// mostTries is how often an address is asked for that somebody else wants: two agents that ask
	// at the same moment hear each other.
	mostTries = 5
	// together is how many addresses are asked for at once.
	together = 32
)

// resumption is what becomes of an address that the node held before its agent ended.
type resumption struct {
	next  time.Time // when the link is asked again; zero: at once
	tries int       // that found somebody else
	lost  bool      // somebody else has it; only a record brings it back
}

// resume goes on with what this node held, from when the API server has not answered for a
// while until ctx ends, which is when it answers.
//
// The records may have moved since. So the link is asked before an address is answered for, and
// again every few seconds; whoever answers there, or announces an address, gets it. Until records
// can be read, nothing is announced (Sure).
func (s *Speaker) resume(ctx context.Context) {
	held, err := s.Memory.read(s.Node)
	if err != nil {
		s.Log.Info("this node does not go on with the addresses that it had", "reason", err.Error())
	}
	if len(held) == 0 || !pause(ctx, unanswered) {
		return
	}
	s.Log.Info("the API server does not answer: this node goes on with the addresses that it had and that nobody else answers for", "addresses", len(held))
	all := map[netip.Addr]*resumption{}
	for _, a := range held {
		all[a] = &resumption{}
		s.note(loadbalancer.Record{Address: a, Holder: s.Node, Proved: true}) // as it was
	}
	const look = time.Second // at the interfaces
	paused := false          // nothing is answered until the link was asked
	for looked := (time.Time{}); ; {
		if time.Since(looked) > look {
			s.linksNow()
			looked = time.Now()
		}
		due := s.due(all)
		s.ask(ctx, due, func(a netip.Addr, other announce.Answer) { s.resumed(a, all[a], other) })
		for a := range due { // of one that could not be asked for
			all[a].next = later(all[a].next, time.Now().Add(time.Second))
		}
		if paused && len(due) == 0 {
			s.announcer.Resume()
			paused = false
		}
		select {
		case <-ctx.Done():
			return
		case <-s.unsure:
			paused = true
			for _, r := range all {
				r.next = time.Time{}
			}
		case <-s.claimed:
			s.giveWay(all)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// pause waits; false: ctx has ended.
func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

// due are some of the addresses that are to be asked for now, with their interfaces. One that no
// interface is in the network of is dropped.
func (s *Speaker) due(all map[netip.Addr]*resumption) map[netip.Addr]string {
	now, due := time.Now(), map[netip.Addr]string{}
	for a, r := range all {
		if r.lost || now.Before(r.next) || len(due) == together {
			continue
		}
		if device := s.device(a); device != "" {
			due[a] = device
		} else {
			s.announcer.Drop(a)
		}
	}
	return due
}

// resumed answers for an address for which nobody else does, and for no other.
func (s *Speaker) resumed(a netip.Addr, r *resumption, other announce.Answer) {
	_, holds := s.announcer.Held()[a]
	if other.MAC != nil {
		s.announcer.Drop(a)
		r.tries++
		r.lost = r.tries == mostTries || (!other.Wants && !holds)    // of two that hold it one comes back
		r.next = time.Now().Add(time.Second + rand.N(3*time.Second)) //nolint:gosec // not the one of another agent
		return
	}
	if !holds {
		if err := s.announcer.Hold(a, s.device(a)); err != nil {
			s.Log.V(1).Info("an address is tried again", "address", a, "reason", err.Error())
			r.next = time.Now().Add(time.Second)
			return
		}
		s.Log.Info("this node goes on answering for an address", "address", a)
	}
	r.tries, r.next = 0, time.Now().Add(reprobe)
}

// giveWay drops the addresses that another machine was heard to claim.
func (s *Speaker) giveWay(all map[netip.Addr]*resumption) {
	s.mu.Lock()
	var gone []netip.Addr
	for a, r := range all {
		if st := s.states[a]; st != nil && len(st.heard) > 0 {
			r.lost = true
			gone = append(gone, a)
		}
	}
	s.mu.Unlock()
	for _, a := range gone {
		s.announcer.Drop(a)
	}
}

// ask asks the link for addresses, and tells of each who else has it or wants it.
// What cannot be asked is not told of.
func (s *Speaker) ask(ctx context.Context, devices map[netip.Addr]string, tell func(netip.Addr, announce.Answer)) {
	var asking sync.WaitGroup
	var telling sync.Mutex
	slots := make(chan struct{}, together)
	for _, a := range slices.SortedFunc(maps.Keys(devices), netip.Addr.Compare) {
		slots <- struct{}{}
		asking.Go(func() {
			defer func() { <-slots }()
			other, err := s.announcer.Probe(ctx, a, devices[a])
			telling.Lock()
			defer telling.Unlock()
			if err == nil {
				tell(a, other)
			}
		})
	}
	asking.Wait()
}

// settle is called when records can be read: what is another's by its record is answered for no more.
func (s *Speaker) settle(ctx context.Context) error {
	for a := range s.announcer.Held() {
		var lease coordination.Lease
		err := s.objects.Get(ctx, types.NamespacedName{Namespace: s.Namespace, Name: loadbalancer.RecordName(a)}, &lease)
		if client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("read the record of %s: %w", a, err)
		}
		if r, ok := loadbalancer.ReadRecord(&lease); err != nil || !ok || r.Holder != s.Node {
			s.announcer.Drop(a)
		}
	}
	s.mu.Lock()
	for a, st := range s.states {
		st.heard = nil
		s.queue.Add(loadbalancer.RecordName(a)) // of some there may be no record any more
	}
	s.mu.Unlock()
	s.settled.Store(true)
	return nil
}

// remember keeps the file of what is answered for, until ctx ends.
func (s *Speaker) remember(ctx context.Context) error {
	const interval = 100 * time.Millisecond
	if s.Memory.Path == "" {
		return nil
	}
	var written []netip.Addr
	told := ""
	for first := true; pause(ctx, interval); {
		held := slices.SortedFunc(maps.Keys(s.announcer.Held()), netip.Addr.Compare)
		select {
		case <-ctx.Done(): // nothing is held any more, and the next agent goes on
			return nil
		default:
		}
		if !first && slices.Equal(held, written) {
			continue
		}
		if err := s.Memory.write(s.Node, held); err == nil {
			written, first, told = held, false, ""
		} else if err.Error() != told {
			told = err.Error()
			s.Log.Info("if the API server is away when the agent starts, this node will not go on with its addresses", "reason", told)
		}
	}
	return nil
}
