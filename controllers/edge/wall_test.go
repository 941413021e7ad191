package edge

import (
	"sync"

	"k8s.io/apimachinery/pkg/types"

	"github.com/fairwaynet/fairway/xds/route"
	"github.com/fairwaynet/fairway/xds/server"
)

// wall is a Publisher that remembers what was put up.
type wall struct {
	mu       sync.Mutex
	settings map[route.Gateway]*route.Settings
	hosts    map[route.Key]*route.Host
	backends map[route.ServicePort]*route.Backend
	served   map[route.Key]*route.Certificate
	opened   int

	authorities map[route.Authority]*[]byte
	clientCAs   map[types.NamespacedName]*[]byte

	observe func(any) // gets every key and gateway, and nil for Open
}

func newWall() *wall {
	return &wall{
		settings: map[route.Gateway]*route.Settings{},
		hosts:    map[route.Key]*route.Host{},
		backends: map[route.ServicePort]*route.Backend{},
		served:   map[route.Key]*route.Certificate{},
		observe:  func(any) {},

		authorities: map[route.Authority]*[]byte{},
		clientCAs:   map[types.NamespacedName]*[]byte{},
	}
}

func (w *wall) PublishSettings(gateway route.Gateway, settings route.Settings) {
	w.observe(gateway)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.settings[gateway] = &settings
}

func (w *wall) WithdrawGateway(gateway route.Gateway) {
	w.observe(gateway)
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.settings, gateway)
}

func (w *wall) PublishHost(key route.Key, host *route.Host) {
	w.mu.Lock()
	put(w.hosts, key, host)
	w.mu.Unlock()
	w.observe(key)
}

func (w *wall) PublishBackend(port route.ServicePort, backend *route.Backend) {
	w.mu.Lock()
	put(w.backends, port, backend)
	w.mu.Unlock()
	w.observe(port)
}

func (w *wall) PublishCertificate(key route.Key, certificate *route.Certificate) {
	w.mu.Lock()
	put(w.served, key, certificate)
	w.mu.Unlock()
	w.observe(certificate)
}

func (w *wall) PublishClientCA(secret types.NamespacedName, authorities []byte) {
	w.mu.Lock()
	put(w.clientCAs, secret, &authorities)
	if authorities == nil {
		delete(w.clientCAs, secret)
	}
	w.mu.Unlock()
	w.observe(secret)
}

func (w *wall) PublishAuthority(authority route.Authority, certificates []byte) {
	w.mu.Lock()
	if len(certificates) == 0 {
		delete(w.authorities, authority)
	} else {
		w.authorities[authority] = &certificates
	}
	w.mu.Unlock()
	w.observe(authority)
}

func (w *wall) Open() {
	w.opened++
	w.observe(nil)
}

func (w *wall) Host(key route.Key) server.HostState {
	w.mu.Lock()
	defer w.mu.Unlock()
	return server.HostState{Published: w.hosts[key] != nil, Value: w.hosts[key]}
}

func put[K comparable, V any](all map[K]*V, key K, value *V) {
	if value == nil {
		delete(all, key)
		return
	}
	all[key] = value
}
