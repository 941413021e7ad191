package server

import (
	"time"

	"github.com/fairwaynet/fairway/api/shrink"
	"github.com/fairwaynet/fairway/xds/envoy"
	"github.com/fairwaynet/fairway/xds/route"
)

// cluster is one cluster of a gateway. It is published while a version of some host
// names it, and for Options.ClusterGrace after that.
type cluster struct {
	value    route.Cluster
	refs     int // versions that name it
	wantedBy int // hosts whose wanted version names it
	cds      *resource
	port     *servicePort // nil when Envoy resolves it by DNS
	// caSecret is the secret of its CA; nil: it is not verified.
	caSecret    *resource
	refused     string // Envoy's message
	removeTimer *time.Timer
	dnsTimer    *time.Timer // of a cluster by DNS, since every Envoy has ACKed it
	dnsReady    bool
}

// acquireCluster returns the cluster of value with a further reference. It publishes the
// cluster as soon as its endpoints are known.
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

// releaseCluster gives a reference back. A cluster that stays without a reference for
// Options.ClusterGrace is removed.
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

// removeCluster removes an unused cluster, and its endpoints if no other cluster shares
// them. Envoys are only told of the cluster: they unsubscribe from the endpoints
// themselves.
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

// publishCluster publishes a cluster that is not published yet. It does not if an Envoy
// has refused the cluster, or if its endpoints are not known: Envoy would wait for them.
func (g *gateway) publishCluster(c *cluster) {
	if !c.cds.exists() && c.refused == "" && (c.port == nil || c.port.eds.exists()) {
		g.renderCluster(c)
	}
}

// renderCluster publishes the CDS resource of a cluster.
func (g *gateway) renderCluster(c *cluster) {
	g.setResource(kindCluster, c.cds.name, envoy.Cluster(c.value, g.settings).Body)
}

// clusterWanted notes that the wanted version of a further host names c.
func (g *gateway) clusterWanted(c *cluster) {
	c.wantedBy++
	if c.port == nil || !c.port.outdated {
		return
	}
	if body, known := g.server.backends[c.value.Port]; known {
		g.refreshEndpoints(c.port, body)
	}
}

// isReady reports whether routes may name c: every synced Envoy holds it with its
// endpoints, so that it is warm and not only accepted.
func (g *gateway) isReady(c *cluster) bool {
	if !c.cds.exists() || !g.allHold(c.cds) || c.caSecret != nil && !g.allHold(c.caSecret) {
		return false
	}
	if c.port != nil {
		// The endpoints of a cluster in its grace period may not be kept up to date
		// any more.
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

// addWaiter has h advanced when something of c is ACKed.
func (c *cluster) addWaiter(h *host) {
	c.cds.addWaiter(h)
	if c.caSecret != nil {
		c.caSecret.addWaiter(h)
	}
	if c.port != nil {
		c.port.eds.addWaiter(h)
	}
}
