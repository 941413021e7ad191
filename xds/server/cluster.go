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
	value  route.Cluster
	refs   int // versions that name it
	wanted int // hosts whose wanted version names it
	cds    *resource
	port   *port // nil when Envoy resolves it by DNS
	// authority is the secret of who vouches for it; nil: nobody has to.
	authority *resource
	refused   string // Envoy's message
	retire    *time.Timer
	settle    *time.Timer // of a cluster by DNS, once every Envoy has accepted it
	settled   bool
}

// port is the endpoints of one Service port, which all its clusters share.
type port struct {
	clusters map[*cluster]struct{}
	eds      *resource
	since    uint64 // the change of eds since when somebody keeps it up to date
	outdated bool   // eds is what it was before its endpoints went
}

// acquire returns the cluster of value with a reference more, and publishes it
// as soon as its endpoints are known.
func (g *gateway) acquire(value route.Cluster) *cluster {
	c, ok := g.clusters[value]
	if !ok {
		c = &cluster{value: value, cds: g.hold(kindCluster, envoy.ClusterName(value))}
		c.cds.cluster = c
		g.clusters[value] = c
		if value.DNS == "" {
			c.port = g.port(value.Port)
			c.port.clusters[c] = struct{}{}
		}
		g.vouchFor(c)
	}
	c.refs++
	if c.retire != nil {
		c.retire.Stop()
		c.retire = nil
	}
	g.introduce(c)
	return c
}

// release gives a reference back. The cluster goes when nobody has taken one
// for the time of Options.Grace.
func (g *gateway) release(c *cluster) {
	c.refs--
	if c.refs > 0 {
		return
	}
	c.retire = g.server.after(g.server.options.Grace, func() {
		if c.refs == 0 && g.clusters[c.value] == c {
			g.remove(c)
		}
	})
}

// remove takes an unused cluster out of the picture, and its endpoints when no
// other cluster shares them. Envoys are told of the cluster only: they
// unsubscribe from the endpoints themselves.
func (g *gateway) remove(c *cluster) {
	shrink.Delete(&g.clusters, c.value)
	if c.settle != nil {
		c.settle.Stop()
	}
	c.cds.cluster = nil
	g.set(kindCluster, c.cds.name, nil)
	g.unhold(c.cds)
	g.vouchNoMore(c)
	if c.port == nil {
		return
	}
	delete(c.port.clusters, c)
	if len(c.port.clusters) == 0 {
		shrink.Delete(&g.ports, c.value.Port)
		g.set(kindEndpoints, c.port.eds.name, nil)
		g.unhold(c.port.eds)
	}
}

// port returns the Service port of that name, made if need be.
func (g *gateway) port(name route.ServicePort) *port {
	p, ok := g.ports[name]
	if !ok {
		p = &port{clusters: make(map[*cluster]struct{}), eds: g.hold(kindEndpoints, envoy.EndpointsName(name))}
		g.ports[name] = p
		if body, ok := g.server.backends[name]; ok {
			g.set(kindEndpoints, p.eds.name, body)
		}
	}
	return p
}

// isWanted reports whether some host wants to be routed to the port, other than
// only until its new routes are released.
func (p *port) isWanted() bool {
	for c := range p.clusters {
		if c.wanted > 0 {
			return true
		}
	}
	return false
}

// wanted notes that a host wants c, and not only has routes that name it.
func (g *gateway) wanted(c *cluster) {
	c.wanted++
	if c.port == nil || !c.port.outdated {
		return
	}
	if body, known := g.server.backends[c.value.Port]; known {
		g.refresh(c.port, body)
	}
}

// refresh brings the endpoints of a port, which nobody kept up to date for a
// while, to what they are. No route moves to it before Envoy has them.
func (g *gateway) refresh(p *port, body []byte) {
	p.outdated = false
	p.since = g.set(kindEndpoints, p.eds.name, body).seq
}

// introduce publishes a cluster that is not published yet, unless Envoy refuses
// it or its endpoints are not known: Envoy would wait for them.
func (g *gateway) introduce(c *cluster) {
	if !c.cds.exists() && c.refused == "" && (c.port == nil || c.port.eds.exists()) {
		g.render(c)
	}
}

// render publishes the CDS resource of a cluster.
func (g *gateway) render(c *cluster) {
	g.set(kindCluster, c.cds.name, envoy.Cluster(c.value, g.settings).Body)
}

// publishBackend makes body the endpoints of a Service port that some cluster
// of this gateway uses, and releases what waited for them to be known. When the
// last endpoint goes while routes are about to leave the port, Envoy is not told:
// the old endpoint may still serve, and without any each request would fail.
func (g *gateway) publishBackend(name route.ServicePort, body []byte, known bool) {
	p, ok := g.ports[name]
	switch {
	case !ok:
		return
	case p.eds.exists() && !p.isWanted() && bytes.Equal(body, emptyEndpoints(name)):
		p.outdated = true
		return
	case known && !p.outdated:
		g.set(kindEndpoints, p.eds.name, body)
	default:
		g.refresh(p, body)
	}
	for c := range p.clusters {
		g.introduce(c)
		g.progressed(c.cds)
	}
}

// ready reports whether routes may name c: every Envoy that has caught up holds
// it with its endpoints, so that it is not only accepted but warm.
func (g *gateway) ready(c *cluster) bool {
	if !c.cds.exists() || !g.held(c.cds) || c.authority != nil && !g.held(c.authority) {
		return false
	}
	if c.port != nil {
		// A cluster in its grace period may have endpoints that nobody keeps
		// up to date any more.
		_, known := g.server.backends[c.value.Port]
		return known && !c.port.outdated && g.held(c.port.eds) && g.acked(c.port.eds, c.port.since)
	}
	if g.current == 0 || c.settled {
		return true
	}
	if c.settle == nil {
		c.settle = g.server.after(g.server.options.Settle, func() {
			c.settled = true
			g.progressed(c.cds)
		})
	}
	return false
}

// await lets h go on when something becomes known of c.
func (c *cluster) await(h *host) {
	c.cds.await(h)
	if c.authority != nil {
		c.authority.await(h)
	}
	if c.port != nil {
		c.port.eds.await(h)
	}
}
