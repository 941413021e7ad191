// Package explain explains what happens to a request for a URL, and why.
//
// It gathers what xds/route.Explain needs, from the same objects and by the same
// Build functions as the controllers, and puts the outcome into words. It asks no
// gateway: it says what Envoy does once Envoy has what the objects ask for. Its
// invariant: an explanation ends where the request does, and unless that is at a
// backend, it says what to do next.
package explain

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairwaynet/fairway/api/problem"
	"github.com/fairwaynet/fairway/controllers/edge"
	"github.com/fairwaynet/fairway/controllers/edge/endpoints"
	"github.com/fairwaynet/fairway/controllers/edge/gatewayconfig"
	"github.com/fairwaynet/fairway/controllers/edge/ingress"
	"github.com/fairwaynet/fairway/controllers/objects/index"
	"github.com/fairwaynet/fairway/xds/route"
)

// Ends in addition to those of xds/route.
const (
	EndNoListener    route.End = "NoListener"    // nothing listens for the scheme
	EndNoCertificate route.End = "NoCertificate" // the TLS handshake fails
	EndNoEndpoints   route.End = "NoEndpoints"   // the backend has no endpoint that could be used
)

// Question is a request, and the gateway that gets it.
type Question struct {
	Request Request
	// Gateway names the gateway; Class names the IngressClass whose gateway it is.
	// With neither, it is the gateway that serves the host.
	Gateway route.Gateway
	Class   string
	// Only are the only Controllers to consider; empty: all of Fairway's.
	Only []route.Controller
	// Known are the installations, by the Controller that they serve; nil: unknown.
	Known map[route.Controller][]string
	// MissingSecrets are known not to exist. Whether other Secrets exist that are
	// not among the objects is unknown.
	MissingSecrets map[types.NamespacedName]bool
}

// controllers returns the Controllers to consider.
func (q Question) controllers(classes []*networkingv1.IngressClass) []route.Controller {
	if len(q.Only) > 0 {
		return q.Only
	}
	found := route.ControllersOf(classes)
	for _, controller := range slices.Sorted(maps.Keys(q.Known)) {
		if !slices.Contains(found, controller) {
			found = append(found, controller)
		}
	}
	return found
}

// Explain answers a question about the objects that Controllers consider.
func Explain(ctx context.Context, controllers *edge.Controllers, question Question) (*Explanation, error) {
	w := &trace{
		objects:  index.Objects{Cluster: controllers.Cache, Scope: controllers.Scope},
		base:     controllers.Base,
		local:    controllers.Base.LocalBackends || controllers.LocalEndpoints,
		question: question,
		said: &Explanation{
			Version: 1, URL: question.Request.String(),
			Others: []RouteOf{}, Endpoints: []EndpointOf{}, Next: []string{}, Problems: []problem.Problem{},
		},
	}
	if err := w.choose(ctx); err != nil {
		return nil, err
	}
	if err := w.follow(ctx); err != nil {
		return nil, err
	}
	return w.said, w.keepConcerned(ctx)
}

// trace is one request on its way.
type trace struct {
	objects  index.Objects
	base     route.Settings
	local    bool // endpoints may be route.LocalPrefixes
	question Question
	gateway  route.Gateway
	classes  []*networkingv1.IngressClass // all that there are
	settings route.Settings
	// server is the host that serves the server name of the connection; nil: none,
	// or no TLS.
	chain route.Chain
	said  *Explanation
}

// choose finds the gateway of the question, and its settings.
func (w *trace) choose(ctx context.Context) error {
	var err error
	if w.classes, err = w.objects.AllClasses(ctx); err != nil {
		return err
	}
	if w.objects.Controller, w.gateway, err = w.gatewayOf(ctx); err != nil {
		return err
	}
	classes, err := w.objects.Classes(ctx)
	if err != nil {
		return err
	}
	configured := &gatewayconfig.Reconciler{Objects: w.objects, Base: w.base}
	settings, problems, err := configured.Build(ctx, w.gateway)
	if err != nil {
		return fmt.Errorf("read the settings of gateway %s: %w", w.gateway, err)
	}
	if settings == nil {
		return fmt.Errorf("there is no gateway %q; there are: %s", w.gateway, w.all(classes))
	}
	w.settings = *settings
	w.said.Gateway = string(w.gateway)
	if !w.objects.Controller.Owns(route.ControllerName) {
		w.said.Controller = w.objects.Controller.String()
	}
	w.said.Problems = append(w.said.Problems, problems...)
	return nil
}

