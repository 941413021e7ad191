package index

import (
	"context"
	"errors"
	"fmt"
	"net/url"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	clientscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
	policyv1 "sigs.k8s.io/network-policy-api/apis/v1beta1"

	"github.com/fairwaynet/fairway/api/v1alpha1"
	"github.com/fairwaynet/fairway/xds/route"
)

// Scheme makes a scheme of all kinds that are read: Kubernetes' own, its policies of clusters, and ours.
func Scheme() (*runtime.Scheme, error) {
	scheme := runtime.NewScheme()
	if err := errors.Join(clientscheme.AddToScheme(scheme), policyv1.Install(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		return nil, fmt.Errorf("make scheme: %w", err)
	}
	return scheme, nil
}

// Config is an object of either kind that holds the settings of a gateway.
type Config struct {
	client.Object

	Spec   v1alpha1.GatewayConfigSpec
	Status v1alpha1.GatewayConfigStatus
}

// Configs returns the settings of all gateways that have any. There are none where
// a cluster does not have the custom resources.
func (o Objects) Configs(ctx context.Context) (map[route.Gateway]Config, error) {
	configs := map[route.Gateway]Config{}
	var cluster v1alpha1.ClusterGatewayConfigList
	if err := o.listCustom(ctx, &cluster); err != nil {
		return nil, fmt.Errorf("list cluster gateway configs: %w", err)
	}
	for i := range cluster.Items {
		c := &cluster.Items[i]
		configs[route.ConfiguredBy(client.ObjectKeyFromObject(c))] = Config{c, c.Spec, c.Status}
	}
	var namespaced v1alpha1.GatewayConfigList
	if err := o.listCustom(ctx, &namespaced); err != nil {
		return nil, fmt.Errorf("list gateway configs: %w", err)
	}
	for i := range namespaced.Items {
		c := &namespaced.Items[i]
		configs[route.ConfiguredBy(client.ObjectKeyFromObject(c))] = Config{c, c.Spec, c.Status}
	}
	return configs, nil
}

// listCustom lists a kind that the cluster may not have. A cache of some
// namespaces that does not watch the kind asks the cluster whether it has any. If
// that question gets no answer, the cache has none of the kind.
func (o Objects) listCustom(ctx context.Context, list client.ObjectList) error {
	err := o.Cluster.List(ctx, list, client.UnsafeDisableDeepCopy)
	if unknown := (*cache.ErrResourceNotCached)(nil); errors.As(err, &unknown) || meta.IsNoMatchError(err) || isOfAPIServer(err) {
		return nil
	}
	return err
}

// isOfAPIServer reports whether an error of a cache comes from the API server, or
// from the way to it.
func isOfAPIServer(err error) bool {
	status, failed, away := apierrors.APIStatus(nil), (*apiutil.ErrResourceDiscoveryFailed)(nil), (*url.Error)(nil)
	return errors.As(err, &status) || errors.As(err, &failed) || errors.As(err, &away)
}
