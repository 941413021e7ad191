package loopguard

import (
	"context"
	"testing"

	"github.com/coredns/coredns/plugin"
	"github.com/coredns/coredns/plugin/pkg/dnstest"
	"github.com/coredns/coredns/plugin/test"
	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"
)

// told counts what people are told.
type told []string

func (t *told) Warn(reason, _ string) { *t = append(*t, reason) }

// A loop that opens and closes: names outside fail while it is there, and people are told once.
func TestALoop(t *testing.T) {
	said := &told{}
	guard := New([]string{"192.0.2.53:53"}, said, prometheus.NewGauge(prometheus.GaugeOpts{Name: "loop"}))
	looped := false
	guard.Next = plugin.HandlerFunc(func(ctx context.Context, w dns.ResponseWriter, r *dns.Msg) (int, error) {
		if looped { // the upstream sends it back
			return guard.ServeDNS(ctx, w, r)
		}
		return dns.RcodeSuccess, w.WriteMsg(new(dns.Msg).SetReply(r))
	})
	ask := func() int {
		code, err := guard.ServeDNS(t.Context(), dnstest.NewRecorder(&test.ResponseWriter{}), new(dns.Msg).SetQuestion("www.outside.test.", dns.TypeA))
		if err != nil {
			t.Fatal(err)
		}
		return code
	}
	for _, step := range []struct {
		looped bool
		want   int
		told   int
	}{{false, dns.RcodeSuccess, 0}, {true, dns.RcodeServerFailure, 1}, {true, dns.RcodeServerFailure, 1}, {false, dns.RcodeSuccess, 1}, {true, dns.RcodeServerFailure, 2}} {
		looped = step.looped
		if !guard.probe(t.Context()) {
			t.Error("nobody answers")
		}
		if got := ask(); got != step.want || len(*said) != step.told {
			t.Errorf("looped %t: %s, told %v", step.looped, dns.RcodeToString[got], *said)
		}
	}
}

// Upstreams that do not answer tell nothing about loops.
func TestUpstreamsThatAreAway(t *testing.T) {
	said := &told{}
	guard := New(nil, said, prometheus.NewGauge(prometheus.GaugeOpts{Name: "loop"}))
	guard.Next = test.NextHandler(dns.RcodeServerFailure, nil)
	if guard.probe(t.Context()) || guard.looped.Load() || len(*said) > 0 {
		t.Errorf("looped %t, told %v", guard.looped.Load(), *said)
	}
}

func TestWithoutUpstreams(t *testing.T) {
	guard := New(nil, &told{}, nil)
	guard.start()
	guard.stop()
	if code, err := guard.ServeDNS(t.Context(), dnstest.NewRecorder(&test.ResponseWriter{}), new(dns.Msg).SetQuestion("www.outside.test.", dns.TypeA)); code != dns.RcodeServerFailure || err != nil {
		t.Errorf("%d, %v", code, err)
	}
}