// gatewayOf returns the gateway that the question names, or else the one that
// serves the host, and the Controller whose gateway it is.
func (w *trace) gatewayOf(ctx context.Context) (route.Controller, route.Gateway, error) {
	controllers := w.question.controllers(w.classes)
	if name := w.question.Class; name != "" && w.question.Gateway == "" {
		return w.gatewayOfClass(ctx, name, controllers)
	}
	serving, err := w.serving(ctx, controllers)
	if err != nil {
		return "", "", err
	}
	switch len(serving) {
	case 0:
		return controllers[0], cmp.Or(w.question.Gateway, route.DefaultGateway), nil
	case 1:
		return serving[0].controller, serving[0].gateway, nil
	default:
		return "", "", &AmbiguousError{Host: w.question.Request.Authority, Gateways: serving}
	}
}

// serving returns the gateways that serve the host of the question. If it names a
// gateway, that is the only one, and also counts if it does not serve the host but
// exists for one Controller alone.
func (w *trace) serving(ctx context.Context, controllers []route.Controller) ([]gatewayOf, error) {
	var serving, named []gatewayOf
	probe := route.Request{Authority: w.question.Request.Authority, Target: "/"} // for the host, whatever the path
	for _, controller := range controllers {
		w.objects.Controller = controller
		classes, err := w.objects.Classes(ctx)
		if err != nil {
			return nil, err
		}
		for _, gateway := range classes.Gateways() {
			if w.question.Gateway != "" && gateway != w.question.Gateway {
				continue
			}
			named = append(named, gatewayOf{controller, gateway})
			trace, err := w.trace(ctx, gateway, w.base, probe)
			if err != nil {
				return nil, err
			}
			if trace.Served != nil {
				serving = append(serving, gatewayOf{controller, gateway})
			}
		}
	}
	if w.question.Gateway != "" && len(serving) == 0 && len(named) > 0 {
		return named[:1], nil
	}
	return serving, nil
}

// gatewayOfClass returns the gateway of an IngressClass.
func (w *trace) gatewayOfClass(ctx context.Context, name string, controllers []route.Controller) (route.Controller, route.Gateway, error) {
	if known, err := w.knowsClass(ctx, name); err != nil || !known {
		return "", "", errors.Join(err, fmt.Errorf("there is no IngressClass %q, and no Ingress names it", name))
	}
	probe := &networkingv1.Ingress{Spec: networkingv1.IngressSpec{IngressClassName: &name}}
	for _, controller := range controllers {
		w.objects.Controller = controller
		classes, err := w.objects.Classes(ctx)
		if err != nil {
			return "", "", err
		}
		if gateway, ours := classes.Gateway(probe); ours {
			return controller, gateway, nil
		}
	}
	return "", "", fmt.Errorf("%q is no IngressClass of Fairway's%s", name, w.ownerOf(name))
}

// gatewayOf is a gateway and the Controller of its classes: two installations may have
// gateways of one name.
type gatewayOf struct {
	controller route.Controller
	gateway    route.Gateway
}

// String returns the gateway's name, with the Controller if that is not the usual one.
func (g gatewayOf) String() string {
	if g.controller.Owns(route.ControllerName) {
		return string(g.gateway)
	}
	return fmt.Sprintf("%s of controller %s", g.gateway, g.controller)
}

// all lists the gateways of the chosen Controller.
func (w *trace) all(classes route.Classes) string {
	var all []gatewayOf
	for _, gateway := range classes.Gateways() {
		all = append(all, gatewayOf{w.objects.Controller, gateway})
	}
	return list(all)
}

