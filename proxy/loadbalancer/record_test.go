package loadbalancer

import (
	"net/netip"
	"testing"
	"time"

	coordination "k8s.io/api/coordination/v1"
)

// A record says since when its holder is the holder, and nothing of the one before.
func TestSinceWhenAHolderHolds(t *testing.T) {
	lease := &coordination.Lease{}
	first, second := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC), time.Date(2026, 11, 23, 13, 0, 0, 0, time.UTC)
	for _, step := range []struct {
		name, holder string
		since, want  time.Time
	}{
		{"nobody", "", time.Time{}, time.Time{}},
		{"a node takes it", "n1", first, first},
		{"it writes again", "n1", second, first},
		{"another takes it", "n2", second, second},
		{"it yields", "", second, time.Time{}},
		{"an agent that does not tell", "n1", time.Time{}, time.Time{}},
	} {
		r := Record{Address: netip.MustParseAddr("192.0.2.1"), Holder: step.holder, Since: step.since}
		if err := r.Write(lease); err != nil {
			t.Fatal(err)
		}
		if got, ok := ReadRecord(lease); !ok || got.Holder != step.holder || !got.Since.Equal(step.want) {
			t.Errorf("%s: %+v, want since %s", step.name, got, step.want)
		}
	}
}
