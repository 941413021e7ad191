// Package hostkeys remembers which keys of a host have something: values that are
// published, or Problems.
//
// It never decides what is published, only what is looked at again. When a class
// goes, or moves to another gateway, no object names the old gateway any more.
package hostkeys

import (
	"context"
	"slices"
	"sync"

	networkingv1 "k8s.io/api/networking/v1"

	"github.com/fairwaynet/fairway/api/shrink"
	"github.com/fairwaynet/fairway/controllers/objects/index"
	"github.com/fairwaynet/fairway/xds/route"
)

// Set belongs to one reconciler. The zero value is empty.
type Set struct {
	mu       sync.Mutex
	gateways map[route.Hostname][]route.Gateway
}

// Note says whether key has something. A run notes that it has before it looks, so
// that an event from then on finds it.
func (l *Set) Note(key route.Key, known bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	gateways := l.gateways[key.Host]
	i := slices.Index(gateways, key.Gateway)
	switch {
	case known == (i >= 0):
		return
	case !known:
		gateways = slices.Delete(gateways, i, i+1)
	default:
		gateways = append(gateways, key.Gateway)
	}
	if len(gateways) == 0 {
		shrink.Delete(&l.gateways, key.Host)
		return
	}
	if l.gateways == nil {
		l.gateways = map[route.Hostname][]route.Gateway{}
	}
	l.gateways[key.Host] = gateways
}

// of returns the gateways that know the host.
func (l *Set) of(host route.Hostname) []route.Gateway {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.gateways[host])
}

// Keys returns the keys of the hosts of the Ingresses, each once. They are on the
// gateways of the Ingresses and on those that know the host: at the time of an
// event, the class that decided before may be gone.
func (l *Set) Keys(
	ctx context.Context, objects index.Objects,
	ingresses []*networkingv1.Ingress, hosts func(*networkingv1.Ingress) []route.Hostname,
) ([]route.Key, error) {
	if len(ingresses) == 0 {
		return nil, nil
	}
	classes, err := objects.Classes(ctx)
	if err != nil {
		return nil, err
	}
	var keys []route.Key
	seen := map[route.Key]bool{}
	add := func(gateway route.Gateway, host route.Hostname) {
		if key := (route.Key{Gateway: gateway, Host: host}); !seen[key] {
			seen[key] = true
			keys = append(keys, key)
		}
	}
	for _, ingress := range ingresses {
		gateway, ours := classes.Gateway(ingress)
		for _, host := range hosts(ingress) {
			if ours {
				add(gateway, host)
			}
			for _, knows := range l.of(host) {
				add(knows, host)
			}
		}
	}
	return keys, nil
}
