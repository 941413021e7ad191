package nft_test

import (
	"context"
	"errors"
	"net"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/fairwaynet/fairway/proxy/nft"
)

// Counters are of one table and family, count what passes, and outlive the engine.
func TestCounters(t *testing.T) {
	table := nft.Table{
		Family: nft.IPv4, Name: "counted", Version: 1, Counters: []string{"discard", "idle"},
		Chains: []nft.Chain{{Name: "output", Hook: &nft.Hook{Type: nft.Filter, Point: nft.Output}, Rules: []nft.Rule{
			rule(nft.Is(nft.L4Proto(), nft.Proto(17)), nft.Is(nft.Dport(), nft.Port(9)), nft.Count{Name: "discard"}),
		}}},
	}
	other := table
	other.Family = nft.IPv6
	e := open(t, nft.Options{}, table, other)
	commit(t, e)
	const packets, payload = 3, 100
	conn, err := net.Dial("udp4", "127.0.0.1:9")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for range packets {
		_, _ = conn.Write(make([]byte, payload)) // nobody listens, which the next one hears
	}
	sees := func(e *nft.Engine, k nft.TableKey, want map[string]nft.Counted) {
		t.Helper()
		got, err := e.Counters(t.Context(), k)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("table %s (-want +got):\n%s", k, diff)
		}
	}
	is, err := e.Counters(t.Context(), table.Key())
	if err != nil {
		t.Fatal(err)
	}
	sent := is["discard"].Packets // a write fails where the answer to an earlier one came first
	if sent == 0 || sent > packets {
		t.Errorf("%d packets are counted, %d were sent", sent, packets)
	}
	const headers = 28
	want := map[string]nft.Counted{"discard": {Packets: sent, Bytes: sent * (payload + headers)}, "idle": {}}
	sees(e, table.Key(), want)
	sees(e, other.Key(), map[string]nft.Counted{"discard": {}, "idle": {}})

	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	next := open(t, nft.Options{}, table, other)
	commit(t, next)
	sees(next, table.Key(), want)
	if got, err := next.Counters(t.Context(), nft.TableKey{Family: nft.IPv4, Name: "absent"}); err != nil || len(got) != 0 {
		t.Errorf("a table that is not there has %v, %v", got, err)
	}
	ended, end := context.WithCancel(t.Context())
	end()
	if _, err := next.Counters(ended, table.Key()); !errors.Is(err, context.Canceled) {
		t.Errorf("when the time has ended: %v", err)
	}
}
