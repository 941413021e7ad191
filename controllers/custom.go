package controllers

import (
	"context"
	"errors"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/fairwaynet/fairway/api/v1alpha1"
	"github.com/fairwaynet/fairway/controllers/gatewayconfig"
	"github.com/fairwaynet/fairway/xds/route"
)

// customPoll is the time between two looks for custom resources that a cluster
// does not have.
const customPoll = 10 * time.Second

// indexCustom begins to watch the custom resources. A cluster that does not have
// them is served all the same: the gateways have the settings of the flags.
func (r *Road) indexCustom(ctx context.Context) error {
	var err error
	if r.custom, err = r.hasCustom(ctx); err != nil {
		return err
	}
	if !r.custom {
		r.Log.Info("the cluster has no GatewayConfigs: gateways have the settings of the flags until config/crd is installed")
	}
	return nil
}

// hasCustom reports whether the cluster has the custom resources, which are
// watched then.
func (r *Road) hasCustom(ctx context.Context) (bool, error) {
	for _, kind := range []client.Object{&v1alpha1.ClusterGatewayConfig{}, &v1alpha1.GatewayConfig{}} {
		switch _, err := r.Cache.GetInformer(ctx, kind, cache.BlockUntilSynced(false)); {
		case meta.IsNoMatchError(err):
			return false, nil
		case err != nil:
			return false, fmt.Errorf("watch %T: %w", kind, err)
		}
	}
	return true, nil
}

// awaitCustom begins to watch the custom resources when the cluster has got
// them.
func (r *Road) awaitCustom(ctx context.Context, gateways *gatewayconfig.Reconciler, to loop) error {
	tick := time.NewTicker(customPoll)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		has, err := r.hasCustom(ctx)
		switch {
		case err != nil:
			r.Log.V(1).Info("cannot tell whether the cluster has GatewayConfigs", "cause", err.Error())
		case has:
			r.Log.Info("the cluster has GatewayConfigs now")
			return watchAll(to, gateways.CustomSources(r.Cache, true))
		}
	}
}

func watchAll(to loop, sources []source.TypedSource[route.Gateway]) error {
	watcher, ok := to.(interface {
		Watch(source.TypedSource[route.Gateway]) error
	})
	if !ok {
		return errors.New("watch gateway configs: the controller takes no watches")
	}
	var failed error
	for _, from := range sources {
		failed = errors.Join(failed, watcher.Watch(from))
	}
	return failed
}
