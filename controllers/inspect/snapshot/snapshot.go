// Package snapshot shows people once what Fairway serves, or would serve: from
// files, or from a cluster as far as they may read it.
//
// It watches nothing, writes nothing and needs no controller. Its invariant: a
// snapshot sees what the controllers see, because it is their own first pass over
// the same objects.
package snapshot

import (
	"context"
	"errors"
	"sync"

	"github.com/fairwaynet/fairway/controllers/edge"
	"github.com/fairwaynet/fairway/controllers/objects/folder"
	"github.com/fairwaynet/fairway/controllers/objects/index"
	"github.com/fairwaynet/fairway/controllers/objects/report"
	"github.com/fairwaynet/fairway/xds/route"
)

// Take calls see with Controllers over the objects, for their FirstPass. The
// Controllers and their cache end with the call.
func Take(
	ctx context.Context, objects *folder.Cache, scope index.Scope, see func(context.Context, *edge.Controllers) error,
) (err error) {
	base := route.DefaultSettings()
	base.HTTPSPort = 443 // as for a controller without flags
	controllers := &edge.Controllers{
		Cache:    objects,
		Reporter: report.New(),
		Base:     base,
		Scope:    scope,
		// Secrets are not kept with other manifests, and the user may not be
		// allowed to read those of a cluster.
		PartialSecrets: true,
	}
	if err := controllers.Index(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	var failed error
	running.Go(func() { failed = objects.Start(ctx) })
	defer func() {
		cancel()
		running.Wait()
		err = errors.Join(err, failed)
	}()
	if !objects.WaitForCacheSync(ctx) {
		return context.Cause(ctx)
	}
	return see(ctx, controllers)
}
