package strangers_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/fairwaynet/fairway/test/fairway"
	"github.com/fairwaynet/fairway/test/soak"
	"github.com/fairwaynet/fairway/xds/gateway"
)

const (
	// heap is what Envoy may have, and greedy how many clients ask for 100 large
	// responses each that they do not read: six times as much together.
	heap, greedy = 256 * mib, 160
	// recovery is how long that may turn others away.
	recovery = 15 * time.Second
)

// TestFullHeap asks for more at once than Envoy's heap may hold. Those who ask
// lose their streams; they stay connected, and others are served again.
func TestFullHeap(t *testing.T) {
	s := newSite(t, options{bootstrap: func(b *gateway.Bootstrap) { b.MaxHeapBytes = heap }})
	s.newNeighbour().undisturbed()
	held := &connections{}
	defer held.closeAll()
	most := int64(0)
	for range greedy {
		conn, err := held.dial("127.4.0.1")
		if err != nil {
			t.Fatal(err)
		}
		if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		// The gateway may turn it away at once.
		_, _ = io.WriteString(conn, preface()+manyBig())
		most = max(most, s.rss())
	}
	began, served := time.Now(), 0
	fairway.Eventually(t, 3*patience, func(ctx context.Context) error {
		most = max(most, s.rss())
		if err := ask(ctx, &http.Transport{DialContext: dial, DisableKeepAlives: true}); err != nil {
			served = 0
			return err
		}
		if served++; served < fewest {
			return fmt.Errorf("the neighbour was answered only %d times in a row", served)
		}
		return nil
	})
	soak.Promised(t, "from the last greedy client until others were served", time.Since(began), recovery)
	t.Logf("Envoy had at most %d MiB", most/mib)
	// Half of what is asked for: on a busy machine Envoy looks at its heap late.
	if most > 3*heap {
		t.Errorf("Envoy had %d MiB, want at most %d", most/mib, 3*heap/mib)
	}
	s.newNeighbour().undisturbed()
}
