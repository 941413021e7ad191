package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
	"k8s.io/client-go/kubernetes/scheme"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"github.com/fairwaynet/fairway/controllers/objects/index"
	"github.com/fairwaynet/fairway/controllers/replicas/identity"
	"github.com/fairwaynet/fairway/controllers/replicas/leader"
	xdsidentity "github.com/fairwaynet/fairway/xds/identity"
	"github.com/fairwaynet/fairway/xds/route"
)

// manageIdentity makes the leader maintain the certificates of controllers and
// gateways. The returned keys always hold this replica's current certificate.
func (c *controllerSettings) manageIdentity(ctx context.Context, log logr.Logger, mgr manager.Manager, elector *leader.Elector) (*identity.Keys, error) {
	secrets, err := c.identitySecrets(mgr)
	if err != nil {
		return nil, err
	}
	objects := index.Objects{Cluster: mgr.GetCache(), Scope: c.Scope.scope()}
	keeper := &identity.Renewer{
		Secrets: secrets, Live: mgr.GetAPIReader(), Writer: mgr.GetClient(), Namespace: c.Replica.Namespace,
		Gateways: func(ctx context.Context) ([]route.Gateway, error) {
			classes, err := objects.Classes(ctx)
			return classes.Gateways(), err
		},
		Policy: xdsidentity.Policy{Certificate: c.XDS.Lifetime, Authority: 12 * c.XDS.Lifetime},
		Now:    time.Now,
		Wake:   make(chan struct{}, 1),
		Log:    log,
	}
	keys := &identity.Keys{Log: log}
	if err := errors.Join(identity.Watch(ctx, secrets, keys, keeper), wakeByClasses(ctx, mgr.GetCache(), keeper)); err != nil {
		return nil, err
	}
	elector.Add("identity", func(ctx context.Context) error {
		if !secrets.WaitForCacheSync(ctx) || !mgr.GetCache().WaitForCacheSync(ctx) {
			return nil
		}
		return keeper.Run(ctx)
	})
	return keys, mgr.Add(everywhere(secrets.Start))
}

// identitySecrets is a cache that holds only the controllers' own Secrets.
func (c *controllerSettings) identitySecrets(mgr manager.Manager) (cache.Cache, error) {
	ours, err := labels.NewRequirement(identity.Label, selection.Exists, nil)
	if err != nil {
		return nil, fmt.Errorf("select secrets: %w", err)
	}
	secrets, err := cache.New(mgr.GetConfig(), cache.Options{
		Scheme: scheme.Scheme,
		Mapper: mgr.GetRESTMapper(),
		ByObject: map[client.Object]cache.ByObject{&corev1.Secret{}: {
			Namespaces: map[string]cache.Config{c.Replica.Namespace: {}},
			Label:      labels.NewSelector().Add(*ours),
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
func wakeByClasses(ctx context.Context, objects cache.Cache, keeper *identity.Renewer) error {
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