// ownerOf says which controller an IngressClass belongs to, and which installations
// serve that; empty: there is no such IngressClass.
func (w *trace) ownerOf(name string) string {
	for _, class := range w.classes {
		if class.Name != name {
			continue
		}
		owner := route.Controller(class.Spec.Controller)
		said := fmt.Sprintf(": it belongs to controller %q", class.Spec.Controller)
		if its := w.question.Known[owner]; len(its) > 0 {
			said += fmt.Sprintf(", which installation %s serves: ask with --controller-value %s", strings.Join(its, ", "), owner)
		}
		return said
	}
	return ""
}

// knowsClass reports whether the IngressClass exists, or at least an Ingress names
// it. Without that check any name would do where there are no classes at all, as
// in files.
func (w *trace) knowsClass(ctx context.Context, name string) (bool, error) {
	classes, err1 := w.objects.AllClasses(ctx)
	ingresses, err2 := w.objects.Ingresses(ctx)
	named := slices.ContainsFunc(classes, func(class *networkingv1.IngressClass) bool { return class.Name == name }) ||
		slices.ContainsFunc(ingresses, func(ing *networkingv1.Ingress) bool {
			return ing.Spec.IngressClassName != nil && *ing.Spec.IngressClassName == name
		})
	return named, errors.Join(err1, err2)
}

// AmbiguousError says that several gateways serve a host.
type AmbiguousError struct {
	Host     string
	Gateways []gatewayOf
}

// Error names the gateways.
func (e *AmbiguousError) Error() string {
	flags := "--gateway or --class"
	if slices.ContainsFunc(e.Gateways, func(g gatewayOf) bool { return g.controller != e.Gateways[0].controller }) {
		flags = "--controller-value, --gateway or --class"
	}
	return fmt.Sprintf("%s is served by several gateways: %s; say which with %s", e.Host, list(e.Gateways), flags)
}

// follow takes the request to its end, also if the client is redirected to another
// path or to HTTPS.
func (w *trace) follow(ctx context.Context) error {
	request := w.question.Request
	if !w.listens(request) {
		return nil
	}
	if ended, err := w.handshake(ctx, request); ended || err != nil {
		return err
	}
	trace, err := w.trace(ctx, w.gateway, w.settings, request.sent())
	if raw := request.unescaped(); raw != "" {
		w.said.Path = &Path{Steps: []string{raw}}
	}
	if err == nil && trace.End == route.EndRedirected {
		w.said.path(trace)
		w.said.Redirect = trace.Path.Path + trace.Path.Query
		request.Target = w.said.Redirect
		trace, err = w.trace(ctx, w.gateway, w.settings, request.sent())
	}
	if err != nil {
		return err
	}
	w.said.path(trace)
	if w.secures(request, trace) {
		w.said.secured(request.secured(w.settings.PublicHTTPS(), trace.Forwarded()+trace.Path.Query))
		if name, sent, ok := request.anew().serverName(); ok && trace.Served.Passthrough == nil {
			if _, err := w.present(ctx, name, sent, trace.Served); err != nil {
				return err
			}
		}
	}
	w.said.host(trace)
	w.said.End, w.said.Status = trace.End, trace.Status
	if ends := w.connect(request, trace); !ends && len(trace.Matching) > 0 {
		if err := w.arrive(ctx, trace); err != nil {
			return err
		}
	}
	return w.conclude(ctx, trace)
}

// secures reports whether the client is redirected to HTTPS, where the same route
// takes its request.
func (w *trace) secures(request Request, trace route.Trace) bool {
	if request.Scheme != "http" || w.settings.HTTPSPort == 0 || trace.Served == nil {
		return false
	}
	return isForcedToTLS(trace.Served) || len(trace.Matching) > 0 && trace.Matching[0].Redirect
}

