package server_test

import (
	"bytes"
	"testing"

	"github.com/fairwaynet/fairway/xds/envoy"
	"github.com/fairwaynet/fairway/xds/route"
	"github.com/fairwaynet/fairway/xds/server/simulated"
)

var (
	theRoots     = route.Authority{Namespace: "shop", Name: "roots"} // a constant
	certificates = []byte("certificates")
)

// verified routes a path to a Service whose backends are verified.
func verified(path, service string) route.Route {
	r := to(path, service)
	r.Cluster.TLS, r.Cluster.Authority = true, theRoots
	return r
}

// No route leads to a backend before Envoy has its CA. (These Envoys never ask for it.)
func TestARouteWaitsForTheBackendCA(t *testing.T) {
	b := opened(t, quick())
	b.synced(simulated.Options{})
	b.served(hostOf("plain.test", to("/", "plain")))
	b.publish(hostOf("verified.test", verified("/", "pay")))
	b.eventually("the host waits", func() bool {
		return b.server.Host(keyOf("verified.test")).WaitingFor == "cluster "+envoy.ClusterName(*verified("/", "pay").Cluster)
	})
	b.always("the host waits", func() bool { return !b.server.Host(keyOf("verified.test")).Served })
}

// Before a CA is published its secret is empty. A change reaches the Envoys that
// subscribe to it.
func TestABackendCAChanges(t *testing.T) {
	b := opened(t, quick())
	b.publish(hostOf("verified.test", verified("/", "pay")))
	name := envoy.AuthorityName(theRoots)
	a := b.asker()
	a.asks(name)
	nobody, somebody := string(envoy.Authority(theRoots, nil).Body), string(envoy.Authority(theRoots, certificates).Body)
	if bytes.Contains([]byte(nobody), certificates) || nobody == somebody {
		t.Fatal("nobody is somebody")
	}
	for _, step := range []struct {
		what string
		pem  []byte
		want string
	}{
		{"before it is known", nil, nobody},
		{"known", certificates, somebody},
		{"withdrawn", nil, nobody},
		{"known again", certificates, somebody},
	} {
		if step.want != nobody || a.has[name] != "" {
			b.server.PublishAuthority(theRoots, step.pem)
		}
		for a.has[name] != step.want {
			a.hears()
		}
	}
}

// An authority that no cluster names has no secret.
func TestAnAuthorityWithoutClusterIsAbsent(t *testing.T) {
	b := opened(t, quick())
	b.server.PublishAuthority(theRoots, certificates)
	a := b.asker()
	a.asks(envoy.AuthorityName(theRoots))
	a.until(envoy.AuthorityName(theRoots), "")
}
