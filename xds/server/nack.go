package server

import (
	"slices"

	"github.com/fairwaynet/fairway/xds/envoy"
)

// maxDetail bounds what is kept of an Envoy's message, in bytes.
const maxDetail = 1024

// refused deals with a NACK. A response of several resources says nothing of
// any one of them, so its halves are sent apart until one resource is left.
func (s *stream) handleNACK(k kind, sent []sentResource, detail string) {
	u := &s.subscriptions[k]
	if len(detail) > maxDetail {
		detail = detail[:maxDetail] + "…"
	}
	if len(sent) > 1 {
		group := make([]*resource, len(sent))
		for i, item := range sent {
			group[i] = item.r
			if l, ok := u.pending[item.r]; ok {
				l.maybeApplied = true
				l.force = l.force || item.requested
			}
		}
		u.suspects.test(group)
		u.suspects.refused()
		return
	}
	u.suspects.next()
	if len(sent) == 0 {
		return
	}
	item := sent[0]
	if l, ok := u.pending[item.r]; ok {
		l.nackedSeq = item.seq
		if !l.isOutdated(item.r) && !l.force {
			u.markDelivered(item.r)
		}
	}
	s.gateway.server.options.Log.Error(nil, "envoy refused a resource; this is a defect of ours",
		"type", urlOf[k], "resource", item.r.name, "node", s.node, "detail", detail)
	if item.r.seq == item.seq {
		s.gateway.rejectResource(s, item.r, detail)
	}
}

// blame finds out who is behind a refused resource, and takes it back.
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

// blameCluster goes back to the last good version of a cluster. One that never
// had any goes, and with it every version of a host that names it.
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

// blameEndpoints goes back to the last good endpoints of a Service port.
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

// refuse takes v out of service: its host goes back to the last good version,
// or to a stand-in.
func (g *gateway) rejectVersion(h *host, v *version, detail string) {
	if v == nil {
		return
	}
	v.refused = detail
	h.reported = nil
	g.server.notifier.hostRejected(h.key, detail)
	g.advance(h)
}

// holdBack lets h wait until what is being tested is known to be good, or not:
// else h could be at fault, and another host be blamed. It reports false if
// there is nothing to wait for.
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

// blameShard halves the hosts that may be at fault, and refuses the last one.
func (g *gateway) rejectShard(s *stream, sh *shard, detail string) {
	if sh.trial == nil {
		sh.trial = &trial[*host]{}
	}
	t := sh.trial
	t.judge = s
	if len(t.testing()) == 0 {
		t.test(sh.unacceptedHosts())
	}
	if len(t.testing()) == 0 { // what is left are stand-ins and nothing helps
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

// judged goes on with the trial of a shard when its judge has accepted the
// newest version, or is gone. Groups that change nothing, because their hosts are
// withdrawn or wait for something else, are passed over: no answer would follow.
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

// unproven are the hosts of a shard whose released version no Envoy is known to
// accept; where there is none, all but the stand-ins.
func (sh *shard) unacceptedHosts() []*host {
	var unproven, others []*host
	for _, h := range sh.hosts {
		switch {
		case h.released.refused != "" || h.heldBack || h.released != h.wanted && len(h.released.clusters) == 0:
		case h.released != h.lastGood:
			unproven = append(unproven, h)
		default:
			others = append(others, h)
		}
	}
	if len(unproven) == 0 {
		return others
	}
	return unproven
}
