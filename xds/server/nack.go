package server

import (
	"slices"

	"github.com/fairwaynet/fairway/xds/envoy"
)

// maxDetail bounds what is kept of an Envoy's message, in bytes.
const maxDetail = 1024

// refused deals with a NACK. A response of several resources says nothing of
// any one of them, so its halves are sent apart until one resource is left.
func (s *stream) refused(k kind, sent []sentResource, detail string) {
	u := &s.subscriptions[k]
	if len(detail) > maxDetail {
		detail = detail[:maxDetail] + "…"
	}
	switch len(sent) {
	case 0:
		return
	case 1:
	default:
		for _, item := range sent {
			if l, ok := u.lacks[item.r]; ok {
				l.uncertain = true
				l.force = l.force || item.asked
			}
		}
		u.suspect(sent)
		return
	}
	item := sent[0]
	if l, ok := u.lacks[item.r]; ok {
		l.refused = item.seq
		if !l.differs(item.r) && !l.force {
			u.settled(item.r)
		}
	}
	s.gateway.server.options.Log.Error(nil, "envoy refused a resource; this is a defect of ours",
		"type", urlOf[k], "resource", item.r.name, "node", s.node, "detail", detail)
	if item.r.seq == item.seq {
		s.gateway.blame(s, item.r, detail)
	}
}

// suspect replaces the group that was just refused by its halves.
func (u *subscription) suspect(sent []sentResource) {
	group := make([]*resource, len(sent))
	for i, item := range sent {
		group[i] = item.r
	}
	middle := len(group) / 2
	u.suspects = append([][]*resource{group[:middle], group[middle:]}, u.suspects...)
}

// blame finds out who is behind a refused resource, and takes it back.
func (g *gateway) blame(s *stream, r *resource, detail string) {
	switch r.kind {
	case kindCluster:
		g.blameCluster(r, detail)
	case kindEndpoints:
		g.blameEndpoints(r, detail)
	case kindListener:
		if r.name == envoy.HTTPS && g.blameListener(s, detail) {
			return
		}
		if r.good != nil {
			g.set(kindListener, r.name, r.good)
		}
		g.server.notes.settingsRejected(g.name, detail)
	case kindRoute:
		g.blameShard(s, r.shard, detail)
	case kindScope:
		if r.host != nil {
			g.refuse(r.host, r.host.released, detail)
		}
	case kindSecret:
		g.blameSecret(r, detail)
	case kinds: // is none
	}
}

// blameCluster goes back to the last good version of a cluster. One that never
// had any goes, and with it every version of a host that names it.
func (g *gateway) blameCluster(r *resource, detail string) {
	if r.good != nil {
		g.set(kindCluster, r.name, r.good)
		return
	}
	c := r.cluster
	if c == nil {
		return
	}
	c.refused = detail
	g.set(kindCluster, r.name, nil)
	for _, h := range g.hosts {
		for _, v := range []*version{h.wanted, h.released} {
			if v != nil && v.refused == "" && slices.Contains(v.clusters, c) {
				g.refuse(h, v, detail)
			}
		}
	}
}

// blameEndpoints goes back to the last good endpoints of a Service port.
func (g *gateway) blameEndpoints(r *resource, detail string) {
	for name, p := range g.ports {
		if p.eds != r {
			continue
		}
		good := r.good
		if good == nil {
			good = emptyEndpoints(name)
		}
		g.set(kindEndpoints, r.name, good)
		g.server.notes.backendRejected(name, detail)
	}
}

// refuse takes v out of service: its host goes back to the last good version,
// or to a stand-in.
func (g *gateway) refuse(h *host, v *version, detail string) {
	if v == nil {
		return
	}
	v.refused = detail
	h.told = nil
	g.server.notes.hostRejected(h.key, detail)
	g.advance(h)
}

// trial takes a refused RouteConfiguration apart: part of the hosts that may be
// at fault are tested, the others held back, until judge, the Envoy that
// refused, has said which it is.
type trial struct {
	judge   *stream
	testing []*host
	held    [][]*host
}

// holdBack lets h wait until what is being tested is known to be good, or not:
// else h could be at fault, and another host be blamed. It reports false if
// there is nothing to wait for.
func (t *trial) holdBack(h *host) bool {
	if t == nil || slices.Contains(t.testing, h) {
		return false
	}
	h.heldBack = true
	if !slices.ContainsFunc(t.held, func(group []*host) bool { return slices.Contains(group, h) }) {
		t.held = append(t.held, []*host{h})
	}
	return true
}

// blameShard halves the hosts that may be at fault, and refuses the last one.
func (g *gateway) blameShard(s *stream, sh *shard, detail string) {
	if sh.trial == nil || len(sh.trial.testing) == 0 {
		sh.trial = &trial{judge: s, testing: sh.unproven(), held: sh.heldBack()}
	}
	t := sh.trial
	t.judge = s
	switch len(t.testing) {
	case 0: // what is left are stand-ins and nothing helps
		sh.trial = nil
		for _, h := range slices.Concat(t.held...) {
			h.heldBack = false
			g.advance(h)
		}
	case 1:
		h := t.testing[0]
		t.testing = nil
		g.refuse(h, h.released, detail)
	default:
		middle := len(t.testing) / 2
		later := slices.Clone(t.testing[middle:])
		t.testing = t.testing[:middle]
		t.held = append([][]*host{later}, t.held...)
		for _, h := range later {
			h.heldBack = true
			g.advance(h)
		}
	}
}

// judged goes on with the trial of a shard when its judge has accepted the
// newest version, or is gone. Groups that change nothing, because their hosts are
// withdrawn or wait for something else, are passed over: no answer would follow.
func (g *gateway) judged(sh *shard) {
	for t := sh.trial; t != nil && sh.trial == t && !sh.dirty; {
		if t.judge != nil && t.judge.subscriptions[kindRoute].acked(sh.resource) < sh.resource.seq {
			return
		}
		if len(t.held) == 0 {
			sh.trial = nil
			return
		}
		t.testing, t.held = t.held[0], t.held[1:]
		for _, h := range t.testing {
			h.heldBack = false
			g.advance(h)
		}
	}
}

// unproven are the hosts of a shard whose released version no Envoy is known to
// accept; where there is none, all but the stand-ins.
func (sh *shard) unproven() []*host {
	var unproven, others []*host
	for _, h := range sh.hosts {
		switch {
		case h.released.refused != "" || h.heldBack || h.released != h.wanted && len(h.released.clusters) == 0:
		case h.released != h.good:
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

// heldBack are the groups that an earlier trial still holds back.
func (sh *shard) heldBack() [][]*host {
	if sh.trial == nil {
		return nil
	}
	return sh.trial.held
}
