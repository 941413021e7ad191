package replica_test

import (
	"testing"

	"k8s.io/apimachinery/pkg/types"

	"github.com/fairwaynet/fairway/controllers/replicas/replica"
	"github.com/fairwaynet/fairway/xds/route"
	"github.com/fairwaynet/fairway/xds/server"
)

// state is the state of the only host.
type state server.HostState

// Host implements replica.Hosts.
func (s *state) Host(route.Key) server.HostState { return server.HostState(*s) }

// An Ingress whose host every Envoy has accepted waits for its certificate to be
// seen, and says so.
func TestAnIngressWaitsForItsCertificate(t *testing.T) {
	shop := types.NamespacedName{Namespace: "shop", Name: "shop"}
	key := route.Key{Gateway: "default", Host: "shop.test"}
	hosts := &state{Published: true, Served: true, ProofPending: true}
	var settled []types.NamespacedName
	tracker := &replica.Tracker{Hosts: hosts, Settled: func(name types.NamespacedName) { settled = append(settled, name) }}
	tracker.Envoys(map[route.Gateway]replica.Gateway{"default": {Envoys: 1, Synced: 1}})
	tracker.Saw(shop, 7, []route.Key{key})
	tracker.Finish(key, tracker.Begin())
	if held := tracker.Report().HeldUp; len(held) != 1 || held[0].Detail != "the certificate of host shop.test" {
		t.Errorf("held up are %+v", held)
	}
	hosts.ProofPending = false
	tracker.Heard(key)
	if held := tracker.Report().HeldUp; len(held) != 0 || len(settled) != 1 {
		t.Errorf("held up are %+v, settled %v", held, settled)
	}
}
