package index_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairwaynet/fairway/controllers/objects/index"
	"github.com/fairwaynet/fairway/xds/route"
)

// away is a cache that cannot be read.
type away struct{ client.Client }

var errAway = errors.New("the cache is not there")

func (away) Get(context.Context, client.ObjectKey, client.Object, ...client.GetOption) error {
	return errAway
}

func (away) List(context.Context, client.ObjectList, ...client.ListOption) error { return errAway }

// namespacesAway is a cache that cannot read Namespaces.
type namespacesAway struct{ client.Client }

func (namespacesAway) Get(context.Context, client.ObjectKey, client.Object, ...client.GetOption) error {
	return errAway
}

func TestACacheThatCannotBeReadIsAnErrorThatSaysWhatWasDone(t *testing.T) {
	ctx, o := t.Context(), index.Objects{Cluster: away{}}
	class := &networkingv1.IngressClass{}
	second := func(_ any, err error) error { return err }
	for want, err := range map[string]error{
		"list ingress classes":           errors.Join(second(o.Classes(ctx)), second(o.AllClasses(ctx)), second(o.NamedGateways(ctx)), second(o.ClassesOfGateway(ctx, "g")), second(o.Asks(ctx))),
		"list ingresses":                 errors.Join(second(o.Ingresses(ctx)), second(o.IngressesOfClass(ctx, class)), second(o.IngressesOfHost(ctx, "h"))),
		"list services":                  errors.Join(second(o.ServicesWithAuthority(ctx)), second(o.ServicesOfAuthority(ctx, route.SystemAuthority()))),
		"list endpoint slices of shop/a": second(o.Slices(ctx, in("shop", "a"))),
		"list issuers":                   second(o.Issuers(ctx)),
		"list cluster gateway configs":   second(o.Configs(ctx)),
		"get ingress shop/a":             second(o.Ingress(ctx, in("shop", "a"))),
		"get service shop/a":             second(o.Service(ctx, in("shop", "a"))),
		"get secret shop/a":              second(o.Secret(ctx, in("shop", "a"))),
		"get issuer a":                   second(o.Issuer(ctx, "a")),
	} {
		for line := range strings.SplitSeq(fmt.Sprint(err), "\n") {
			if !errors.Is(err, errAway) || line != want+": "+errAway.Error() {
				t.Errorf("error %q, want %s", line, want)
			}
		}
	}
	o = objectsOf(t, named)
	o.Cluster, o.Namespaces = namespacesAway{o.Cluster.(client.Client)}, labels.Everything()
	if found, err := o.Ingresses(ctx); found != nil || !errors.Is(err, errAway) || !strings.HasPrefix(err.Error(), "get namespace ") {
		t.Errorf("with Namespaces that cannot be read: %v, %v", found, err)
	}
}

// unindexed is a cache that has been started already.
type unindexed struct{}

func (unindexed) IndexField(context.Context, client.Object, string, client.IndexerFunc) error {
	return errAway
}

func TestAnIndexThatCannotBeMadeIsNamed(t *testing.T) {
	err := index.Register(t.Context(), unindexed{})
	if !errors.Is(err, errAway) || !strings.HasPrefix(err.Error(), "index *v1.Ingress by fairway.host: ") {
		t.Errorf("error %v", err)
	}
}
