package index

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairwaynet/fairway/xds/route"
)

// authorityField is the field by which Services with an Authority are found. Its
// values are the Authority's text and anyAuthority.
const authorityField = "fairway.authority"

// anyAuthority cannot be the text of an Authority.
const anyAuthority = "-"

func authoritiesOf(object client.Object) []string {
	authority := route.AuthorityOf(object.(*corev1.Service))
	if authority == (route.Authority{}) {
		return nil
	}
	return []string{authority.String(), anyAuthority}
}

// ServicesOfAuthority returns the Services that name the Authority.
func (o Objects) ServicesOfAuthority(ctx context.Context, authority route.Authority) ([]*corev1.Service, error) {
	return o.servicesOf(ctx, authority.String())
}

// ServicesWithAuthority returns the Services that name any Authority.
func (o Objects) ServicesWithAuthority(ctx context.Context) ([]*corev1.Service, error) {
	return o.servicesOf(ctx, anyAuthority)
}

func (o Objects) servicesOf(ctx context.Context, authority string) ([]*corev1.Service, error) {
	var list corev1.ServiceList
	if err := o.Cluster.List(ctx, &list, client.MatchingFields{authorityField: authority}, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("list services: %w", err)
	}
	return pointers(list.Items), nil
}
