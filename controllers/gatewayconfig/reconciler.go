// Package gatewayconfig keeps the gateways that IngressClasses name, and their
// settings.
//
// Its key is a gateway. It knows nothing of hosts (controllers/ingress) nor of
// how Envoy is told. Its invariant: a gateway is published exactly while a class
// of ours names it; the default one always is.
package gatewayconfig

import (
	"context"
	"fmt"
	"slices"

	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/fairwaynet/fairway/api/problem"
	"github.com/fairwaynet/fairway/controllers/index"
	"github.com/fairwaynet/fairway/xds/route"
)

// Publisher takes the gateways and their settings.
type Publisher interface {
	// PublishSettings creates the gateway or changes its settings. Publishing
	// what is published already costs nothing.
	PublishSettings(gateway route.Gateway, settings route.Settings)
	// WithdrawGateway says that nobody names the gateway any more. It may be
	// one that is not published.
	WithdrawGateway(gateway route.Gateway)
}

// Reporter takes all that is wrong with a key, in place of what it was told
// before.
type Reporter interface {
	Report(ctx context.Context, key any, problems []problem.Problem)
}

// Reconciler keeps the settings of one gateway.
type Reconciler struct {
	Objects   index.Objects
	Base      route.Settings // of a gateway without a configuration
	Publisher Publisher
	Reporter  Reporter
}

// Reconcile brings the gateway up to date.
func (r *Reconciler) Reconcile(ctx context.Context, gateway route.Gateway) (reconcile.Result, error) {
	settings, problems, err := r.Build(ctx, gateway)
	if err != nil {
		return reconcile.Result{}, fmt.Errorf("gather gateway %q: %w", gateway, err)
	}
	if settings == nil {
		r.Publisher.WithdrawGateway(gateway)
	} else {
		r.Publisher.PublishSettings(gateway, *settings)
	}
	r.Reporter.Report(ctx, gateway, problems)
	return reconcile.Result{}, nil
}

// Build is the settings of the gateway, nil if no class names it.
func (r *Reconciler) Build(ctx context.Context, gateway route.Gateway) (*route.Settings, []problem.Problem, error) {
	classes, err := r.Objects.Classes(ctx)
	if err != nil {
		return nil, nil, err
	}
	problems, err := r.checkClasses(ctx, gateway)
	if err != nil || !slices.Contains(classes.Gateways(), gateway) {
		return nil, problems, err
	}
	return &r.Base, problems, nil
}

// checkClasses is what is wrong with the classes that name the gateway, or for
// nowhere with those that name none.
func (r *Reconciler) checkClasses(ctx context.Context, gateway route.Gateway) ([]problem.Problem, error) {
	classes, err := r.Objects.ClassesOfGateway(ctx, gateway)
	var problems []problem.Problem
	for _, class := range classes {
		problems = append(problems, route.CheckClass(class)...)
		if gateway != nowhere && class.Spec.Parameters != nil {
			problems = append(problems, route.MissingParameters(class, gateway))
		}
	}
	return problems, err
}
