package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/pflag"

	"github.com/fairwaynet/fairway/controllers/certificates/challenge"
	"github.com/fairwaynet/fairway/controllers/edge"
	"github.com/fairwaynet/fairway/controllers/replicas/leader"
	"github.com/fairwaynet/fairway/tls/challenge/dns"
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

// resolver uses the given DNS servers, or those of the system.
func (c *challengeSettings) resolver(log logr.Logger) *dns.Resolver {
	if len(c.Resolvers) > 0 {
		return &dns.Resolver{Servers: c.Resolvers}
	}
	resolver, err := dns.System()
	if err != nil {
		log.Error(err, "cannot find the DNS servers: names are not checked before certificates are ordered")
		return &dns.Resolver{}
	}
	return resolver
}

// answerChallenges makes this replica learn the challenges of all orders, answer
// them, and tell the other replicas which ones it answers.
func (r *replicas) answerChallenges(controllers *edge.Controllers, ads *server.Server, registry *prometheus.Registry) error {
	r.challenges = &challenge.Set{Hosts: ads, Changed: r.tracker.Touch}
	r.tracker.Challenges = r.challenges.Live
	controllers.Challenges = r.challenges
	controllers.Orders = &challenge.Watch{
		Secrets: r.clients.CoreV1(), Installation: r.settings.Replica.Installation, Namespace: r.settings.Replica.Namespace, Set: r.challenges, Log: r.log,
	}
	controllers.Delivery.Served = r.challenges.Hearing(controllers.Delivery.Served)
	return errors.Join(r.manager.Add(leader.Everywhere(controllers.Orders.Run)), r.addResponder(registry))
}

func (r *replicas) addResponder(registry *prometheus.Registry) error {
	address := r.settings.Challenge.Address
	if address == "" {
		return nil
	}
	responder, err := challenge.NewResponder(registry)
	if err != nil {
		return err
	}
	r.challenges.Responder = responder
	return r.manager.Add(leader.Everywhere(func(ctx context.Context) error {
		return challenge.ServeResponder(ctx, responder, address, r.contact, r.log)
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
