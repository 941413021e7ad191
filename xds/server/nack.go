package server

import (
	"slices"

	"github.com/fairwaynet/fairway/xds/envoy"
)

// maxDetail bounds the part of an Envoy's message that is kept, in bytes.
const maxDetail = 1024

// handleNACK handles a NACK. If the response had several resources, the NACK does not
// say which is at fault. Its halves are then sent apart until one resource is left.
func (s *stream) handleNACK(k kind, sent []sentResource, detail string) {
	sub := &s.subscriptions[k]
	if len(detail) > maxDetail {
		detail = detail[:maxDetail] + "…"
	}
	if len(sent) > 1 {
		group := make([]*resource, len(sent))
		for i, item := range sent {
			group[i] = item.r
			if p, ok := sub.pending[item.r]; ok {
				p.maybeApplied = true
				p.force = p.force || item.requested
			}
		}
		sub.suspects.test(group)
		sub.suspects.refused()
		return
	}
	sub.suspects.next()
	if len(sent) == 0 {
		return
	}
	item := sent[0]
	if p, ok := sub.pending[item.r]; ok {
		p.nackedSeq = item.seq
		if !p.isOutdated(item.r) && !p.force {
			sub.markDelivered(item.r)
		}
	}
	s.gateway.server.options.Log.Error(nil, "envoy refused a resource; this is a defect of ours",
		"type", urlOf[k], "resource", item.r.name, "node", s.node, "detail", detail)
	if item.r.seq == item.seq {
		s.gateway.rejectResource(s, item.r, detail)
	}
}

// rejectResource takes back the change that made an Envoy refuse a resource.
func (g *gateway) rejectResource(s *stream, r *resource, detail string) {
	switch r.kind {
	case kindCluster:
		g.rejectCluster(r, detail)
	case kindEndpoints:
		g.rejectEndpoints(r, detail)
	case kindListener:
		if r.name == envoy.HTTPS && g.rejectListener(s, detail) {
			return
		}
		if r.lastGood != nil {
			g.setResource(kindListener, r.name, r.lastGood)
		}
		g.server.notifier.settingsRejected(g.name, detail)
	case kindRoute:
		g.rejectShard(s, r.shard, detail)
	case kindScope:
		if r.host != nil {
			g.rejectVersion(r.host, r.host.released, detail)
		}
	case kindSecret:
		g.rejectSecret(r, detail)
	case kinds: // is none
	}
}

// rejectCluster goes back to the last good version of a cluster. A cluster without a
// good version is removed, and every version of a host that names it is rejected.
func (g *gateway) rejectCluster(r *resource, detail string) {
	if r.lastGood != nil {
		g.setResource(kindCluster, r.name, r.lastGood)
		return
	}
	c := r.cluster
	if c == nil {
		return
	}
	c.refused = detail
	g.setResource(kindCluster, r.name, nil)
	for _, h := range g.hosts {
		for _, v := range []*version{h.wanted, h.released} {
			if v != nil && v.refused == "" && slices.Contains(v.clusters, c) {
				g.rejectVersion(h, v, detail)
			}
		}
	}
}

// rejectEndpoints goes back to the last good endpoints of a Service port.
func (g *gateway) rejectEndpoints(r *resource, detail string) {
	for name, p := range g.servicePorts {
		if p.eds != r {
			continue
		}
		good := r.lastGood
		if good == nil {
			good = emptyEndpoints(name)
		}
		g.setResource(kindEndpoints, r.name, good)
		g.server.notifier.backendRejected(name, detail)
	}
}

// rejectShard tests half of the hosts that may be at fault for a refused
// RouteConfiguration, and rejects the host that is found.
func (g *gateway) rejectShard(s *stream, sh *shard, detail string) {
	if sh.trial == nil {
		sh.trial = &trial[*host]{}
	}
	t := sh.trial
	t.judge = s
	if len(t.testing()) == 0 {
		t.test(sh.unacceptedHosts())
	}
	if len(t.testing()) == 0 { // only stand-ins are left
		sh.trial = nil
		for _, h := range slices.Concat(t.waiting()...) {
			h.heldBack = false
			g.advance(h)
		}
		return
	}
	h, found, postponed := t.refused()
	if found {
		g.rejectVersion(h, h.released, detail)
	}
	for _, h := range postponed {
		h.heldBack = true
		g.advance(h)
	}
}

// continueShardTrial puts the next hosts to the test when the judge has accepted the
// newest version, or has left. Hosts that change nothing, because they are withdrawn or
// wait for something else, are passed over: Envoy would not answer.
func (g *gateway) continueShardTrial(sh *shard) {
	for t := sh.trial; t != nil && sh.trial == t && !sh.dirty; {
		if t.isOpen(sh.resource) {
			return
		}
		if !t.next() {
			sh.trial = nil
			return
		}
		for _, h := range t.testing() {
			h.heldBack = false
			g.advance(h)
		}
	}
}

// unacceptedHosts are the hosts of a shard whose released version no Envoy is known to
// accept. If there is none, they are all hosts but the stand-ins.
func (sh *shard) unacceptedHosts() []*host {
	var unaccepted, others []*host
	for _, h := range sh.hosts {
		switch {
		case h.released.refused != "" || h.heldBack || h.released != h.wanted && len(h.released.clusters) == 0:
		case h.released != h.lastGood:
			unaccepted = append(unaccepted, h)
		default:
			others = append(others, h)
		}
	}
	if len(unaccepted) == 0 {
		return others
	}
	return unaccepted
}

// holdBack lets h wait while other hosts of the shard are tested: otherwise h could be
// at fault, and another host be blamed. It reports false if no test is running.
func (sh *shard) holdBack(h *host) bool {
	t := sh.trial
	if t == nil || slices.Contains(t.testing(), h) {
		return false
	}
	h.heldBack = true
	if !slices.ContainsFunc(t.waiting(), func(group []*host) bool { return slices.Contains(group, h) }) {
		t.postpone(h)
	}
	return true
}

// rejectVersion takes v out of service: its host goes back to its last good version, or
// to a stand-in.
func (g *gateway) rejectVersion(h *host, v *version, detail string) {
	if v == nil {
		return
	}
	v.refused = detail
	h.reported = nil
	g.server.notifier.hostRejected(h.key, detail)
	g.advance(h)
}
