package server

import (
	"bytes"
	"time"

	"github.com/fairwaynet/fairway/api/shrink"
	"github.com/fairwaynet/fairway/xds/envoy"
	"github.com/fairwaynet/fairway/xds/route"
)

// cluster is one cluster of a gateway. It is published while a version of some
// host names it, and Options.Grace longer.
type cluster struct {
	value    route.Cluster
	refs     int // versions that name it
	wantedBy int // hosts whose wanted version names it
	cds      *resource
	port     *servicePort // nil when Envoy resolves it by DNS
	// authority is the secret of who vouches for it; nil: nobody has to.
	caSecret    *resource
	refused     string // Envoy's message
	removeTimer *time.Timer
	dnsTimer    *time.Timer // of a cluster by DNS, once every Envoy has accepted it
	dnsReady    bool
}

// port is the endpoints of one Service port, which all its clusters share.
type servicePort struct {
	clusters map[*cluster]struct{}
	eds      *resource
	since    uint64 // the change of eds since when somebody keeps it up to date
	outdated bool   // eds is what it was before its endpoints went
}

// acquire returns the cluster of value with a reference more, and publishes it
// as soon as its endpoints are known.
func (g *gateway) acquireCluster(value route.Cluster) *cluster {
	c, ok := g.clusters[value]
	if !ok {
		c = &cluster{value: value, cds: g.retainResource(kindCluster, envoy.ClusterName(value))}
		c.cds.cluster = c
		g.clusters[value] = c
		if value.DNS == "" {
			c.port = g.servicePort(value.Port)
			c.port.clusters[c] = struct{}{}
		}
		g.acquireBackendCA(c)
	}
	c.refs++
	if c.removeTimer != nil {
		c.removeTimer.Stop()
		c.removeTimer = nil
	}
	g.publishCluster(c)
	return c
}

// release gives a reference back. The cluster goes when nobody has taken one
// for the time of Options.Grace.
func (g *gateway) releaseCluster(c *cluster) {
	c.refs--
	if c.refs > 0 {
		return
	}
	c.removeTimer = g.server.after(g.server.options.ClusterGrace, func() {
		if c.refs == 0 && g.clusters[c.value] == c {
			g.removeCluster(c)
		}
	})
}

// remove takes an unused cluster out of the picture, and its endpoints when no
// other cluster shares them. Envoys are told of the cluster only: they
// unsubscribe from the endpoints themselves.
func (g *gateway) removeCluster(c *cluster) {
	shrink.Delete(&g.clusters, c.value)
	if c.dnsTimer != nil {
		c.dnsTimer.Stop()
	}
	c.cds.cluster = nil
	g.setResource(kindCluster, c.cds.name, nil)
	g.releaseResource(c.cds)
	g.releaseBackendCA(c)
	if c.port == nil {
		return
	}
	delete(c.port.clusters, c)
	if len(c.port.clusters) == 0 {
		shrink.Delete(&g.servicePorts, c.value.Port)
		g.setResource(kindEndpoints, c.port.eds.name, nil)
		g.releaseResource(c.port.eds)
	}
}

// port returns the Service port of that name, made if need be.
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

// isWanted reports whether some host wants to be routed to the port, other than
// only until its new routes are released.
func (p *servicePort) isWanted() bool {
	for c := range p.clusters {
		if c.wantedBy > 0 {
			return true
		}
	}
	return false
}

// wanted notes that a host wants c, and not only has routes that name it.
func (g *gateway) clusterWanted(c *cluster) {
	c.wantedBy++
	if c.port == nil || !c.port.outdated {
		return
	}
	if body, known := g.server.backends[c.value.Port]; known {
		g.refreshEndpoints(c.port, body)
	}
}

// refresh brings the endpoints of a port, which nobody kept up to date for a
// while, to what they are. No route moves to it before Envoy has them.
func (g *gateway) refreshEndpoints(p *servicePort, body []byte) {
	p.outdated = false
	p.since = g.setResource(kindEndpoints, p.eds.name, body).seq
}

// introduce publishes a cluster that is not published yet, unless Envoy refuses
// it or its endpoints are not known: Envoy would wait for them.
func (g *gateway) publishCluster(c *cluster) {
	if !c.cds.exists() && c.refused == "" && (c.port == nil || c.port.eds.exists()) {
		g.renderCluster(c)
	}
}

// render publishes the CDS resource of a cluster.
func (g *gateway) renderCluster(c *cluster) {
	g.setResource(kindCluster, c.cds.name, envoy.Cluster(c.value, g.settings).Body)
}

// publishBackend makes body the endpoints of a Service port that some cluster
// of this gateway uses, and releases what waited for them to be known. When the
// last endpoint goes while routes are about to leave the port, Envoy is not told:
// the old endpoint may still serve, and without any each request would fail.
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

// ready reports whether routes may name c: every Envoy that has caught up holds
// it with its endpoints, so that it is not only accepted but warm.
func (g *gateway) isReady(c *cluster) bool {
	if !c.cds.exists() || !g.allHold(c.cds) || c.caSecret != nil && !g.allHold(c.caSecret) {
		return false
	}
	if c.port != nil {
		// A cluster in its grace period may have endpoints that nobody keeps
		// up to date any more.
		_, known := g.server.backends[c.value.Port]
		return known && !c.port.outdated && g.allHold(c.port.eds) && g.allAcked(c.port.eds, c.port.since)
	}
	if g.syncedStreams == 0 || c.dnsReady {
		return true
	}
	if c.dnsTimer == nil {
		c.dnsTimer = g.server.after(g.server.options.DNSGrace, func() {
			c.dnsReady = true
			g.wakeWaiters(c.cds)
		})
	}
	return false
}

// await lets h go on when something becomes known of c.
func (c *cluster) addWaiter(h *host) {
	c.cds.addWaiter(h)
	if c.caSecret != nil {
		c.caSecret.addWaiter(h)
	}
	if c.port != nil {
		c.port.eds.addWaiter(h)
	}
}
