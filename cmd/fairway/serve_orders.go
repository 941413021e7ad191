package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/fairwaynet/fairway/controllers/certificates/challenge"
	"github.com/fairwaynet/fairway/controllers/certificates/issuer"
	"github.com/fairwaynet/fairway/controllers/certificates/ordering"
	"github.com/fairwaynet/fairway/controllers/edge"
	"github.com/fairwaynet/fairway/controllers/objects/secretstore"
	tlschallenge "github.com/fairwaynet/fairway/tls/challenge"
)

// stateNamespace takes the place of the controllers' namespace when objects come
// from files. It holds accounts, orders, and the Secrets that Issuers name.
const stateNamespace = "fairway-system"

// paths are the folders to read. They include the folder of --state, so that
// ordered certificates are served.
func (s *serveSettings) paths() []string {
	if s.State == "" || within(s.Folder, s.State) {
		return []string{s.Folder}
	}
	return []string{s.Folder, s.State}
}

func within(folder, path string) bool {
	rest, err := filepath.Rel(folder, path)
	return err == nil && rest != ".." && !strings.HasPrefix(rest, ".."+string(filepath.Separator))
}

// makeState makes the folder of --state, if the flag is set.
func (s *serveSettings) makeState() error {
	if s.State == "" {
		return nil
	}
	if err := os.MkdirAll(s.State, 0o700); err != nil {
		return fmt.Errorf("make --state: %w", err)
	}
	return nil
}

// ordersOfFolder orders certificates for the Ingresses of a folder.
type ordersOfFolder struct {
	*ordering.Ordering

	files      *secretstore.Files // nil without --state
	challenges *challenge.Set
	responder  *tlschallenge.Responder
	listener   net.Listener // of the responder
}

// addOrders makes serve order certificates, and this Envoy answer the challenges.
func (r *serving) addOrders(ctx context.Context, delivery *edge.Delivery, registry prometheus.Registerer, log logr.Logger) error {
	o := &ordersOfFolder{
		challenges: &challenge.Set{Hosts: r.server}, responder: &tlschallenge.Responder{Now: time.Now},
	}
	r.orders = o
	var err error
	if o.listener, err = (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0"); err != nil {
		return fmt.Errorf("answer challenges: %w", err)
	}
	o.challenges.Responder = o.responder
	r.envoy.Bootstrap.ACME = []string{o.listener.Addr().String()}
	r.controllers.Challenges = o.challenges
	delivery.Served = o.challenges.Hearing(delivery.Served)
	resolver := r.Challenge.resolver(log)
	o.Ordering = &ordering.Ordering{
		Cache: r.files, Objects: r.controllers.Objects(), Namespace: stateNamespace, Envoys: o.challenges, Resolver: resolver,
		Reporter: r.controllers.Reporter, Events: r.console, Statuses: issuer.Nowhere{}, UserAgent: userAgent(), Log: log,
		Secrets: secretstore.Nowhere{Others: r.files.Live()},
	}
	if r.State != "" {
		if o.files, err = secretstore.OpenFiles(r.State, r.files.Live()); err != nil {
			return err
		}
		o.Secrets = o.files
	}
	return errors.Join(o.challenges.Follow(ctx, r.files, log), o.Assemble(ctx, registry))
}

// run runs the orders until ctx ends.
func (o *ordersOfFolder) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error, 3)
	tasks := []func(context.Context) error{
		func(ctx context.Context) error {
			return o.responder.Serve(ctx, challenge.Limit(o.listener))
		},
		o.LeadIssuers, o.LeadOrders,
	}
	err := o.WatchCustom(ctx)
	for _, task := range tasks {
		go func() { defer cancel(); ended <- task(ctx) }()
	}
	for range tasks {
		err = errors.Join(err, <-ended)
	}
	if o.files != nil {
		err = errors.Join(err, o.files.Close())
	}
	return err
}
