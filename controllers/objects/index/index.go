// Package index finds the objects that concern a reconciler's key, by lookups
// whose cost depends on what they find and not on what exists.
//
// It reads a cache and nothing else. What it returns is shared with that cache and
// must not be changed.
package index

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairwaynet/fairway/xds/route"
)

// The fields by which objects are found. They exist only in the cache.
const (
	hostField    = "fairway.host"
	serviceField = "fairway.service"
	classField   = "fairway.class"
	tlsField     = "fairway.tls"
	secretField  = "fairway.secret"
)

// classAnnotation named the class of an Ingress before spec had a field for it.
const classAnnotation = "kubernetes.io/ingress.class"

// Register adds the indexes that Objects reads. Call it before the cache
// starts.
func Register(ctx context.Context, cache client.FieldIndexer) error {
	for _, index := range []struct {
		object client.Object
		field  string
		values client.IndexerFunc
	}{
		{&networkingv1.Ingress{}, hostField, hostsOf},
		{&networkingv1.Ingress{}, serviceField, servicesOf},
		{&networkingv1.Ingress{}, classField, classesOf},
		{&networkingv1.Ingress{}, tlsField, tlsNamesOf},
		{&networkingv1.Ingress{}, secretField, secretsOf},
		{&discoveryv1.EndpointSlice{}, serviceField, sliceServiceOf},
		{&corev1.Service{}, authorityField, authoritiesOf},
	} {
		if err := cache.IndexField(ctx, index.object, index.field, index.values); err != nil {
			return fmt.Errorf("index %T by %s: %w", index.object, index.field, err)
		}
	}
	return nil
}

func hostsOf(object client.Object) []string {
	var hosts []string
	for _, host := range route.HostsOf(object.(*networkingv1.Ingress)) {
		hosts = append(hosts, string(host))
	}
	return hosts
}

func servicesOf(object client.Object) []string {
	var services []string
	for _, service := range route.ServicesOf(object.(*networkingv1.Ingress)) {
		services = append(services, service.Name)
	}
	return services
}

func tlsNamesOf(object client.Object) []string {
	var names []string
	for _, name := range route.TLSNamesOf(object.(*networkingv1.Ingress)) {
		names = append(names, string(name))
	}
	return names
}

func secretsOf(object client.Object) []string {
	var secrets []string
	for _, secret := range route.SecretsOf(object.(*networkingv1.Ingress)) {
		secrets = append(secrets, secret.Name)
	}
	if ca, named := route.ClientCAOf(object.(*networkingv1.Ingress)); named && !slices.Contains(secrets, ca.Name) {
		secrets = append(secrets, ca.Name)
	}
	return secrets
}

// classesOf returns every class name that could decide who serves the Ingress; the
// index does not decide which one does. Without any it returns noClass: then the
// default class decides.
func classesOf(object client.Object) []string {
	var classes []string
	ingress := object.(*networkingv1.Ingress)
	if name := ingress.Spec.IngressClassName; name != nil {
		classes = append(classes, *name)
	}
	if name, ok := ingress.Annotations[classAnnotation]; ok {
		classes = append(classes, name)
	}
	if classes == nil {
		return []string{noClass}
	}
	return classes
}

// noClass cannot be the name of an IngressClass.
const noClass = "-"

func sliceServiceOf(object client.Object) []string {
	if name := object.GetLabels()[discoveryv1.LabelServiceName]; name != "" {
		return []string{name}
	}
	return nil
}

// Objects finds objects by what a key names.
type Objects struct {
	Scope

	Cluster client.Reader // a cache with the indexes of Register
}

// Classes returns which Ingresses are ours, and which gateways exist.
func (o Objects) Classes(ctx context.Context) (route.Classes, error) {
	classes, err := o.classes(ctx)
	return route.NewClasses(classes, o.classOptions(classes)), err
}

// ClassesOfGateway returns the classes of ours that name the gateway. For an empty
// gateway, it returns those whose parameters name none.
func (o Objects) ClassesOfGateway(ctx context.Context, gateway route.Gateway) ([]*networkingv1.IngressClass, error) {
	all, err := o.classes(ctx)
	options := o.classOptions(all)
	var named []*networkingv1.IngressClass
	for _, class := range all {
		if its, ours := o.Controller.GatewayOf(class); ours && its == gateway && options.Admits(class.Name) {
			named = append(named, class)
		}
	}
	return named, err
}

// SpeaksFor reports whether this installation, of all in the cluster, says of a
// gateway's configuration whether it is accepted.
func (o Objects) SpeaksFor(ctx context.Context, gateway route.Gateway) (bool, error) {
	all, err := o.classes(ctx)
	if o.Controller == route.AnyController {
		return true, err
	}
	if err != nil || o.Controller.Speaker(all, gateway) != o.Controller.String() {
		return false, err
	}
	named, err := o.ClassesOfGateway(ctx, gateway)
	// Classes of our controller that we do not admit are another installation's.
	leftOut := slices.ContainsFunc(all, func(class *networkingv1.IngressClass) bool {
		its, ours := o.Controller.GatewayOf(class)
		return ours && its == gateway
	})
	return len(named) > 0 || !leftOut, err
}

