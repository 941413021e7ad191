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
	corev1 "k8s.io/api/core/v1"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairwaynet/fairway/api/v1alpha1"
	"github.com/fairwaynet/fairway/controllers/certificates/challenge"
	"github.com/fairwaynet/fairway/controllers/certificates/issuer"
	"github.com/fairwaynet/fairway/controllers/edge"
	"github.com/fairwaynet/fairway/controllers/objects/secretstore"
	tlschallenge "github.com/fairwaynet/fairway/tls/challenge"
	"github.com/fairwaynet/fairway/xds/route"
	"github.com/fairwaynet/fairway/xds/server"
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
	*ordering

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
	told := delivery.Served
	delivery.Served = func(key route.Key) {
		told(key)
		o.challenges.Heard(key)
	}
	resolver := r.Challenge.resolver(log)
	o.ordering = &ordering{
		Cache: r.files, Objects: r.controllers.Objects(), Namespace: stateNamespace, Envoys: o.challenges, Resolver: resolver,
		Reporter: r.controllers.Reporter, Events: r.console, Statuses: nowhere{}, Log: log,
		Secrets: secretstore.Nowhere{Others: r.files.Live()},
	}
	if r.State != "" {
		if o.files, err = secretstore.OpenFiles(r.State, r.files.Live()); err != nil {
			return err
		}
		o.Secrets = o.files
	}
	return errors.Join(o.watchOrders(ctx), o.assemble(ctx, registry))
}

// watchOrders answers the challenges of orders.
func (o *ordersOfFolder) watchOrders(ctx context.Context) error {
	informer, err := o.Cache.GetInformer(ctx, &corev1.Secret{}, cache.BlockUntilSynced(false))
	if err != nil {
		return fmt.Errorf("watch orders: %w", err)
	}
	put := func(object any) {
		secret, ok := object.(*corev1.Secret)
		if !ok || secret.Type != tlschallenge.SecretType {
			return
		}
		answers, err := tlschallenge.Decode(secret.Data[tlschallenge.SecretKey])
		if err != nil {
			o.Log.Error(err, "cannot read the challenges of an order", "secret", client.ObjectKeyFromObject(secret).String())
		}
		o.challenges.Put(secret.Name, answers)
	}
	_, err = informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
		AddFunc:    put,
		UpdateFunc: func(_, object any) { put(object) },
		DeleteFunc: func(object any) {
			if last, ok := object.(toolscache.DeletedFinalStateUnknown); ok {
				object = last.Obj
			}
			if secret, ok := object.(*corev1.Secret); ok {
				o.challenges.Put(secret.Name, nil)
			}
		},
	})
	if err != nil {
		return fmt.Errorf("watch orders: %w", err)
	}
	return nil
}

// run runs the orders until ctx ends.
func (o *ordersOfFolder) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error, 3)
	tasks := []func(context.Context) error{
		func(ctx context.Context) error {
			return o.responder.Serve(ctx, server.LimitListener(o.listener, maxAsking, maxAskingOfOne))
		},
		o.issuers.Lead, o.orders.Lead,
	}
	err := o.watchCustom(ctx)
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

// nowhere discards the status of Issuers from files. Their errors become
// Problems.
type nowhere struct{}

var _ issuer.Statuses = nowhere{}

// Write implements issuer.Statuses.
func (nowhere) Write(context.Context, *v1alpha1.Issuer, v1alpha1.IssuerStatus) error { return nil }
