package order

import (
	"context"
	"slices"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/fairwaynet/fairway/api/v1alpha1"
	"github.com/fairwaynet/fairway/controllers/objects/index"
	"github.com/fairwaynet/fairway/xds/route"
)

// gather returns all that decides what is ordered for a key, except the Secret.
func gather(ctx context.Context, from index.Objects, key Key) (Objects, error) {
	asks, err := from.Asks(ctx)
	if err != nil {
		return Objects{}, err
	}
	ingresses, err := from.IngressesOfSecret(ctx, key)
	if err != nil {
		return Objects{}, err
	}
	found := Objects{Controller: from.Controller, Rivals: map[route.Key][]*networkingv1.Ingress{}, Issuers: map[string]*v1alpha1.Issuer{}}
	for _, ing := range ingresses {
		r := Request{IssuerRequest: asks.Of(ing), Ingress: ing}
		if r.Gateway == "" || r.Issuer == "" {
			continue
		}
		found.Requests = append(found.Requests, r)
		if err := found.addRivals(ctx, from, asks, key, r); err != nil {
			return Objects{}, err
		}
		issuer, err := from.Issuer(ctx, r.Issuer)
		if err != nil {
			return Objects{}, err
		}
		if issuer != nil {
			found.Issuers[r.Issuer] = issuer
		}
	}
	return found, nil
}

// addRivals finds the other Ingresses that want the names which a Request wants in
// the Secret.
func (o *Objects) addRivals(ctx context.Context, from index.Objects, asks index.IssuerRequests, key Key, r Request) error {
	for _, host := range route.TLSNamesBySecret(r.Ingress, key.Name) {
		name := route.Key{Gateway: r.Gateway, Host: host}
		if _, known := o.Rivals[name]; known {
			continue
		}
		all, err := from.IngressesOfTLS(ctx, host)
		if err != nil {
			return err
		}
		o.Rivals[name] = slices.DeleteFunc(all, func(ing *networkingv1.Ingress) bool { return asks.Of(ing).Gateway != r.Gateway })
	}
	return nil
}

// keysOf returns the Secrets on which an Ingress has a bearing: those that it
// names, and those by which others want a certificate for one of its names.
func keysOf(ctx context.Context, from index.Objects, ing *networkingv1.Ingress) ([]Key, error) {
	keys := route.SecretsOf(ing)
	for _, name := range route.TLSNamesOf(ing) {
		rivals, err := from.IngressesOfTLS(ctx, name)
		if err != nil {
			return keys, err
		}
		for _, rival := range rivals {
			for _, secret := range route.SecretsOf(rival) {
				if secret.Namespace != ing.Namespace && slices.Contains(route.TLSNamesBySecret(rival, secret.Name), name) {
					keys = append(keys, secret)
				}
			}
		}
	}
	return unique(keys), nil
}

func secretsOf(ing *networkingv1.Ingress) []Key { return route.SecretsOf(ing) }

func unique(keys []Key) []Key {
	seen := make(map[types.NamespacedName]bool, len(keys))
	return slices.DeleteFunc(keys, func(key Key) bool {
		was := seen[key]
		seen[key] = true
		return was
	})
}