// NamedGateways returns the gateways that classes of ours name, even if those do
// not serve them (see OneGateway).
func (o Objects) NamedGateways(ctx context.Context) ([]route.Gateway, error) {
	all, err := o.classes(ctx)
	var gateways []route.Gateway
	for _, class := range all {
		if gateway, ours := o.Controller.GatewayOf(class); ours {
			gateways = append(gateways, gateway)
		}
	}
	return gateways, err
}

func (o Objects) classOptions(all []*networkingv1.IngressClass) route.ClassOptions {
	return route.ClassOptions{
		Controller: o.Controller,
		ClaimAll:   o.ClaimWithoutClasses && len(all) == 0,
		Only:       o.Scope.Classes,
		OneGateway: o.OneGateway,
	}
}

func (o Objects) classes(ctx context.Context) ([]*networkingv1.IngressClass, error) {
	var list networkingv1.IngressClassList
	if err := o.Cluster.List(ctx, &list, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("list ingress classes: %w", err)
	}
	return pointers(list.Items), nil
}

// AllClasses returns all IngressClasses, of any controller.
func (o Objects) AllClasses(ctx context.Context) ([]*networkingv1.IngressClass, error) {
	return o.classes(ctx)
}

// Ingress returns the Ingress of that name, in scope or not; nil if there is none.
func (o Objects) Ingress(ctx context.Context, name types.NamespacedName) (*networkingv1.Ingress, error) {
	ingress := &networkingv1.Ingress{}
	switch err := o.Cluster.Get(ctx, name, ingress, client.UnsafeDisableDeepCopy); {
	case apierrors.IsNotFound(err):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("get ingress %s: %w", name, err)
	}
	return ingress, nil
}

// Ingresses returns all Ingresses in scope, of any controller.
func (o Objects) Ingresses(ctx context.Context) ([]*networkingv1.Ingress, error) {
	return o.ingresses(ctx)
}

// IngressesOfHost returns those that have rules for the host. For route.AnyHost,
// it returns those that concern the default host.
func (o Objects) IngressesOfHost(ctx context.Context, host route.Hostname) ([]*networkingv1.Ingress, error) {
	return o.ingresses(ctx, client.MatchingFields{hostField: string(host)})
}

// IngressesOfService returns those with a backend that names the Service.
func (o Objects) IngressesOfService(ctx context.Context, service types.NamespacedName) ([]*networkingv1.Ingress, error) {
	return o.ingresses(ctx, client.InNamespace(service.Namespace), client.MatchingFields{serviceField: service.Name})
}

// IngressesOfTLS returns those that want the server name over TLS.
func (o Objects) IngressesOfTLS(ctx context.Context, name route.Hostname) ([]*networkingv1.Ingress, error) {
	return o.ingresses(ctx, client.MatchingFields{tlsField: string(name)})
}

// IngressesOfSecret returns those that name the Secret, in spec.tls or as client
// CA.
func (o Objects) IngressesOfSecret(ctx context.Context, secret types.NamespacedName) ([]*networkingv1.Ingress, error) {
	return o.ingresses(ctx, client.InNamespace(secret.Namespace), client.MatchingFields{secretField: secret.Name})
}

// IngressesOfClass returns those for which the class matters: those that name it,
// and those that name none if it is a default class. With ClaimWithoutClasses the
// existence of any class matters to all.
func (o Objects) IngressesOfClass(ctx context.Context, class *networkingv1.IngressClass) ([]*networkingv1.Ingress, error) {
	if o.ClaimWithoutClasses {
		return o.ingresses(ctx)
	}
	ingresses, err := o.ingresses(ctx, client.MatchingFields{classField: class.Name})
	if err != nil || class.Annotations[networkingv1.AnnotationIsDefaultIngressClass] == "" {
		return ingresses, err
	}
	unclassed, err := o.ingresses(ctx, client.MatchingFields{classField: noClass})
	return append(ingresses, unclassed...), err
}

func (o Objects) ingresses(ctx context.Context, opts ...client.ListOption) ([]*networkingv1.Ingress, error) {
	var list networkingv1.IngressList
	if err := o.Cluster.List(ctx, &list, append(opts, client.UnsafeDisableDeepCopy)...); err != nil {
		return nil, fmt.Errorf("list ingresses: %w", err)
	}
	return o.inScope(ctx, pointers(list.Items))
}

// Slices returns the EndpointSlices of the Service.
func (o Objects) Slices(ctx context.Context, service types.NamespacedName) ([]*discoveryv1.EndpointSlice, error) {
	var list discoveryv1.EndpointSliceList
	err := o.Cluster.List(ctx, &list, client.InNamespace(service.Namespace),
		client.MatchingFields{serviceField: service.Name}, client.UnsafeDisableDeepCopy)
	if err != nil {
		return nil, fmt.Errorf("list endpoint slices of %s: %w", service, err)
	}
	return pointers(list.Items), nil
}

// Service returns the Service of that name, nil if there is none.
func (o Objects) Service(ctx context.Context, name types.NamespacedName) (*corev1.Service, error) {
	service := &corev1.Service{}
	switch err := o.Cluster.Get(ctx, name, service, client.UnsafeDisableDeepCopy); {
	case apierrors.IsNotFound(err):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("get service %s: %w", name, err)
	}
	return service, nil
}

func pointers[T any](items []T) []*T {
	list := make([]*T, len(items))
	for i := range items {
		list[i] = &items[i]
	}
	return list
}
