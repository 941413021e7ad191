package servercert

import (
	"context"
	"fmt"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/fairwaynet/fairway/xds/route"
)

// excuse marks a missing Secret as pending if its Ingress asks an Issuer for the
// certificate: that is no mistake of the user's.
func (r *Reconciler) excuse(
	ctx context.Context, ingresses []*networkingv1.Ingress, uses []route.SecretUse, contents map[types.NamespacedName]content,
) error {
	for _, use := range uses {
		c := contents[use.Secret]
		if c.reason != route.ReasonSecretNotFound {
			continue
		}
		asks, err := r.objects.Asks(ctx)
		if err != nil {
			return err
		}
		for _, ing := range ingresses {
			name := types.NamespacedName{Namespace: ing.Namespace, Name: ing.Name}
			if ask := asks.Of(ing); name == use.Ingress && ask.Issuer != "" {
				c.reason = route.ReasonCertificatePending
				c.fault = fmt.Sprintf("its certificate is to come from Issuer %q", ask.Issuer)
				contents[use.Secret] = c
			}
		}
	}
	return nil
}
