package edge

import (
	"fmt"
	"testing"
)

// crowd is a world of n hosts with a Service and an endpoint each.
func crowd(b *testing.B, n int) *stage {
	b.Helper()
	w := newWorld()
	for i := range n {
		name := fmt.Sprintf("s%d", i)
		w.Apply(ingressOf(name+".test", name), serviceOf(name, 80), sliceOf(name, "10.0.0.1"))
	}
	s := start(b.Context(), b, w)
	w.Sync()
	return s
}

func BenchmarkFirstPass(b *testing.B) {
	for _, n := range []int{1_000, 10_000, 50_000} {
		b.Run(fmt.Sprintf("hosts=%d", n), func(b *testing.B) {
			s := crowd(b, n)
			for b.Loop() {
				if picture, err := s.controllers.FirstPass(b.Context()); err != nil || len(picture.Hosts) != n {
					b.Fatalf("%d hosts, %v", len(picture.Hosts), err)
				}
			}
		})
	}
}

// A change costs what it touches, however much there is.
func BenchmarkReconcile(b *testing.B) {
	for _, n := range []int{1_000, 50_000} {
		s := crowd(b, n)
		all := s.controllers.parts(s.wall)
		b.Run(fmt.Sprintf("host/of=%d", n), func(b *testing.B) {
			for b.Loop() {
				if _, err := all.hosts.Reconciler.Reconcile(b.Context(), keyOf("s7.test")); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(fmt.Sprintf("backend/of=%d", n), func(b *testing.B) {
			for b.Loop() {
				if _, err := all.backends.Reconciler.Reconcile(b.Context(), portOf("s7", 80)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
