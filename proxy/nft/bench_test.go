package nft_test

import (
	"fmt"
	"testing"

	"github.com/fairwaynet/fairway/proxy/nft"
)

func many(t testing.TB, e *nft.Engine, s service, k nft.TableKey, keys int) {
	for i := range keys {
		ip := fmt.Sprintf("10.%d.%d.%d", 100+i/62500, i/250%250, i%250)
		submit(t, e, k, nft.Key(ip), s.backend(ip, "tcp", 80, "10.8.0.1:80", "10.8.0.2:80", "10.8.0.3:80", "10.8.0.4:80", "10.8.0.5:80"))
	}
}

func BenchmarkFirstCommitOf10000Keys(b *testing.B) {
	s := service{nft.IPv4}
	for b.Loop() {
		e := open(b, nft.Options{}, s.table())
		many(b, e, s, s.table().Key(), 10000)
		result := commit(b, e)
		b.ReportMetric(float64(result.Messages), "messages/commit")
		b.StopTimer()
		if err := e.Remove(b.Context(), s.table().Key()); err != nil {
			b.Fatal(err)
		}
		e.Close()
		b.StartTimer()
	}
}

func BenchmarkChangeOfOneKeyIn10000(b *testing.B) {
	s := service{nft.IPv4}
	k := s.table().Key()
	e := open(b, nft.Options{}, s.table())
	many(b, e, s, k, 10000)
	commit(b, e)
	n := 0
	for b.Loop() {
		n++
		submit(b, e, k, "10.100.0.7", s.backend("10.100.0.7", "tcp", 80, fmt.Sprintf("10.9.%d.%d:80", n/250%250, n%250)))
		result := commit(b, e)
		b.ReportMetric(float64(result.Messages), "messages/commit")
	}
	b.StopTimer()
	if err := e.Remove(b.Context(), k); err != nil {
		b.Fatal(err)
	}
}

func BenchmarkAdoptionOf10000Keys(b *testing.B) {
	s := service{nft.IPv4}
	k := s.table().Key()
	e := open(b, nft.Options{}, s.table())
	many(b, e, s, k, 10000)
	commit(b, e)
	for b.Loop() {
		if err := e.Close(); err != nil {
			b.Fatal(err)
		}
		e = open(b, nft.Options{}, s.table())
		many(b, e, s, k, 10000)
		complete(b, e, k)
		commit(b, e)
	}
	b.StopTimer()
	if err := e.Remove(b.Context(), k); err != nil {
		b.Fatal(err)
	}
}
