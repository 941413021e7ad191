package server

import (
	"bytes"

	"github.com/fairwaynet/fairway/xds/envoy"
	"github.com/fairwaynet/fairway/xds/route"
)

// servicePort is the endpoints of one Service port, which all of its clusters share.
type servicePort struct {
	clusters map[*cluster]struct{}
	eds      *resource
	since    uint64 // sequence number since which eds is kept up to date
	outdated bool   // eds still has the endpoints that are gone
}

// servicePort returns the Service port of that name, and makes it if there is none.
func (g *gateway) servicePort(name route.ServicePort) *servicePort {
	p, ok := g.servicePorts[name]
	if !ok {
		p = &servicePort{clusters: make(map[*cluster]struct{}), eds: g.retainResource(kindEndpoints, envoy.EndpointsName(name))}
		g.servicePorts[name] = p
		if body, ok := g.server.backends[name]; ok {
			g.setResource(kindEndpoints, p.eds.name, body)
		}
	}
	return p
}

// isWanted reports whether the wanted version of some host routes to the port. A
// released version may route to it only until the host's new routes are released.
func (p *servicePort) isWanted() bool {
	for c := range p.clusters {
		if c.wantedBy > 0 {
			return true
		}
	}
	return false
}

// publishBackend makes body the endpoints of a Service port that some cluster of this
// gateway uses, and releases the hosts that waited for them to be known. If the last
// endpoint goes while routes are about to leave the port, Envoy is not told: the old
// endpoint may still serve, and without any endpoint each request would fail.
func (g *gateway) publishBackend(name route.ServicePort, body []byte, known bool) {
	p, ok := g.servicePorts[name]
	switch {
	case !ok:
		return
	case p.eds.exists() && !p.isWanted() && bytes.Equal(body, emptyEndpoints(name)):
		p.outdated = true
		return
	case known && !p.outdated:
		g.setResource(kindEndpoints, p.eds.name, body)
	default:
		g.refreshEndpoints(p, body)
	}
	for c := range p.clusters {
		g.publishCluster(c)
		g.wakeWaiters(c.cds)
	}
}

// refreshEndpoints publishes the endpoints of a port that were not kept up to date for a
// while. No route moves to it before Envoy has them.
func (g *gateway) refreshEndpoints(p *servicePort, body []byte) {
	p.outdated = false
	p.since = g.setResource(kindEndpoints, p.eds.name, body).seq
}

// emptyEndpoints is the EDS resource of a Service port without endpoints.
func emptyEndpoints(port route.ServicePort) []byte {
	return envoy.Endpoints(route.Backend{Port: port}).Body
}
