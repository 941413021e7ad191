package ingress

import (
	"context"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/fairwaynet/fairway/controllers/objects/watch"
	"github.com/fairwaynet/fairway/controllers/replicas/replica"
	"github.com/fairwaynet/fairway/xds/route"
)

// observers tell the Tracker of events, one for each kind of object. Without a
// Tracker each is nil.
type observers struct {
	ingress   watch.Observer[*networkingv1.Ingress, route.Key]
	class     watch.Observer[*networkingv1.IngressClass, route.Key]
	namespace watch.Observer[*metav1.PartialObjectMetadata, route.Key]
}

func (r *Reconciler) observers() observers {
	if r.Tracker == nil {
		return observers{}
	}
	return observers{ingress: r.sawIngress, class: r.sawClass, namespace: r.sawNamespace}
}

func (r *Reconciler) sawIngress(ctx context.Context, ingress *networkingv1.Ingress, _ bool, keys []route.Key) {
	r.Tracker.Saw(client.ObjectKeyFromObject(ingress), versionOf(ctx, ingress), keys)
}

func versionOf(ctx context.Context, ingress *networkingv1.Ingress) replica.Version {
	version, err := replica.ParseVersion(ingress.ResourceVersion)
	if err != nil {
		log.FromContext(ctx).Error(err, "an ingress without a version", "object", client.ObjectKeyFromObject(ingress))
	}
	return version
}

// sawClass and sawNamespace tell of a change that decides which gateway serves
// which Ingresses. So the Ingresses that have the keys wait anew.
func (r *Reconciler) sawClass(ctx context.Context, class *networkingv1.IngressClass, gone bool, keys []route.Key) {
	r.sawKeys(ctx, keys)
	r.Tracker.Scope(ClassKind, class.Name, ClassState(class, gone))
}

// ClassKind is the kind under which the Tracker knows IngressClasses.
const ClassKind = "IngressClass"

// ClassState returns the state of an IngressClass for the Tracker.
func ClassState(class *networkingv1.IngressClass, gone bool) string {
	if gone {
		return ""
	}
	return string(class.UID) + "/" + class.ResourceVersion
}

func (r *Reconciler) sawNamespace(
	ctx context.Context, namespace *metav1.PartialObjectMetadata, gone bool, keys []route.Key,
) {
	r.sawKeys(ctx, keys)
	state := ""
	if !gone && r.Objects.Namespaces.Matches(labels.Set(namespace.Labels)) {
		state = string(namespace.UID)
	}
	r.Tracker.Scope("Namespace", namespace.Name, state)
}

func (r *Reconciler) sawKeys(ctx context.Context, keys []route.Key) {
	for _, key := range keys {
		ingresses, err := r.Objects.IngressesOfHost(ctx, key.Host)
		if err != nil {
			log.FromContext(ctx).Error(err, "cannot tell which ingresses a host concerns", "host", key.Host)
		}
		for _, ingress := range ingresses {
			r.Tracker.Concerns(client.ObjectKeyFromObject(ingress), versionOf(ctx, ingress), []route.Key{key})
		}
	}
}
