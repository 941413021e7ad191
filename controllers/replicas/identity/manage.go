package identity

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/client-go/kubernetes/scheme"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"github.com/fairwaynet/fairway/api/installation"
	"github.com/fairwaynet/fairway/controllers/objects/index"
	"github.com/fairwaynet/fairway/controllers/replicas/leader"
	xdsidentity "github.com/fairwaynet/fairway/xds/identity"
	"github.com/fairwaynet/fairway/xds/route"
)

// Options are what Manage needs.
type Options struct {
	Manager      manager.Manager
	Elector      *leader.Elector
	Scope        index.Scope
	Installation installation.Name
	Namespace    string // of the Secrets
	Policy       xdsidentity.Policy
	Log          logr.Logger
}

// Manage makes the leader maintain the certificates of controllers and gateways. The
// returned keys always hold this replica's current certificate.
func Manage(ctx context.Context, o Options) (*Keys, error) {
	secrets, err := o.secrets()
	if err != nil {
		return nil, err
	}
	objects := index.Objects{Cluster: o.Manager.GetCache(), Scope: o.Scope}
	keeper := &Renewer{
		Secrets: secrets, Live: o.Manager.GetAPIReader(), Writer: o.Manager.GetClient(),
		Installation: o.Installation, Namespace: o.Namespace,
		Gateways: func(ctx context.Context) ([]route.Gateway, error) {
			classes, err := objects.Classes(ctx)
			return classes.Gateways(), err
		},
		Policy: o.Policy,
		Now:    time.Now,
		Wake:   make(chan struct{}, 1),
		Log:    o.Log,
	}
	keys := &Keys{Installation: o.Installation, Log: o.Log}
	if err := errors.Join(watch(ctx, secrets, keys, keeper), wakeByClasses(ctx, o.Manager.GetCache(), keeper)); err != nil {
		return nil, err
	}
	o.Elector.Add("identity", func(ctx context.Context) error {
		if !secrets.WaitForCacheSync(ctx) || !o.Manager.GetCache().WaitForCacheSync(ctx) {
			return nil
		}
		return keeper.Run(ctx)
	})
	return keys, o.Manager.Add(leader.Everywhere(secrets.Start))
}

// secrets is a cache that holds only the controllers' own Secrets.
func (o *Options) secrets() (cache.Cache, error) {
	ours, err := Selector(o.Installation)
	if err != nil {
		return nil, fmt.Errorf("select secrets: %w", err)
	}
	secrets, err := cache.New(o.Manager.GetConfig(), cache.Options{
		Scheme: scheme.Scheme,
		Mapper: o.Manager.GetRESTMapper(),
		ByObject: map[client.Object]cache.ByObject{&corev1.Secret{}: {
			Namespaces: map[string]cache.Config{o.Namespace: {}},
			Label:      ours,
		}},
		ReaderFailOnMissingInformer: true,
	})
	if err != nil {
		return nil, fmt.Errorf("watch secrets: %w", err)
	}
	return secrets, nil
}

// wakeByClasses wakes the keeper when an IngressClass changes, so that it finds
// new gateways.
func wakeByClasses(ctx context.Context, objects cache.Cache, keeper *Renewer) error {
	informer, err := objects.GetInformer(ctx, &networkingv1.IngressClass{}, cache.BlockUntilSynced(false))
	if err != nil {
		return fmt.Errorf("watch ingress classes: %w", err)
	}
	_, err = informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { keeper.Poke() },
		UpdateFunc: func(any, any) { keeper.Poke() },
		DeleteFunc: func(any) { keeper.Poke() },
	})
	if err != nil {
		return fmt.Errorf("watch ingress classes: %w", err)
	}
	return nil
}
