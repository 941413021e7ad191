package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/pflag"

	"github.com/fairwaynet/fairway/controllers/certificates/challenge"
	"github.com/fairwaynet/fairway/controllers/edge"
	"github.com/fairwaynet/fairway/controllers/replicas/leader"
	tlschallenge "github.com/fairwaynet/fairway/tls/challenge"
	"github.com/fairwaynet/fairway/xds/route"
	"github.com/fairwaynet/fairway/xds/server"
)

// acmePort is the default port on which controllers answer TLS-ALPN-01
// challenges.
const acmePort = "18001"

// challengeSettings are the settings for answering challenges of certificate
// authorities.
type challengeSettings struct {
	Address   string   // host:port; empty: no TLS-ALPN-01
	Resolvers []string // each host:port; none: the system's
}

func (c *challengeSettings) bind(flags *pflag.FlagSet) {
	flags.StringVar(&c.Address, "acme-address", c.Address, "`host:port` on which to answer the TLS-ALPN-01 challenges that gateways pass on; empty: off")
	c.bindResolvers(flags)
}

func (c *challengeSettings) bindResolvers(flags *pflag.FlagSet) {
	flags.StringSliceVar(&c.Resolvers, "acme-resolver", c.Resolvers, "`host:port` of a DNS server for checking names before ordering certificates; may be repeated; by default the system's")
}

func (c *challengeSettings) load(where func(name, problem string) error) error {
	var wrong []error
	if _, _, err := net.SplitHostPort(c.Address); c.Address != "" && err != nil {
		wrong = append(wrong, where("acme-address", fmt.Sprintf("%q is no host:port", c.Address)))
	}
	for _, resolver := range c.Resolvers {
		if _, err := netip.ParseAddrPort(resolver); err != nil {
			wrong = append(wrong, where("acme-resolver", fmt.Sprintf("%q is no address and port, like 192.0.2.53:53", resolver)))
		}
	}
	return errors.Join(wrong...)
}

// Limits for connections to the responder. Only gateways connect, each from few
// addresses.
const (
	maxAsking      = 512
	maxAskingOfOne = 128
)

// answerChallenges makes this replica learn the challenges of all orders, answer
// them, and tell the other replicas which ones it answers.
func (r *replicas) answerChallenges(controllers *edge.Controllers, ads *server.Server, registry *prometheus.Registry) error {
	r.challenges = &challenge.Set{Hosts: ads, Changed: r.tracker.Touch}
	r.tracker.Challenges = r.challenges.Live
	controllers.Challenges = r.challenges
	controllers.Orders = &challenge.Watch{
		Secrets: r.clients.CoreV1(), Namespace: r.settings.Replica.Namespace, Set: r.challenges, Log: r.log,
	}
	told := controllers.Delivery.Served
	controllers.Delivery.Served = func(key route.Key) {
		told(key)
		r.challenges.Heard(key)
	}
	return errors.Join(r.manager.Add(leader.Everywhere(controllers.Orders.Run)), r.addResponder(registry))
}

func (r *replicas) addResponder(registry *prometheus.Registry) error {
	address := r.settings.Challenge.Address
	if address == "" {
		return nil
	}
	handshakes := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "fairway_acme_handshakes_total",
		Help: "TLS-ALPN-01 handshakes that reached this replica, by outcome.",
	}, []string{"outcome"})
	if err := registry.Register(handshakes); err != nil {
		return fmt.Errorf("register metrics: %w", err)
	}
	responder := &tlschallenge.Responder{
		Now:      time.Now,
		Answered: func(o tlschallenge.Outcome) { handshakes.WithLabelValues(string(o)).Inc() },
	}
	r.challenges.Responder = responder
	// The responder listens only while the replica has contact with the API
	// server. A replica without contact does not know the challenges, and Envoy
	// goes to another replica only if this one does not listen.
	return r.manager.Add(leader.Everywhere(func(ctx context.Context) error {
		return r.contact.While(ctx, func(ctx context.Context) error {
			listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
			if err != nil {
				return fmt.Errorf("serve --acme-address: %w", err)
			}
			r.log.Info("answering challenges of TLS-ALPN-01", "address", listener.Addr().String())
			return responder.Serve(ctx, server.LimitListener(listener, maxAsking, maxAskingOfOne))
		})
	}))
}

// respondersOf are the default addresses to which gateways send challenges: the
// controllers that they get their configuration from.
func respondersOf(controllers []string) []string {
	var responders []string
	for _, address := range controllers {
		if host, _, err := net.SplitHostPort(address); err == nil {
			responders = append(responders, net.JoinHostPort(host, acmePort))
		}
	}
	return responders
}
