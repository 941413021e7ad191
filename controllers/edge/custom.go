package edge

import (
	"context"
	"errors"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairwaynet/fairway/api/v1alpha1"
)

// customPoll is the time between two looks for custom resources that the cluster
// lacks.
const customPoll = 10 * time.Second

// indexCustom begins to watch the custom resources. A cluster that lacks them is
// served all the same: its gateways have the settings of the flags.
func (c *Controllers) indexCustom(ctx context.Context) error {
	var err error
	if c.custom, err = c.hasCustom(ctx); err != nil {
		return err
	}
	if !c.custom {
		c.Log.Info("the cluster has no GatewayConfigs: gateways have the settings of the flags until config/crd is installed")
	}
	return nil
}

// hasCustom reports whether the cluster has the custom resources. If so, it begins
// to watch them.
func (c *Controllers) hasCustom(ctx context.Context) (bool, error) {
	for _, kind := range []client.Object{&v1alpha1.ClusterGatewayConfig{}, &v1alpha1.GatewayConfig{}} {
		switch _, err := c.Cache.GetInformer(ctx, kind, cache.BlockUntilSynced(false)); {
		case meta.IsNoMatchError(err):
			return false, nil
		case err != nil:
			return false, fmt.Errorf("watch %T: %w", kind, err)
		}
	}
	return true, nil
}

// awaitCustom waits until the cluster has the custom resources, and then watches
// them.
func (c *Controllers) awaitCustom(ctx context.Context, parts *parts) error {
	tick := time.NewTicker(customPoll)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		has, err := c.hasCustom(ctx)
		switch {
		case err != nil:
			c.Log.V(1).Info("cannot tell whether the cluster has GatewayConfigs", "cause", err.Error())
		case has:
			c.Log.Info("the cluster has GatewayConfigs now")
			return c.watchCustom(parts)
		}
	}
}

func (c *Controllers) watchCustom(parts *parts) error {
	var failed error
	for _, from := range parts.custom.CustomSources(c.Cache, true) {
		failed = errors.Join(failed, parts.gateways.Watch(from))
	}
	return failed
}
