// Package freshness is a plugin of CoreDNS that makes sure that the plugin kubernetes answers from
// the whole cluster, and from no old picture of it:
//
//	freshness ZONE... [KUBECONFIG]
//
// Until the plugin kubernetes has everything, names of its zones fail (SERVFAIL): no client hears
// that a name does not exist because it was not read yet. Then the plugin compares, again and again,
// what kubernetes holds with what the API server has. A watch can skip changes without an error,
// for example after etcd was restored. What was skipped makes kubernetes read everything anew.
package freshness

import (
	"context"
	"strings"
	"time"

	"github.com/coredns/caddy"
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/plugin"
	"github.com/coredns/coredns/plugin/kubernetes"
	clog "github.com/coredns/coredns/plugin/pkg/log"
	"github.com/coredns/coredns/request"
	"github.com/miekg/dns"
)

// Name is the plugin's name.
const Name = "freshness"

var log = clog.NewWithPlugin(Name)

// Reporter tells people.
type Reporter interface{ Warn(reason, message string) }

// Pace is how often is compared.
type Pace struct {
	// Look is the time between looks at numbers and versions, which cost almost nothing.
	Look time.Duration
	// Compare is the time between comparisons of every object's version.
	Compare time.Duration
	// Settle is how long a change may be on its way.
	Settle time.Duration
}

// Usual is the pace of a cluster.
func Usual() Pace {
	return Pace{Look: 15 * time.Second, Compare: 5 * time.Minute, Settle: 5 * time.Second}
}

// key is where an instance of CoreDNS keeps its watcher.
type key struct{}

type plan struct {
	reporter Reporter
	pace     Pace
	metrics  *metrics
}

// Register makes the plugin known to CoreDNS. It can be called once.
func Register(reporter Reporter, pace Pace) {
	p := plan{reporter, pace, newMetrics()}
	plugin.Register(Name, p.setup)
	caddy.RegisterEventHook(Name, func(event caddy.EventName, about any) error {
		instance, ok := about.(*caddy.Instance)
		if !ok || event != caddy.InstanceStartupEvent {
			return nil
		}
		instance.StorageMu.RLock()
		found, _ := instance.Storage[key{}].(*watcher)
		instance.StorageMu.RUnlock()
		if found != nil {
			found.start(func() error {
				_, err := instance.Restart(nil)
				return err
			})
		}
		return nil
	})
}

func (p plan) setup(c *caddy.Controller) error {
	zones, kubeconfig, err := parse(c)
	if err != nil {
		return plugin.Error(Name, err)
	}
	handler := &Handler{zones: zones}
	dnsserver.GetConfig(c).AddPlugin(func(next plugin.Handler) plugin.Handler {
		handler.Next = next
		return handler
	})
	c.OnStartup(func() error {
		found, ok := dnsserver.GetConfig(c).Handler("kubernetes").(*kubernetes.Kubernetes)
		if !ok {
			return plugin.Error(Name, c.Err("there is no plugin kubernetes in this block"))
		}
		handler.cache = found.APIConn
		server, err := newServer(kubeconfig)
		if err != nil {
			return plugin.Error(Name, err)
		}
		w := &watcher{cache: pictureOf(found.APIConn), server: server, pace: p.pace, reporter: p.reporter, metrics: p.metrics}
		c.Set(key{}, w)
		c.OnShutdown(w.stop)
		return nil
	})
	return nil
}

func parse(c *caddy.Controller) (zones []string, kubeconfig string, err error) {
	c.Next()
	for _, word := range c.RemainingArgs() {
		if strings.Contains(word, "/") {
			kubeconfig = word
			continue
		}
		zones = append(zones, plugin.Name(word).Normalize())
	}
	if len(zones) == 0 || c.NextBlock() {
		return nil, "", c.ArgErr()
	}
	return zones, kubeconfig, nil
}

// synced says whether the plugin kubernetes has read everything.
type synced interface{ HasSynced() bool }

// Handler stands in front of cache and kubernetes.
type Handler struct {
	Next plugin.Handler

	zones plugin.Zones
	cache synced
}

// Name implements plugin.Handler.
func (*Handler) Name() string { return Name }

// ServeDNS implements plugin.Handler.
func (h *Handler) ServeDNS(ctx context.Context, w dns.ResponseWriter, r *dns.Msg) (int, error) {
	state := request.Request{W: w, Req: r}
	if h.zones.Matches(state.Name()) != "" && (h.cache == nil || !h.cache.HasSynced()) {
		return dns.RcodeServerFailure, nil
	}
	return plugin.NextOrFailure(Name, h.Next, ctx, w, r)
}
