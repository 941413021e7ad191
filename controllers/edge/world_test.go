package edge

import (
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairwaynet/fairway/api/v1alpha1"
	"github.com/fairwaynet/fairway/controllers/objects/index"
	"github.com/fairwaynet/fairway/test/laggingcache"
)

// world is the API server and the cache of the tests.
type world struct{ *laggingcache.World }

func newWorld() *world {
	w := &world{laggingcache.New(
		&networkingv1.Ingress{}, &networkingv1.IngressClass{}, &corev1.Service{}, &discoveryv1.EndpointSlice{}, &corev1.Secret{}, index.Namespace(),
		&v1alpha1.ClusterGatewayConfig{}, &v1alpha1.GatewayConfig{},
	)}
	w.Kind(&corev1.Secret{}).Selects = func(object client.Object) bool {
		return object.(*corev1.Secret).Type == corev1.SecretTypeTLS
	}
	return w
}
