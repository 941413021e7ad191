package keeper

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fairwaynet/fairway/proxy/nft/conntrack"
	"github.com/fairwaynet/fairway/proxy/service"
)

// kernel is a connection tracking that can fail.
type kernel struct {
	known   []conntrack.Match
	failing bool
	deleted []string
}

var errBusy = errors.New("busy")

func (k *kernel) List(_ context.Context, each func(conntrack.Connection)) error {
	if k.failing {
		return errBusy
	}
	for _, m := range k.known {
		each(conntrack.Connection{Match: m})
	}
	return nil
}

func (k *kernel) Find(context.Context, conntrack.Match, func(conntrack.Connection)) error {
	if k.failing {
		return errBusy
	}
	return nil
}

func (k *kernel) Remove(ctx context.Context, c conntrack.Connection) error {
	return k.Delete(ctx, c.Match)
}

func await(context.Context, []conntrack.Connection) error { return nil }

func (k *kernel) Delete(_ context.Context, m conntrack.Match) error {
	if k.failing {
		return errBusy
	}
	k.deleted = append(k.deleted, fmt.Sprintf("%s %s", m.Original.Destination, m.Reply.Source))
	return nil
}

// datagrams is a UDP Service at an address, with endpoints.
func datagrams(at string, endpoints ...string) change {
	p := service.Port{Protocol: unix.IPPROTO_UDP, Fronts: []service.Front{{Address: netip.MustParseAddr(at), Port: 53}}}
	for _, e := range endpoints {
		p.Serving = append(p.Serving, netip.AddrPortFrom(netip.MustParseAddr(e), 53))
	}
	return change{name: name{Name: at}, after: &service.Service{Ports: []service.Port{p}}}
}

func connection(to, from string) conntrack.Match {
	return conntrack.Match{
		Original: conntrack.Tuple{Protocol: unix.IPPROTO_UDP, Destination: netip.MustParseAddr(to), DestinationPort: 53},
		Reply:    conntrack.Tuple{Protocol: unix.IPPROTO_UDP, Source: netip.MustParseAddr(from), SourcePort: 53},
	}
}

// apply makes changes, as a commit does.
func (f *forgetter) apply(t *testing.T, written map[name]*service.Service, changes ...change) error {
	t.Helper()
	f.changed(changes, written, service.Cluster{})
	for _, c := range changes {
		if written[c.name] = c.after; c.after == nil {
			delete(written, c.name)
		}
	}
	return f.forget(t.Context())
}

func (k *kernel) expect(t *testing.T, what string, want ...string) {
	t.Helper()
	if !slices.Equal(k.deleted, want) {
		t.Errorf("%s: forgot %q, want %q", what, k.deleted, want)
	}
	k.deleted = nil
}

// Connections are forgotten once they are stale, and again a moment later if they still are.
// What could not be forgotten is tried again.
func TestForgetting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := &kernel{failing: true, known: []conntrack.Match{connection("10.96.0.1", "10.244.0.1"), connection("10.96.0.1", "10.244.0.9")}}
		f, written := newForgetter(k, await), map[name]*service.Service{}
		defer f.again.Stop()
		if err := f.apply(t, written, datagrams("10.96.0.1", "10.244.0.1", "10.244.0.2")); !errors.Is(err, errBusy) {
			t.Errorf("a list that fails: %v", err)
		}
		k.failing = false
		if err := f.apply(t, written); err != nil {
			t.Error(err)
		}
		k.expect(t, "after the start", "10.96.0.1 10.244.0.9")
		<-f.again.C
		f.repeat(t.Context())
		k.expect(t, "again after the start", "10.96.0.1 10.244.0.9")

		k.failing = true
		if err := f.apply(t, written, datagrams("10.96.0.1", "10.244.0.1")); !errors.Is(err, errBusy) {
			t.Errorf("a deletion that fails: %v", err)
		}
		k.failing = false
		if err := f.apply(t, written); err != nil {
			t.Error(err)
		}
		k.expect(t, "after a failure", "10.96.0.1 10.244.0.2")
		_ = f.apply(t, written, datagrams("10.96.0.1", "10.244.0.1", "10.244.0.2"))
		<-f.again.C
		f.repeat(t.Context())
		k.expect(t, "an endpoint that came back meanwhile")

		_ = f.apply(t, written, change{name: name{Name: "10.96.0.1"}}, datagrams("10.96.0.2", "10.244.0.2"))
		k.expect(t, "one goes, one comes", "10.96.0.1 invalid IP", "10.96.0.2 invalid IP")
		k.failing = true
		<-f.again.C
		if !f.repeat(t.Context()) {
			t.Error("what failed is not tried again")
		}
		k.failing = false
		_ = f.apply(t, written)
		k.expect(t, "again: of what is served now, only what was not translated", "10.96.0.1 invalid IP", "10.96.0.2 10.96.0.2")
		for range 2 { // also what was forgotten in the second try
			select {
			case <-f.again.C:
				f.repeat(t.Context())
			case <-time.After(time.Hour):
			}
		}
	})
}

// A front that goes from one Service to another in one commit is known afterwards, in
// whatever order they are told.
func TestAFrontThatMoves(t *testing.T) {
	for _, order := range [][]int{{0, 1}, {1, 0}} {
		k := &kernel{}
		f, written := newForgetter(k, await), map[name]*service.Service{}
		if err := f.apply(t, written, datagrams("10.96.0.1", "10.244.0.1")); err != nil {
			t.Fatal(err)
		}
		gets := datagrams("10.96.0.1", "10.244.0.2")
		gets.name.Name = "other"
		both := []change{{name: name{Name: "10.96.0.1"}}, gets}
		if err := f.apply(t, written, both[order[0]], both[order[1]]); err != nil {
			t.Fatal(err)
		}
		if f.serving.Stale(connection("10.96.0.1", "10.244.0.2")) || !f.serving.Stale(connection("10.96.0.1", "10.244.0.1")) {
			t.Errorf("order %v: who serves is not known", order)
		}
		f.again.Stop()
	}
}
