package server

// What one Envoy may be sent, and when. Hosts change in an order (see host) that an
// Envoy which is synced can simply follow. One that is not is at an older configuration,
// or at none, and is led to the newest here.

// maySend reports whether r, which is pending, may be sent now.
func (s *stream) maySend(r *resource, p *pendingResource) bool {
	switch r.kind {
	case kindCluster:
		return r.exists() || s.mayRemoveCluster(r)
	case kindEndpoints:
		return r.exists() || p.force
	case kindListener:
		return s.synced || s.hasClusters && s.maySendListener(r)
	case kindRoute:
		if !r.exists() {
			return p.force
		}
		return s.synced || s.hasClusters && s.maySendRoutes(r)
	case kindScope:
		return s.hasClusters && s.maySendScope(r)
	default:
		return true
	}
}

// mayRemoveCluster reports whether Envoy has ACKed all routes and listeners that came
// before the removal of a cluster, so that none of those that it holds names the
// cluster.
func (s *stream) mayRemoveCluster(r *resource) bool {
	if !s.synced {
		return false
	}
	for _, k := range []kind{kindRoute, kindListener} {
		for naming, p := range s.subscriptions[k].pending {
			if !p.isNACKed(naming) && p.held.seq < r.seq {
				return false
			}
		}
	}
	return true
}

// maySendListener reports whether Envoy, which is not synced, holds every cluster to
// which a listener passes connections on.
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

// maySendRoutes reports whether Envoy, which is not synced, holds every cluster that a
// shard names, and has removed the scopes that are no more.
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

// maySendScope reports whether Envoy holds the routes of a scope. A new Envoy gets all
// scopes at once: it subscribes to routes only when it has them, and listens only when
// it has both.
func (s *stream) maySendScope(r *resource) bool {
	h := r.host
	if !r.exists() || h == nil || s.subscriptions[kindScope].initial {
		return true
	}
	return s.subscriptions[kindRoute].ackedSeq(h.shard.resource) >= h.routeSeq
}

// holdsCluster reports whether Envoy has ACKed c, its endpoints and its CA.
func (s *stream) holdsCluster(c *cluster) bool {
	return s.subscriptions[kindCluster].holds(c.cds) &&
		(c.port == nil || s.subscriptions[kindEndpoints].holds(c.port.eds)) &&
		(c.caSecret == nil || s.subscriptions[kindSecret].holds(c.caSecret))
}
