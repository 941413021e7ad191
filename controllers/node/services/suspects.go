package services

import (
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairwaynet/fairway/api/problem"
	"github.com/fairwaynet/fairway/proxy/service"
)

// identity is a version of an object; the zero value: there is none.
type identity struct {
	UID     types.UID
	Version string
}

func identityOf(o metav1.Object) identity { return identity{o.GetUID(), o.GetResourceVersion()} }

func (i identity) String() string {
	if i == (identity{}) {
		return "none"
	}
	return "version " + i.Version
}

// suspects are what seems to differ.
type suspects struct {
	objects  map[problem.Object]pair
	services map[Key]*service.Service // what was published
}

// pair is what the agent has of an object, and what the API server has.
type pair struct{ here, there identity }

func (s suspects) empty() bool { return len(s.objects)+len(s.services) == 0 }

func (s suspects) differences() []Difference {
	var all []Difference
	for object, p := range s.objects {
		all = append(all, Difference{object, fmt.Sprintf("(the agent has %s, the API server %s)", p.here, p.there)})
	}
	for name := range s.services {
		all = append(all, Difference{problem.Object{Kind: "Service", Name: name}, "(the agent serves something else than it knows)"})
	}
	slices.SortFunc(all, func(a, b Difference) int { return strings.Compare(a.String(), b.String()) })
	return all
}

// compared is a kind of objects that is compared.
type compared struct {
	kind schema.GroupVersionKind
	// cached lists what a cache has.
	cached func(ctx context.Context, objects client.Reader, each func(metav1.Object)) error
}

func comparedKinds() []compared {
	return []compared{
		{corev1.SchemeGroupVersion.WithKind("Service"), func(ctx context.Context, objects client.Reader, each func(metav1.Object)) error {
			var all corev1.ServiceList
			err := objects.List(ctx, &all, client.UnsafeDisableDeepCopy)
			for i := range all.Items {
				each(&all.Items[i])
			}
			return err
		}},
		{discoveryv1.SchemeGroupVersion.WithKind("EndpointSlice"), func(ctx context.Context, objects client.Reader, each func(metav1.Object)) error {
			var all discoveryv1.EndpointSliceList
			err := objects.List(ctx, &all, client.UnsafeDisableDeepCopy)
			for i := range all.Items {
				each(&all.Items[i])
			}
			return err
		}},
	}
}

// here is what the cache has of a kind.
func (c *Comparison) here(ctx context.Context, kind compared) (map[Key]identity, error) {
	all := map[Key]identity{}
	err := kind.cached(ctx, c.Reconciler.Objects, func(o metav1.Object) {
		all[Key{Namespace: o.GetNamespace(), Name: o.GetName()}] = identityOf(o)
	})
	if err != nil {
		return nil, fmt.Errorf("list what is known of kind %s: %w", kind.kind.Kind, err)
	}
	return all, nil
}
