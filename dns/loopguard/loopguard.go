// Package loopguard is a plugin of CoreDNS that finds out whether the servers for names outside of
// the cluster send these names back to it:
//
//	loopguard [UPSTREAM...]
//
// While they do, such names fail at once, and nothing else does. CoreDNS's plugin loop ends the
// process instead, and with it the names of the cluster. UPSTREAM is for its message only.
package loopguard

import (
	"context"
	"strings"
	"sync/atomic"
	"time"

	"github.com/coredns/caddy"
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/plugin"
	clog "github.com/coredns/coredns/plugin/pkg/log"
	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"
)

// Name is the plugin's name.
const Name = "loopguard"

// Reporter tells people.
type Reporter interface{ Warn(reason, message string) }

// plan is what every server shares.
type plan struct {
	reporter Reporter
	looped   prometheus.Gauge
}

// Register makes the plugin known to CoreDNS. It can be called once.
func Register(reporter Reporter) {
	p := plan{reporter, prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "fairway_dns_upstream_loop",
		Help: "Whether the servers for names outside of the cluster send them back here.",
	})}
	prometheus.MustRegister(p.looped)
	plugin.Register(Name, p.setup)
}

func (p plan) setup(c *caddy.Controller) error {
	c.Next()
	upstreams := c.RemainingArgs()
	if c.NextBlock() {
		return plugin.Error(Name, c.ArgErr())
	}
	guard := New(upstreams, p.reporter, p.looped)
	dnsserver.GetConfig(c).AddPlugin(func(next plugin.Handler) plugin.Handler {
		guard.Next = next
		return guard
	})
	c.OnStartup(func() error {
		guard.start()
		return nil
	})
	c.OnShutdown(func() error {
		guard.stop()
		return nil
	})
	return nil
}

// Guard stands in front of the plugin forward.
type Guard struct {
	Next plugin.Handler

	upstreams []string
	reporter  Reporter
	gauge     prometheus.Gauge
	question  atomic.Pointer[string] // the probe that is under way
	seen      atomic.Bool            // it came back
	looped    atomic.Bool
	cancel    context.CancelFunc
	done      chan struct{}
}

// New makes a guard that does not probe yet.
func New(upstreams []string, reporter Reporter, gauge prometheus.Gauge) *Guard {
	return &Guard{upstreams: upstreams, reporter: reporter, gauge: gauge}
}

// Name implements plugin.Handler.
func (*Guard) Name() string { return Name }

// ServeDNS implements plugin.Handler.
func (g *Guard) ServeDNS(ctx context.Context, w dns.ResponseWriter, r *dns.Msg) (int, error) {
	if g.Next == nil {
		return dns.RcodeServerFailure, nil // nobody is named who knows such names
	}
	if probe := g.question.Load(); probe != nil && len(r.Question) == 1 && strings.EqualFold(r.Question[0].Name, *probe) {
		g.seen.Store(true)
		return dns.RcodeNameError, w.WriteMsg(new(dns.Msg).SetRcode(r, dns.RcodeNameError))
	}
	if g.looped.Load() {
		return dns.RcodeServerFailure, nil
	}
	return g.Next.ServeDNS(ctx, w, r)
}

// Between probes. While there is a loop somebody is mending it.
const (
	first      = 500 * time.Millisecond
	whileFine  = 5 * time.Minute
	whileLoops = 15 * time.Second
	patience   = 6 * time.Second
)

func (g *Guard) start() {
	if g.Next == nil {
		return
	}
	var ctx context.Context
	ctx, g.cancel = context.WithCancel(context.Background())
	g.done = make(chan struct{})
	go func() {
		defer close(g.done)
		wait := first
		for {
			select {
			case <-time.After(wait):
			case <-ctx.Done():
				return
			}
			answered := g.probe(ctx)
			switch {
			case g.looped.Load() || !answered:
				wait = whileLoops
			default:
				wait = whileFine
			}
		}
	}()
}

func (g *Guard) stop() {
	if g.cancel != nil {
		g.cancel()
		<-g.done
	}
}

// probe asks the upstreams for a name that nobody has, and reports whether one of them answered.
func (g *Guard) probe(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	name := dns.Fqdn(strings.ToLower(random()) + ".loop-probe.fairway-dns")
	g.seen.Store(false)
	g.question.Store(&name)
	defer g.question.Store(nil)
	question := new(dns.Msg).SetQuestion(name, dns.TypeHINFO)
	answer := &answer{}
	_, err := g.Next.ServeDNS(ctx, answer, question)
	answered := err == nil && answer.message != nil
	if ctx.Err() == context.Canceled {
		return false
	}
	g.set(g.seen.Load() || !answered && g.looped.Load())
	return answered
}

// set keeps what is known, and tells of what is new.
func (g *Guard) set(looped bool) {
	if was := g.looped.Swap(looped); was == looped {
		return
	}
	if !looped {
		g.gauge.Set(0)
		clog.NewWithPlugin(Name).Info("names outside of the cluster no longer come back here")
		return
	}
	g.gauge.Set(1)
	g.reporter.Warn("UpstreamLoop", "The servers for names outside of the cluster ("+strings.Join(g.upstreams, ", ")+
		") send these names back to the cluster's DNS, so they are not found (SERVFAIL). Names of the cluster are. "+Advice)
}

// Advice says what to set.
const Advice = "Set dns.upstreams in the chart's values. Without it the servers are those of the node's resolv.conf: " +
	"then resolvConf in the configuration of the kubelets can name a file with the real ones " +
	"(with systemd-resolved: /run/systemd/resolve/resolv.conf)."
