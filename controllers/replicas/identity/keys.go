package identity

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"

	"github.com/fairwaynet/fairway/api/installation"
	"github.com/fairwaynet/fairway/xds/identity"
)

// Keys hold the controllers' certificate and the authorities of gateways, from the
// newest good Secret. A change takes effect from the next connection on.
type Keys struct {
	Installation installation.Name
	Log          logr.Logger

	current atomic.Pointer[tls.Config]
}

// ErrNoKeys is the error of Config before there is a certificate.
var ErrNoKeys = errors.New("the leader has not yet written the controllers' certificate")

// Config returns the TLS configuration by which a controller serves now.
func (k *Keys) Config() (*tls.Config, error) {
	if config := k.current.Load(); config != nil {
		return config, nil
	}
	return nil, ErrNoKeys
}

// load takes the content of a Secret. A broken Secret changes nothing; the leader
// mends it.
func (k *Keys) load(s *corev1.Secret) {
	if s.Name != identity.ControllerSecret(k.Installation) {
		return
	}
	config, err := identity.ServerConfig(filesOf(s))
	if err != nil {
		k.Log.Error(err, "cannot read the controllers' certificate; the last good one stays", "secret", s.Namespace+"/"+s.Name)
		return
	}
	if k.current.Swap(config) == nil {
		k.Log.Info("the controllers' certificate is there")
	}
}

// watch makes a cache tell k and the Renewer of every change of a Secret.
func watch(ctx context.Context, secrets cache.Cache, k *Keys, renewer *Renewer) error {
	informer, err := secrets.GetInformer(ctx, &corev1.Secret{}, cache.BlockUntilSynced(false))
	if err != nil {
		return fmt.Errorf("watch secrets: %w", err)
	}
	heard := func(object any) {
		if s, ok := object.(*corev1.Secret); ok {
			k.load(s)
		}
		renewer.Poke()
	}
	_, err = informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
		AddFunc:    heard,
		UpdateFunc: func(_, object any) { heard(object) },
		DeleteFunc: func(any) { renewer.Poke() },
	})
	if err != nil {
		return fmt.Errorf("watch secrets: %w", err)
	}
	return nil
}
