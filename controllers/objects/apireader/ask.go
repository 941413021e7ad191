package apireader

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// answers are what the API server has said about a namespace.
type answers struct {
	begun     time.Time
	ingresses map[string]ingress
	services  map[string]*corev1.Service // nil: there is none
	slices    map[string][]*discoveryv1.EndpointSlice
	// allServices and allSlices say that the maps are complete: what is missing
	// does not exist.
	allServices, allSlices bool
}

func newAnswers(now time.Time) *answers {
	return &answers{
		begun: now, ingresses: map[string]ingress{}, services: map[string]*corev1.Service{},
		slices: map[string][]*discoveryv1.EndpointSlice{},
	}
}

// ingress is an answer about an Ingress.
type ingress struct {
	object  *networkingv1.Ingress // nil: there is none
	against string                // the version that the cache had then
}

// isNewer reports whether the answer is at least as new as what the cache has.
func (i ingress) isNewer(cached *networkingv1.Ingress) bool {
	version := versionOf(cached)
	return version == i.against || i.object != nil && version == versionOf(i.object)
}

func versionOf(object client.Object) string {
	return string(object.GetUID()) + "/" + object.GetResourceVersion()
}

// Backends returns the Ingresses of one namespace, and the Services that they
// want, as the API server has them. cached are the Ingresses as the caches have
// them. wanted is called for each Ingress that exists. What does not exist is left
// out.
func (a *Reader) Backends(
	ctx context.Context, namespace string, cached []*networkingv1.Ingress, wanted func(*networkingv1.Ingress) []string,
) ([]*networkingv1.Ingress, map[string]*corev1.Service, error) {
	known, err := a.enter(namespace)
	if err != nil {
		return nil, nil, err
	}
	defer a.leave(namespace)
	if err := a.ingresses(ctx, namespace, known, cached); err != nil {
		return nil, nil, err
	}
	var fresh []*networkingv1.Ingress
	var names []string
	for _, c := range cached {
		if object := known.ingresses[c.Name].object; object != nil {
			fresh = append(fresh, object)
			names = append(names, wanted(object)...)
		}
	}
	if err := a.services(ctx, namespace, known, names); err != nil {
		return nil, nil, err
	}
	services := map[string]*corev1.Service{}
	for _, name := range names {
		if service := known.services[name]; service != nil {
			services[name] = service
		}
	}
	return fresh, services, nil
}

// ingresses asks for the Ingresses of which no answer is as new as the cache. If
// there are many, it compares versions first, because most will not have changed.
func (a *Reader) ingresses(ctx context.Context, namespace string, known *answers, cached []*networkingv1.Ingress) error {
	var ask []*networkingv1.Ingress
	for _, c := range cached {
		if last, ok := known.ingresses[c.Name]; !ok || !last.isNewer(c) {
			ask = append(ask, c)
		}
	}
	if len(ask) == 0 {
		return nil
	}
	// What was said of Services is older than what will be said of the Ingresses.
	clear(known.services)
	known.allServices = false
	if len(ask) > few {
		var err error
		if ask, err = a.changed(ctx, namespace, known, ask); err != nil {
			return err
		}
	}
	for _, c := range ask {
		object := &networkingv1.Ingress{}
		found, err := a.get(ctx, client.ObjectKeyFromObject(c), object)
		if err != nil {
			return err
		}
		if !found {
			object = nil
		}
		known.ingresses[c.Name] = ingress{object, versionOf(c)}
	}
	return nil
}

// changed returns the Ingresses that differ from what the cache has.
func (a *Reader) changed(
	ctx context.Context, namespace string, known *answers, cached []*networkingv1.Ingress,
) ([]*networkingv1.Ingress, error) {
	list := &metav1.PartialObjectMetadataList{}
	list.SetGroupVersionKind(networkingv1.SchemeGroupVersion.WithKind("IngressList"))
	if err := a.list(ctx, namespace, list); err != nil {
		return nil, err
	}
	versions := map[string]string{}
	for i := range list.Items {
		versions[list.Items[i].Name] = versionOf(&list.Items[i])
	}
	var left []*networkingv1.Ingress
	for _, c := range cached {
		switch versions[c.Name] {
		case "":
			known.ingresses[c.Name] = ingress{nil, versionOf(c)}
		case versionOf(c):
			known.ingresses[c.Name] = ingress{c, versionOf(c)}
		default:
			left = append(left, c)
		}
	}
	return left, nil
}

// services asks for the Services of which nothing is known.
func (a *Reader) services(ctx context.Context, namespace string, known *answers, names []string) error {
	ask := map[string]bool{}
	for _, name := range names {
		if _, ok := known.services[name]; !ok && !known.allServices {
			ask[name] = true
		}
	}
	if len(ask) > few {
		list := &corev1.ServiceList{}
		if err := a.list(ctx, namespace, list); err != nil {
			return err
		}
		for i := range list.Items {
			known.services[list.Items[i].Name] = &list.Items[i]
		}
		known.allServices = true
		return nil
	}
	for name := range ask {
		object := &corev1.Service{}
		found, err := a.get(ctx, types.NamespacedName{Namespace: namespace, Name: name}, object)
		if err != nil {
			return err
		}
		if !found {
			object = nil
		}
		known.services[name] = object
	}
	return nil
}

// Slices returns the EndpointSlices of a Service as the API server has them.
func (a *Reader) Slices(ctx context.Context, service types.NamespacedName) ([]*discoveryv1.EndpointSlice, error) {
	known, err := a.enter(service.Namespace)
	if err != nil {
		return nil, err
	}
	defer a.leave(service.Namespace)
	if slices, ok := known.slices[service.Name]; ok || known.allSlices {
		return slices, nil
	}
	list := &discoveryv1.EndpointSliceList{}
	var options []client.ListOption
	all := len(known.slices) >= few
	if !all {
		options = append(options, client.MatchingLabels{discoveryv1.LabelServiceName: service.Name})
		known.slices[service.Name] = nil
	}
	if err := a.list(ctx, service.Namespace, list, options...); err != nil {
		delete(known.slices, service.Name)
		return nil, err
	}
	for i := range list.Items {
		slice := &list.Items[i]
		of := slice.Labels[discoveryv1.LabelServiceName]
		known.slices[of] = append(known.slices[of], slice)
	}
	known.allSlices = all
	return known.slices[service.Name], nil
}

// get reads an object, and reports whether it exists.
func (a *Reader) get(ctx context.Context, name types.NamespacedName, object client.Object) (found bool, err error) {
	err = a.request(ctx, name.Namespace, func(ctx context.Context) error { return a.reader.Get(ctx, name, object) })
	switch {
	case apierrors.IsNotFound(err):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("ask for %T %s: %w", object, name, err)
	}
	return true, nil
}
