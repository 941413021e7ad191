package server

// What one Envoy may be sent, and when. The picture itself is ordered (see
// host): for an Envoy that has caught up it is enough to follow it. One that has
// not is at some other, older picture or at none, and is led to the newest here.

// allowed reports whether r, which s lacks, may be sent to it now.
func (s *stream) maySend(r *resource, l *pendingResource) bool {
	switch r.kind {
	case kindCluster:
		return r.exists() || s.mayRemoveCluster(r)
	case kindEndpoints:
		return r.exists() || l.force
	case kindListener:
		return s.synced || s.hasClusters && s.maySendListener(r)
	case kindRoute:
		if !r.exists() {
			return l.force
		}
		return s.synced || s.hasClusters && s.maySendRoutes(r)
	case kindScope:
		return s.hasClusters && s.maySendScope(r)
	default:
		return true
	}
}

// mayLoseCluster reports whether s has accepted the routes and listeners that came
// before the removal of a cluster, so that none of those that it has names it.
func (s *stream) mayRemoveCluster(r *resource) bool {
	if !s.synced {
		return false
	}
	for _, k := range []kind{kindRoute, kindListener} {
		for naming, l := range s.subscriptions[k].pending {
			if !l.isNACKed(naming) && l.held.seq < r.seq {
				return false
			}
		}
	}
	return true
}

// mayHaveListener reports whether s, which has not caught up, holds every cluster
// to which a listener hands connections on.
func (s *stream) maySendListener(r *resource) bool {
	if r != s.gateway.chains.listener {
		return true
	}
	for _, c := range s.gateway.chains.passthroughClusters {
		if !s.holdsCluster(c) {
			return false
		}
	}
	return true
}

// mayHaveRoutes reports whether s, which has not caught up, holds every cluster
// that a shard names, and has let go of the scopes that are no more.
func (s *stream) maySendRoutes(r *resource) bool {
	scopes := &s.subscriptions[kindScope]
	if !scopes.started || r.shard == nil || scopes.isRemoving() {
		return false
	}
	for _, h := range r.shard.hosts {
		for _, c := range h.released.clusters {
			if !s.holdsCluster(c) {
				return false
			}
		}
	}
	return true
}

// mayHaveScope reports whether s holds the routes of a scope. A new Envoy gets all scopes at once: it subscribes to routes only
// when it has them, and listens only when it has both.
func (s *stream) maySendScope(r *resource) bool {
	h := r.host
	if !r.exists() || h == nil || s.subscriptions[kindScope].initial {
		return true
	}
	return s.subscriptions[kindRoute].ackedSeq(h.shard.resource) >= h.routeSeq
}

// holdsCluster reports whether s has accepted c, its endpoints and who vouches
// for it.
func (s *stream) holdsCluster(c *cluster) bool {
	return s.subscriptions[kindCluster].holds(c.cds) &&
		(c.port == nil || s.subscriptions[kindEndpoints].holds(c.port.eds)) &&
		(c.caSecret == nil || s.subscriptions[kindSecret].holds(c.caSecret))
}

// catchUp notes how far s has come. Once it holds all clusters it may have
// routes; once it holds those too it is waited for.
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

// holdsClusters reports whether s has accepted every cluster of the picture,
// refused ones apart.
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

// holdsRoutes reports whether s has accepted listeners, routes and scopes since
// it came, each in some version of this picture.
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

// losing reports whether Envoy has, or is being sent, something that is no more.
func (u *subscription) isRemoving() bool {
	for r, l := range u.pending {
		if !r.exists() && (l.held.version != "" || u.isInflight(r)) {
			return true
		}
	}
	return false
}

// behind reports whether Envoy still has to accept something that it has not
// accepted in any version since it came, or to lose what is no more.
func (u *subscription) isBehind() bool {
	for r, l := range u.pending {
		if !l.isNACKed(r) && l.held.seq == 0 && l.held.version != r.version {
			return true
		}
	}
	return false
}

// listens reports whether the gateway has a listener.
func (g *gateway) hasListener() bool {
	for _, r := range g.resources[kindListener] {
		if r.exists() {
			return true
		}
	}
	return false
}
