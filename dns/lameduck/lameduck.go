// Package lameduck is a plugin of CoreDNS that keeps a server answering for a while after it was
// told to end, and lets it say meanwhile that it is not ready:
//
//	lameduck DURATION
//
// CoreDNS's plugin health has an option of this name, which waits only after the plugins forward
// and kubernetes have stopped: names outside of the cluster then fail while it waits. This one
// waits first. And a server is not ready before it listens: CoreDNS's plugin ready alone says so
// a moment too early.
package lameduck

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/coredns/caddy"
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/plugin"
	clog "github.com/coredns/coredns/plugin/pkg/log"
	"github.com/miekg/dns"
)

// Name is the plugin's name.
const Name = "lameduck"

// state is that of the process: the signal to end is for all servers.
type state struct {
	started, leaving atomic.Bool
	wait             atomic.Int64 // nanoseconds
}

// Register makes the plugin known to CoreDNS. It can be called once.
func Register() {
	s := &state{}
	plugin.Register(Name, s.setup)
	caddy.RegisterEventHook(Name, s.hook)
}

// hook runs when the servers listen, and before they are told to end.
func (s *state) hook(event caddy.EventName, _ any) error {
	if event == caddy.InstanceStartupEvent {
		s.started.Store(true)
	}
	if event == caddy.ShutdownEvent && !s.leaving.Swap(true) {
		wait := time.Duration(s.wait.Load())
		clog.NewWithPlugin(Name).Infof("answering for %s more", wait)
		<-time.After(wait)
	}
	return nil
}

func (s *state) setup(c *caddy.Controller) error {
	wait, err := parse(c)
	if err != nil {
		return plugin.Error(Name, err)
	}
	c.OnStartup(func() error {
		s.wait.Store(int64(wait))
		return nil
	})
	dnsserver.GetConfig(c).AddPlugin(func(next plugin.Handler) plugin.Handler {
		return &handler{Next: next, state: s}
	})
	return nil
}

func parse(c *caddy.Controller) (time.Duration, error) {
	var text string
	c.Next()
	if !c.Args(&text) || c.NextArg() || c.NextBlock() {
		return 0, c.ArgErr()
	}
	return time.ParseDuration(text)
}

// handler is in the chain so that the plugin ready asks it.
type handler struct {
	Next plugin.Handler
	*state
}

// Name implements plugin.Handler.
func (*handler) Name() string { return Name }

// ServeDNS implements plugin.Handler.
func (h *handler) ServeDNS(ctx context.Context, w dns.ResponseWriter, r *dns.Msg) (int, error) {
	return plugin.NextOrFailure(Name, h.Next, ctx, w, r)
}

// Ready implements the interface of the plugin ready.
func (h *handler) Ready() bool { return h.started.Load() && !h.leaving.Load() }
