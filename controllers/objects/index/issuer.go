package index

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairwaynet/fairway/api/v1alpha1"
	"github.com/fairwaynet/fairway/xds/route"
)

// IssuerRequests says which Issuer each Ingress asks for its certificates.
type IssuerRequests struct {
	classes  route.Classes
	gateways map[route.Gateway]string
}

// IssuerRequest is what an Ingress asks for.
type IssuerRequest struct {
	Gateway route.Gateway // that serves it; empty: it is not ours
	Issuer  string        // empty: none
	Own     bool          // it names the Issuer itself, not its gateway for it
}

// Asks returns what all Ingresses ask for now.
func (o Objects) Asks(ctx context.Context) (IssuerRequests, error) {
	classes, err := o.Classes(ctx)
	if err != nil {
		return IssuerRequests{}, err
	}
	configs, err := o.Configs(ctx)
	if err != nil {
		return IssuerRequests{}, err
	}
	asks := IssuerRequests{classes: classes, gateways: map[route.Gateway]string{}}
	for gateway, config := range configs {
		if config.Spec.Issuer != nil {
			asks.gateways[gateway] = *config.Spec.Issuer
		}
	}
	return asks, nil
}

// Of returns what ing asks for.
func (a IssuerRequests) Of(ing *networkingv1.Ingress) IssuerRequest {
	gateway, ours := a.classes.Gateway(ing)
	if !ours {
		return IssuerRequest{}
	}
	issuer, own := route.IssuerOf(ing, a.gateways[gateway])
	return IssuerRequest{Gateway: gateway, Issuer: issuer, Own: own}
}

// Issuer returns the Issuer of that name, of any controller; nil if there is none or the cluster does
// not have the kind.
func (o Objects) Issuer(ctx context.Context, name string) (*v1alpha1.Issuer, error) {
	issuer := &v1alpha1.Issuer{}
	err := o.Cluster.Get(ctx, client.ObjectKey{Name: name}, issuer, client.UnsafeDisableDeepCopy)
	unknown := (*cache.ErrResourceNotCached)(nil)
	switch {
	case apierrors.IsNotFound(err), meta.IsNoMatchError(err), errors.As(err, &unknown):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("get issuer %s: %w", name, err)
	}
	return issuer, nil
}

// OwnsIssuer reports whether an Issuer is for this installation, which alone uses it.
func (o Objects) OwnsIssuer(issuer *v1alpha1.Issuer) bool {
	return o.Controller.OwnsIssuer(issuer.Spec.Controller)
}

// Issuers returns all Issuers, of any controller.
func (o Objects) Issuers(ctx context.Context) ([]*v1alpha1.Issuer, error) {
	var list v1alpha1.IssuerList
	if err := o.listCustom(ctx, &list); err != nil {
		return nil, fmt.Errorf("list issuers: %w", err)
	}
	return pointers(list.Items), nil
}

// Secret returns the Secret of that name as the cache has it, nil if it has none.
func (o Objects) Secret(ctx context.Context, name types.NamespacedName) (*corev1.Secret, error) {
	secret := &corev1.Secret{}
	switch err := o.Cluster.Get(ctx, name, secret, client.UnsafeDisableDeepCopy); {
	case apierrors.IsNotFound(err):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("get secret %s: %w", name, err)
	}
	return secret, nil
}
