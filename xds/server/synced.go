package server

// updateSynced follows an Envoy that is not synced. Once it holds all clusters it may be
// sent routes. Once it holds those too it is synced, and changes wait for it.
func (s *stream) updateSynced() {
	if s.synced {
		return
	}
	s.hasClusters = s.hasClusters || s.holdsAllClusters()
	if !s.hasClusters || !s.holdsAllRoutes() || !s.holdsAllClusters() {
		return
	}
	g := s.gateway
	s.synced = true
	g.syncedStreams++
	g.server.notifier.envoysChanged(g.name)
	if g.syncedStreams == 1 {
		for _, h := range g.hosts {
			h.reported = nil
		}
		g.advanceAll()
	}
}

// holdsAllClusters reports whether Envoy has ACKed every cluster, but for those that
// were refused.
func (s *stream) holdsAllClusters() bool {
	clusters, endpoints := &s.subscriptions[kindCluster], &s.subscriptions[kindEndpoints]
	if !clusters.started || clusters.hasMissing() || endpoints.hasMissing() {
		return false
	}
	for _, c := range s.gateway.clusters {
		if c.cds.exists() && c.refused == "" && !s.holdsCluster(c) {
			return false
		}
	}
	return true
}

// holdsAllRoutes reports whether Envoy has ACKed all listeners, routes and scopes since
// it connected, each in some version.
func (s *stream) holdsAllRoutes() bool {
	listeners, routes, scopes := &s.subscriptions[kindListener], &s.subscriptions[kindRoute], &s.subscriptions[kindScope]
	if !listeners.started || listeners.isBehind() {
		return false
	}
	if !s.gateway.hasListener() {
		return true
	}
	if !scopes.started || scopes.isBehind() || scopes.isRemoving() || !routes.started || routes.isBehind() {
		return false
	}
	for _, sh := range s.gateway.shards {
		if !routes.covers(sh.resource) {
			return false
		}
	}
	return true
}

// hasListener reports whether the gateway has a listener.
func (g *gateway) hasListener() bool {
	for _, r := range g.resources[kindListener] {
		if r.exists() {
			return true
		}
	}
	return false
}
