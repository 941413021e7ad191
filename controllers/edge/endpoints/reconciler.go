// Package endpoints keeps the endpoints of the Service ports to which Ingresses
// route.
//
// Its key is a Service port. It knows neither routes nor clusters: the host
// decides which protocol is spoken to a port (controllers/edge/ingress). Its
// invariant: a port is published exactly while an Ingress of ours names it and its
// Service has it. So no route waits for endpoints that are never published.
package endpoints

import (
	"context"
	"errors"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/fairwaynet/fairway/api/problem"
	"github.com/fairwaynet/fairway/controllers/objects/apireader"
	"github.com/fairwaynet/fairway/controllers/objects/index"
	"github.com/fairwaynet/fairway/xds/route"
)

// Publisher takes the endpoints of Service ports.
type Publisher interface {
	// PublishBackend makes backend the endpoints of port; nil withdraws them.
	// Publishing the same again costs nothing.
	PublishBackend(port route.ServicePort, backend *route.Backend)
}

// Reporter takes all that is wrong with a key; that replaces its last report.
type Reporter interface {
	Report(ctx context.Context, key any, problems []problem.Problem)
}

// Reconciler keeps the endpoints of one Service port. Use New.
type Reconciler struct {
	// LocalBackends allows endpoints to be route.LocalPrefixes.
	LocalBackends bool

	objects   index.Objects
	live      *apireader.Reader
	publisher Publisher
	reporter  Reporter
	published *publishedPorts
}

// New makes a Reconciler that publishes to publisher. live reads from the API
// server directly; nil where there is none.
func New(objects index.Objects, live *apireader.Reader, publisher Publisher, reporter Reporter) *Reconciler {
	return &Reconciler{
		objects:   objects,
		live:      live,
		publisher: publisher,
		reporter:  reporter,
		published: newPublishedPorts(),
	}
}

// Reconcile brings the endpoints of port up to date.
func (r *Reconciler) Reconcile(ctx context.Context, port route.ServicePort) (reconcile.Result, error) {
	r.published.note(port, true) // before looking: an event from now on finds it there
	backend, problems, err := r.build(ctx, port, r.live)
	if later := (*apireader.LaterError)(nil); errors.As(err, &later) {
		return reconcile.Result{RequeueAfter: later.After}, nil
	}
	if err != nil {
		return reconcile.Result{}, err
	}
	r.Publish(port, backend)
	r.reporter.Report(ctx, port, problems)
	return reconcile.Result{}, nil
}

// Publish publishes backend; nil withdraws it.
func (r *Reconciler) Publish(port route.ServicePort, backend *route.Backend) {
	r.published.note(port, backend != nil)
	r.publisher.PublishBackend(port, backend)
}

// Build returns what the caches say of port: nil unless it is to be published.
func (r *Reconciler) Build(ctx context.Context, port route.ServicePort) (*route.Backend, []problem.Problem, error) {
	return r.build(ctx, port, nil)
}

func (r *Reconciler) build(
	ctx context.Context, port route.ServicePort, ask *apireader.Reader,
) (*route.Backend, []problem.Problem, error) {
	service, err := r.service(ctx, port)
	if err != nil || service == nil {
		return nil, nil, err
	}
	slices, err := r.slices(ctx, port, ask)
	if err != nil {
		return nil, nil, err
	}
	backend, problems := route.BuildBackend(port, service, slices, r.LocalBackends)
	return backend, problems, nil
}

// service returns the Service of the port, nil unless it has endpoints to publish.
// An Ingress of ours must route to it by this port, and it must not be an
// ExternalName, whose endpoints Envoy resolves.
func (r *Reconciler) service(ctx context.Context, port route.ServicePort) (*corev1.Service, error) {
	ingresses, err := r.objects.IngressesOfService(ctx, port.Service)
	if err != nil || len(ingresses) == 0 {
		return nil, err
	}
	service, err := r.objects.Service(ctx, port.Service)
	if err != nil || service == nil || service.Spec.Type == corev1.ServiceTypeExternalName {
		return nil, err
	}
	classes, err := r.objects.Classes(ctx)
	if err != nil {
		return nil, err
	}
	for _, ingress := range ingresses {
		if _, ours := classes.Gateway(ingress); ours && routesTo(ingress, service, port.Port) {
			return service, nil
		}
	}
	return nil, nil
}

// routesTo reports whether the Ingress names that port of the Service.
func routesTo(ingress *networkingv1.Ingress, service *corev1.Service, port int32) bool {
	for _, backend := range index.Backends(ingress) {
		if backend.Name != service.Name {
			continue
		}
		for _, offered := range service.Spec.Ports {
			if offered.Port == port && index.Names(backend.Port, offered) {
				return true
			}
		}
	}
	return false
}

// slices returns the EndpointSlices of the Service. Informers are not in step: if
// the cache has no slice at all, not even an empty one, the slices may just not
// have arrived yet. So the API server is asked, because no route may move to a
// Service that only looks empty.
func (r *Reconciler) slices(
	ctx context.Context, port route.ServicePort, ask *apireader.Reader,
) ([]*discoveryv1.EndpointSlice, error) {
	slices, err := r.objects.Slices(ctx, port.Service)
	if err != nil || len(slices) > 0 || ask == nil {
		return slices, err
	}
	return ask.Slices(ctx, port.Service)
}
