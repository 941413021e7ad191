package ingress

import (
	"slices"
	"sync"

	"github.com/fairwaynet/fairway/xds/route"
)

// ledger remembers on which gateways a host is published, or has Problems. It is
// no input of what is published, only of what is looked at again: when a class
// goes, or moves to another gateway, no object names the old one any more. The
// zero value is empty.
type ledger struct {
	mu       sync.Mutex
	gateways map[route.Hostname][]route.Gateway
}

func (l *ledger) note(key route.Key, known bool) {
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
		delete(l.gateways, key.Host)
		return
	}
	if l.gateways == nil {
		l.gateways = map[route.Hostname][]route.Gateway{}
	}
	l.gateways[key.Host] = gateways
}

// of is the gateways that know the host.
func (l *ledger) of(host route.Hostname) []route.Gateway {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.gateways[host])
}
