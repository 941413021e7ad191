package server

import (
	"bytes"
	"slices"

	"github.com/fairwaynet/fairway/xds/envoy"
	"github.com/fairwaynet/fairway/xds/route"
)

// version is one rendering of a host, with the clusters that it names.
type version struct {
	gateway     *gateway
	value       *route.Host
	virtualHost []byte
	clusters    []*cluster
	refused     string // Envoy's message
	refs        int
}

// newVersion renders value. The caller gets no reference.
func (g *gateway) newVersion(value *route.Host) *version {
	v := &version{gateway: g, value: value, virtualHost: envoy.VirtualHost(value, g.settings)}
	seen := make(map[route.Cluster]struct{})
	add := func(c *route.Cluster) {
		if c == nil {
			return
		}
		if _, ok := seen[*c]; !ok {
			seen[*c] = struct{}{}
			v.clusters = append(v.clusters, g.acquireCluster(*c))
		}
	}
	for _, r := range value.Routes {
		add(r.Cluster)
	}
	add(value.Passthrough)
	return v
}

// equal reports whether both are the same to Envoy.
func (v *version) equal(w *version) bool {
	return v != nil && w != nil && bytes.Equal(v.virtualHost, w.virtualHost) && slices.Equal(v.clusters, w.clusters)
}

// isPassthrough reports whether a filter chain passes connections for the host on to one
// of its clusters.
func (v *version) isPassthrough() bool { return v.value.Passthrough != nil }

// hasSameClientPolicy reports whether both demand the same of clients: going back to an
// earlier version must not let other clients in.
func (v *version) hasSameClientPolicy(w *version) bool {
	a, b := v.value.Client, w.value.Client
	return a == b || a != nil && b != nil && *a == *b
}

// retain takes a reference.
func (v *version) retain() *version {
	if v != nil {
		v.refs++
	}
	return v
}

// release gives a reference back, and with the last one the clusters.
func (v *version) release() {
	if v == nil {
		return
	}
	v.refs--
	if v.refs > 0 {
		return
	}
	for _, c := range v.clusters {
		v.gateway.releaseCluster(c)
	}
	v.clusters = nil
}

// replace sets *field to v, and moves the reference.
func replace(field **version, v *version) {
	if *field == v {
		return
	}
	old := *field
	*field = v.retain()
	old.release()
}
