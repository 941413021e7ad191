package edge

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/fairwaynet/fairway/api/installation"
	"github.com/fairwaynet/fairway/api/v1alpha1"
	"github.com/fairwaynet/fairway/controllers/assembly"
	"github.com/fairwaynet/fairway/controllers/certificates/servercert"
	"github.com/fairwaynet/fairway/controllers/objects/fieldmanager"
	"github.com/fairwaynet/fairway/controllers/replicas/replica"
	"github.com/fairwaynet/fairway/xds/route"
)

// tracked wraps a reconciler: it tells the Tracker which hosts were reconciled,
// and when each run began.
func (c *Controllers) tracked(hosts reconcile.TypedReconciler[route.Key]) reconcile.TypedReconciler[route.Key] {
	if c.Tracker == nil {
		return hosts
	}
	return reconcile.TypedFunc[route.Key](func(ctx context.Context, key route.Key) (reconcile.Result, error) {
		run := c.Tracker.Begin()
		result, err := hosts.Reconcile(ctx, key)
		if err == nil && result.IsZero() { // else the key comes again
			c.Tracker.Finish(key, run)
		}
		return result, err
	})
}

// beginPass does for the first pass what tracked does for a run. Call the function
// that it returns when the picture is published.
func (c *Controllers) beginPass() (published func()) {
	if c.Tracker == nil {
		return func() {}
	}
	run := c.Tracker.Begin()
	return func() { c.Tracker.FinishAll(run) }
}

// Reads returns what the Controllers read beyond what every cache keeps: whether the
// statuses are of these managers.
func Reads(managers installation.Managers) assembly.Reads {
	addresses, conditions := fieldmanager.Status(managers.Addresses), fieldmanager.Status(managers.Conditions)
	return assembly.Reads{Owners: func(object client.Object, managed []metav1.ManagedFieldsEntry) {
		switch object.(type) {
		case *networkingv1.Ingress:
			addresses.Keep(object, managed)
		case *v1alpha1.Issuer, *v1alpha1.GatewayConfig, *v1alpha1.ClusterGatewayConfig:
			conditions.Keep(object, managed)
		}
	}}
}

// Cached says what a cache keeps of which objects, beyond trim: only the TLS Secrets, and
// the bytes only of those that are served. The Tracker hears of an Ingress before any
// reader of the cache sees it.
func Cached(trimmer *servercert.Trimmer, tracker *replica.Tracker, trim toolscache.TransformFunc) map[client.Object]cache.ByObject {
	return map[client.Object]cache.ByObject{
		&networkingv1.Ingress{}: {Transform: Announcing(tracker, trim)},
		&corev1.Secret{}: {
			Field:     fields.OneTermEqualSelector("type", string(corev1.SecretTypeTLS)),
			Transform: trimmer.Trim,
		},
	}
}

// Announcing wraps trim: it tells the Tracker of each Ingress whose event is on
// its way. A cache transforms all objects of a list before it delivers the first
// event.
func Announcing(tracker *replica.Tracker, trim toolscache.TransformFunc) toolscache.TransformFunc {
	return func(object any) (any, error) {
		if ingress, ok := object.(*networkingv1.Ingress); ok {
			if version, err := replica.ParseVersion(ingress.ResourceVersion); err == nil { // else Saw logs the error when the event comes
				tracker.Coming(client.ObjectKeyFromObject(ingress), version)
			}
		}
		return trim(object)
	}
}

var _ replica.Hosts = Publisher(nil)
