package ipam

import (
	"sync/atomic"
	"testing"
)

// bench takes and gives leases of both families, beside others.
func bench(b *testing.B, existing int, parallel bool) {
	l := Leases{Dir: b.TempDir()}
	want := Wanted{Ranges: ranges("10.1.0.0/23", "fd00::/64")}
	for n := range existing {
		if _, err := l.Take(wait(b), lease(n), want); err != nil {
			b.Fatal(err)
		}
	}
	ctx, next := wait(b), atomic.Int64{}
	next.Store(1000)
	once := func() {
		in := lease(int(next.Add(1)))
		if _, err := l.Take(ctx, in, want); err != nil {
			b.Error(err)
		}
		if err := l.Give(ctx, in.Key); err != nil {
			b.Error(err)
		}
	}
	if parallel {
		b.SetParallelism(10) // times 2 processors
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				once()
			}
		})
		return
	}
	for b.Loop() {
		once()
	}
}
