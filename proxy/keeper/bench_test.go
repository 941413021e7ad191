package keeper_test

import (
	"fmt"
	"runtime"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/fairwaynet/fairway/proxy/nft"
	"github.com/fairwaynet/fairway/proxy/service"
)

// A change of the endpoints of one Service among many, which all have the same endpoints, from
// when the keeper is told until the kernel has it.
func BenchmarkChangeOfOneService(b *testing.B) {
	for _, size := range []int{100, 1000, 10000} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			w := newWorld(b)
			b.Cleanup(func() { wipe(b) })
			w.keep(b, nft.Options{})
			numbered := func(i int, pods ...int) *service.Service {
				return made(b, i, pods, func(s *corev1.Service) {
					s.Spec.ClusterIPs = []string{fmt.Sprintf("10.96.%d.%d", i/250, i%250+1), fmt.Sprintf("fd00:96::%x", i+1)}
					s.Spec.ClusterIP = s.Spec.ClusterIPs[0]
				})
			}
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			for i := range size {
				s := numbered(i, 0, 1, 2, 3, 4)
				w.keeper.Publish(s.Name, s)
			}
			w.keeper.Complete()
			must(b, (<-w.committed).Err) // many take longer than a test waits
			runtime.GC()
			runtime.ReadMemStats(&after)
			changes := []*service.Service{numbered(size/2, 0, 1, 2, 3), numbered(size/2, 1, 2, 3, 4, 0)}
			n := 0
			for b.Loop() {
				w.keeper.Publish(changes[0].Name, changes[n%2])
				w.done(b)
				n++
			}
			b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/float64(size), "B/Service")
		})
	}
}
