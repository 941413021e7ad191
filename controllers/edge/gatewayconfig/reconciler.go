// Package gatewayconfig keeps the gateways that IngressClasses name, and their
// settings.
//
// Its key is a gateway. It knows nothing of hosts (controllers/edge/ingress) or of
// how Envoy is configured. Its invariants: a gateway is published exactly while a
// class of ours names it (the default one always is); and its settings are those
// of the newest version of its configuration that had no mistakes.
package gatewayconfig

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/fairwaynet/fairway/api/problem"
	"github.com/fairwaynet/fairway/controllers/objects/index"
	"github.com/fairwaynet/fairway/xds/route"
)

// Publisher takes the gateways and their settings.
type Publisher interface {
	// PublishSettings creates the gateway or changes its settings. Publishing the
	// same again costs nothing.
	PublishSettings(gateway route.Gateway, settings route.Settings)
	// WithdrawGateway says that no class names the gateway any more. It may never
	// have been published.
	WithdrawGateway(gateway route.Gateway)
}

// Reporter takes all that is wrong with a key; that replaces its last report.
type Reporter interface {
	Report(ctx context.Context, key any, problems []problem.Problem)
}

// Reconciler keeps the settings of one gateway.
type Reconciler struct {
	Objects index.Objects
	// Base are the settings where a configuration says nothing else.
	Base route.Settings
	// Published are the Services that publish gateways; may be nil.
	Published *PublishedServices
	// Adapt, if not nil, may change the settings last: a process knows best what
	// it cannot change.
	Adapt     func(route.Settings) route.Settings
	Publisher Publisher
	Reporter  Reporter
	// Reconciled is called for each gateway that was brought up to date; may be
	// nil.
	Reconciled func(route.Gateway)

	mu   sync.Mutex
	good map[route.Gateway]accepted
}

// accepted are the settings of a configuration that had no mistake.
type accepted struct {
	config   types.UID
	settings route.Settings
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
	if r.Reconciled != nil {
		r.Reconciled(gateway)
	}
	return reconcile.Result{}, nil
}

// Build returns the settings of the gateway, nil if no class names it.
func (r *Reconciler) Build(ctx context.Context, gateway route.Gateway) (*route.Settings, []problem.Problem, error) {
	configs, err := r.Objects.Configs(ctx)
	if err != nil {
		return nil, nil, err
	}
	config, exists := configs[gateway]
	problems, err := r.checkClasses(ctx, gateway, exists)
	if err != nil {
		return nil, nil, err
	}
	settings, mistakes := r.settings(gateway, config, exists)
	classes, err := r.Objects.Classes(ctx)
	if err != nil {
		return nil, nil, err
	}
	if !slices.Contains(classes.Gateways(), gateway) {
		if speaks, err := r.Objects.SpeaksFor(ctx, gateway); err != nil || !speaks {
			return nil, problems, err // the mistakes concern another installation
		}
		return nil, append(problems, mistakes...), nil
	}
	problems = append(problems, mistakes...)
	settings.Published = route.PublishedPorts(r.Published.Of(gateway), settings)
	if r.Adapt != nil {
		settings = r.Adapt(settings)
	}
	return &settings, problems, nil
}

// settings returns what the configuration says, or what it said before it had
// mistakes. If it had mistakes from the start, only its correct fields count.
func (r *Reconciler) settings(
	gateway route.Gateway, config index.Config, exists bool,
) (route.Settings, []problem.Problem) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !exists {
		delete(r.good, gateway)
		return r.Base, nil
	}
	settings, problems := route.BuildSettings(r.Base, gateway.Config(), config.Spec)
	last, known := r.good[gateway]
	switch {
	case len(problems) > 0 && known && last.config == config.GetUID():
		return last.settings, problems
	case len(problems) > 0:
		return settings, problems
	case r.good == nil:
		r.good = map[route.Gateway]accepted{}
	}
	r.good[gateway] = accepted{config.GetUID(), settings}
	return settings, nil
}

// checkClasses returns what is wrong with the classes that name the gateway. For
// nowhere, these are the classes that name no gateway.
func (r *Reconciler) checkClasses(
	ctx context.Context, gateway route.Gateway, exists bool,
) ([]problem.Problem, error) {
	classes, err := r.Objects.ClassesOfGateway(ctx, gateway)
	var problems []problem.Problem
	for _, class := range classes {
		problems = append(problems, r.Objects.Controller.CheckClass(class)...)
		if !exists && gateway != nowhere && class.Spec.Parameters != nil {
			problems = append(problems, route.MissingParameters(class, gateway))
		}
	}
	return problems, err
}
