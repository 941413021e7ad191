package challenge

import (
	"context"
	"fmt"
	"net"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/fairwaynet/fairway/controllers/replicas/replica"
	"github.com/fairwaynet/fairway/tls/challenge"
	"github.com/fairwaynet/fairway/xds/server"
)

// Limits for connections to the responder. Only gateways connect, each from few
// addresses.
const (
	maxAsking      = 512
	maxAskingOfOne = 128
)

// NewResponder makes a Responder that counts its handshakes.
func NewResponder(registry prometheus.Registerer) (*challenge.Responder, error) {
	handshakes := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "fairway_acme_handshakes_total",
		Help: "TLS-ALPN-01 handshakes that reached this replica, by outcome.",
	}, []string{"outcome"})
	if err := registry.Register(handshakes); err != nil {
		return nil, fmt.Errorf("register metrics: %w", err)
	}
	return &challenge.Responder{
		Now:      time.Now,
		Answered: func(o challenge.Outcome) { handshakes.WithLabelValues(string(o)).Inc() },
	}, nil
}

// ServeResponder answers on an address, as host:port, until ctx ends. It listens only
// while the replica has contact with the API server. A replica without contact does not
// know the challenges, and Envoy goes to another replica only if this one does not
// listen.
func ServeResponder(
	ctx context.Context, responder *challenge.Responder, address string, contact *replica.Contact, log logr.Logger,
) error {
	return contact.While(ctx, func(ctx context.Context) error {
		listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
		if err != nil {
			return fmt.Errorf("serve --acme-address: %w", err)
		}
		log.Info("answering challenges of TLS-ALPN-01", "address", listener.Addr().String())
		return responder.Serve(ctx, Limit(listener))
	})
}

// Limit bounds the connections of a responder's listener.
func Limit(listener net.Listener) net.Listener {
	return server.LimitListener(listener, maxAsking, maxAskingOfOne)
}
