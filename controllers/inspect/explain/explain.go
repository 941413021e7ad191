// Package explain explains what happens to a request for a URL, and why.
//
// It gathers what xds/route.Explain needs, from the same objects and by the same
// Build functions as the controllers, and puts the outcome into words. It asks no
// gateway: it says what Envoy does once Envoy has what the objects ask for. Its
// invariant: an explanation ends where the request does, and unless that is at a
// backend, it says what to do next.
package explain

import (
	"context"
	"errors"
	"fmt"
	"slices"

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
	// MissingSecrets are known not to exist. Whether other Secrets exist that are
	// not among the objects is unknown.
	MissingSecrets map[types.NamespacedName]bool
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
	settings route.Settings
	// server is the host that serves the server name of the connection; nil: none,
	// or no TLS.
	chain route.Chain
	said  *Explanation
}

// choose finds the gateway of the question, and its settings.
func (w *trace) choose(ctx context.Context) error {
	classes, err := w.objects.Classes(ctx)
	if err != nil {
		return err
	}
	if w.gateway, err = w.gatewayOf(ctx, classes); err != nil {
		return err
	}
	configured := &gatewayconfig.Reconciler{Objects: w.objects, Base: w.base}
	settings, problems, err := configured.Build(ctx, w.gateway)
	if err != nil {
		return fmt.Errorf("read the settings of gateway %s: %w", w.gateway, err)
	}
	if settings == nil {
		return fmt.Errorf("there is no gateway %q; there are: %s", w.gateway, list(classes.Gateways()))
	}
	w.settings = *settings
	w.said.Gateway = string(w.gateway)
	w.said.Problems = append(w.said.Problems, problems...)
	return nil
}

// gatewayOf returns the gateway that the question names, or else the one that
// serves the host.
func (w *trace) gatewayOf(ctx context.Context, classes route.Classes) (route.Gateway, error) {
	if w.question.Gateway != "" {
		return w.question.Gateway, nil
	}
	if name := w.question.Class; name != "" {
		if known, err := w.knowsClass(ctx, name); err != nil || !known {
			return "", errors.Join(err, fmt.Errorf("there is no IngressClass %q, and no Ingress names it", name))
		}
		probe := &networkingv1.Ingress{Spec: networkingv1.IngressSpec{IngressClassName: &name}}
		gateway, ours := classes.Gateway(probe)
		if !ours {
			return "", fmt.Errorf("%q is no IngressClass of Fairway's", name)
		}
		return gateway, nil
	}
	var serving []route.Gateway
	probe := route.Request{Authority: w.question.Request.Authority, Target: "/"} // for the host, whatever the path
	for _, gateway := range classes.Gateways() {
		trace, err := w.trace(ctx, gateway, w.base, probe)
		if err != nil {
			return "", err
		}
		if trace.Served != nil {
			serving = append(serving, gateway)
		}
	}
	switch len(serving) {
	case 0:
		return route.DefaultGateway, nil
	case 1:
		return serving[0], nil
	default:
		return "", &AmbiguousError{Host: w.question.Request.Authority, Gateways: serving}
	}
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
	Gateways []route.Gateway
}

// Error names the gateways.
func (e *AmbiguousError) Error() string {
	return fmt.Sprintf("%s is served by several gateways: %s; say which with --gateway or --class", e.Host, list(e.Gateways))
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

func list(gateways []route.Gateway) string {
	text := ""
	for i, gateway := range slices.Sorted(slices.Values(gateways)) {
		if i > 0 {
			text += ", "
		}
		text += string(gateway)
	}
	return text
}