// listens reports whether there is a listener for the scheme, and adds it.
func (w *trace) listens(request Request) bool {
	listener := Listener{Name: request.Scheme, Port: w.settings.HTTPPort}
	if request.Scheme == "https" {
		listener.Port = w.settings.HTTPSPort
	}
	if listener.Port == 0 {
		w.said.End = EndNoListener
		w.said.Summary = fmt.Sprintf("Nothing listens for %s on this gateway.", request.Scheme)
		w.said.next("ask for the URL with the other scheme, or configure the gateway to listen")
		return false
	}
	w.said.Listener = &listener
	return true
}

// trace follows a request through a gateway. If that is the chosen gateway, it
// adds what is wrong with the hosts on the way.
func (w *trace) trace(ctx context.Context, gateway route.Gateway, settings route.Settings, request route.Request) (route.Trace, error) {
	hosts := &ingress.Reconciler{Objects: w.objects, LocalBackends: w.base.LocalBackends}
	var failed error
	find := func(name route.Hostname) *route.Host {
		host, problems, err := hosts.Build(ctx, route.Key{Gateway: gateway, Host: name})
		failed = errors.Join(failed, err)
		if gateway == w.gateway {
			w.said.Problems = append(w.said.Problems, problems...)
		}
		return host
	}
	trace := route.Explain(settings, find, request)
	return trace, failed
}

// arrive adds the route that takes the request, and its backend.
func (w *trace) arrive(ctx context.Context, trace route.Trace) error {
	ingresses, err := ingress.Of(ctx, w.objects, trace.Served.Key)
	if err != nil {
		return err
	}
	for i, r := range trace.Matching {
		described := routeOf(r, trace.Served.Key.Host, ingresses)
		if i == 0 {
			described.Why = why(trace.Matching)
			w.said.Route = &described
			continue
		}
		w.said.Others = append(w.said.Others, described)
	}
	cluster := trace.Matching[0].Cluster
	if trace.Served.Passthrough != nil {
		cluster = trace.Served.Passthrough
	}
	if cluster == nil {
		return nil
	}
	w.said.Backend = backendOf(*cluster)
	if cluster.DNS != "" {
		return nil
	}
	return w.endpoints(ctx, cluster.Port)
}

// endpoints adds the endpoints of a Service port.
func (w *trace) endpoints(ctx context.Context, port route.ServicePort) error {
	backends := endpoints.New(w.objects, nil, nil, nil)
	backends.LocalBackends = w.local
	_, problems, err := backends.Build(ctx, port)
	if err != nil {
		return err
	}
	w.said.Problems = append(w.said.Problems, problems...)
	service, err1 := w.objects.Service(ctx, port.Service)
	slicesOf, err2 := w.objects.Slices(ctx, port.Service)
	if err := errors.Join(err1, err2); err != nil || service == nil {
		return err
	}
	used := false
	for _, state := range route.ExplainBackend(port, service, slicesOf, w.local) {
		used = used || state.Used
		w.said.Endpoints = append(w.said.Endpoints, endpointOf(state))
	}
	if !used && w.said.End == route.EndForwarded {
		w.said.End, w.said.Status = EndNoEndpoints, 503
	}
	return nil
}

// keepConcerned drops Problems with other paths of the Ingresses on the request's
// way.
func (w *trace) keepConcerned(ctx context.Context) error {
	w.said.Problems = problem.Sort(w.said.Problems)
	ingresses, err := w.objects.Ingresses(ctx)
	if err != nil || w.said.Path == nil {
		return err
	}
	byName := map[problem.Object]*networkingv1.Ingress{}
	for _, ing := range ingresses {
		byName[problem.Object{Kind: "Ingress", Name: client.ObjectKeyFromObject(ing)}] = ing
	}
	w.said.Problems = slices.DeleteFunc(w.said.Problems, func(p problem.Problem) bool {
		ing := byName[p.Object]
		return ing != nil && !route.Concerns(ing, p.Field, w.said.Path.Path)
	})
	return nil
}

func list[G fmt.Stringer](gateways []G) string {
	var names []string
	for _, gateway := range gateways {
		names = append(names, gateway.String())
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}
