package secretcache

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// If the API server does not give a Secret, its last content counts, and it is
// asked for again with patience. The key is woken when that begins and when it
// ends.
func TestErrors(t *testing.T) {
	for _, test := range []struct {
		name string
		err  error
		says string
	}{
		{"forbidden", apierrors.NewForbidden(corev1.Resource("secrets"), "a", nil), "the controller may not read it"},
		{"too many requests", apierrors.NewTooManyRequests("later", 1), "the API server is too busy to give it"},
		{"timeout", fmt.Errorf("get: %w", context.DeadlineExceeded), "the API server does not give it in time"},
		{"broken", apierrors.NewInternalError(errors.New("no leader")), "the API server does not give it (InternalError)"},
		{"away", errors.New("connection refused"), "the API server cannot be reached"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newStage(t)
			fail := func(context.Context, string, string) error { return test.err }
			s.server.put(secretOf("shop", "a", "1", "first"))
			s.server.fails = fail
			s.hold("key", "a")
			s.read("key", "a")
			s.pass(0)
			s.wakes("key")
			s.wants("key", "a", "unknown: "+test.says, "shop a")
			for _, wait := range []time.Duration{firstRetry, 2 * firstRetry, 4 * firstRetry} {
				s.pass(wait - 200*time.Millisecond)
				s.wants("key", "a", "unknown: "+test.says, "")
				s.pass(200 * time.Millisecond)
				s.wants("key", "a", "unknown: "+test.says, "shop a")
			}
			s.wakes()
			s.server.fails = nil
			s.pass(lastRetry)
			s.wakes("key")
			s.wants("key", "a", "first", "shop a")
			s.server.fails = fail
			s.pass(again)
			s.wakes("key")
			s.wants("key", "a", "first: "+test.says, "shop a")
			s.server.fails = nil
			s.pass(lastRetry)
			s.wakes("key")
			s.wants("key", "a", "first", "shop a")
		})
	}
}

// A namespace that hangs holds up no other: neither one that is asked about for
// the first time, nor one at the start.
func TestWhatHangsHoldsUpItsNamespaceOnly(t *testing.T) {
	s := newStage(t)
	s.cache.now = time.Now
	hang := make(chan struct{}, 1000)
	s.server.fails = func(ctx context.Context, namespace, _ string) error {
		if namespace == "good" {
			return nil
		}
		hang <- struct{}{}
		<-ctx.Done()
		return ctx.Err()
	}
	want := func(key string, names ...types.NamespacedName) {
		s.reader.Hold(key, names)
		for _, name := range names {
			if _, err := s.reader.Read(t.Context(), key, name); err != nil {
				t.Error(err)
			}
		}
	}
	for i := range asking {
		want(fmt.Sprint(i), types.NamespacedName{Namespace: fmt.Sprint("bad-", i), Name: "a"})
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- s.cache.Run(ctx) }()
	for range asking {
		<-hang
	}
	want("good", types.NamespacedName{Namespace: "good", Name: "a"})
	deadline, tick := time.Now().Add(time.Minute), time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for n := 0; ; n++ {
		name := types.NamespacedName{Namespace: "good", Name: fmt.Sprint(n)}
		want("good", name)
		known := func() bool {
			answer, err := s.reader.Read(t.Context(), "good", name)
			return err == nil && answer.Known
		}
		for !known() && time.Now().Before(deadline) {
			<-tick.C
		}
		if !known() {
			t.Fatal("a namespace that is well waits for those that hang")
		}
		if n == 20 {
			break
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestWhatNobodyWantsIsForgotten(t *testing.T) {
	s := newStage(t)
	s.server.put(secretOf("shop", "a", "1", "first"))
	s.hold("one", "a", "missing")
	s.hold("two", "a")
	s.read("one", "missing")
	s.read("one", "a")
	s.read("two", "a")
	s.pass(0)
	s.read("one", "a")
	s.hold("one")
	if len(s.cache.entries) != 1 {
		t.Errorf("%d Secrets are remembered, want one", len(s.cache.entries))
	}
	s.hold("two")
	s.server.taken()
	s.pass(time.Minute)
	if len(s.cache.entries)+len(s.cache.namespaces) > 0 || s.reader.Holds() || len(s.reader.waiting) > 0 {
		t.Error("something is remembered that nobody wants")
	}
	if asked := s.server.taken(); asked != "" {
		t.Errorf("the API server is asked %q for nobody", asked)
	}
}

// Only the data keys that somebody reads are kept.
func TestNothingElseIsKept(t *testing.T) {
	s := newStage(t)
	s.server.put(secretOf("shop", "a", "1", "first"))
	s.hold("key", "a")
	s.read("key", "a")
	s.pass(0)
	for _, e := range s.cache.entries {
		if len(e.secret.Data) != 1 {
			t.Errorf("%d values are kept, want one", len(e.secret.Data))
		}
	}
}

// Where there is no API server, the watch is all there is.
func TestWithoutAnAPIServer(t *testing.T) {
	s := newStage(t)
	s.cache.live = nil
	s.watched.put(trimmed(secretOf("shop", "a", "1", "")))
	s.hold("key", "a", "b")
	s.wants("key", "a", "", "")
	s.wants("key", "b", "nothing", "")
	s.cache.Settle(t.Context(), time.Minute)
	s.wakes()
}
