package envoy_test

import (
	"bytes"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/fairwaynet/fairway/test/soak"
	"github.com/fairwaynet/fairway/xds/envoy"
	"github.com/fairwaynet/fairway/xds/route"
)

// FuzzRender renders any model that the bytes stand for: valid or not, it is
// rendered without panic, to the same bytes each time, and is accepted; in a soak
// by a real Envoy too, which costs some 100 ms each.
func FuzzRender(f *testing.F) {
	for seed := range uint64(20) {
		f.Add(seed, "shop.test", "/cart", "shop", "cart", "bank.example", "BackendNotFound", "eu-1", int64(1<<20), 503)
	}
	f.Add(uint64(1), "*", "", "", "", "", "", "", int64(-1), -1)
	f.Add(uint64(2), "*.", "/%2f/../?#", "a/b", "c d", "1.2.3.4", "\xff", "\xff", int64(0), 600)
	f.Add(uint64(3), "\xff\x00*", "/\xff\n\x00 é", "\xff", "\xff", "\xff", "", "", int64(1), 199)
	f.Add(uint64(4), "a*", "//", "*", "%", "a b", "", "", int64(1), 200)
	f.Fuzz(func(t *testing.T, seed uint64, host, path, namespace, name, dns, reason, zone string, limit int64, status int) {
		w := words{rand.New(rand.NewPCG(seed, 0)), host, path, namespace, name, dns, reason, zone, limit, status}
		settings, h, backend := w.settings(), w.host(), w.backend()
		clusters := []route.Cluster{w.cluster(), w.cluster()}
		for _, r := range h.Routes {
			if r.Cluster != nil {
				clusters = append(clusters, *r.Cluster)
			}
		}
		first, again := renderAll(settings, h, clusters, backend), renderAll(settings, h, clusters, backend)
		for i, r := range first {
			decode(t, r)
			if !bytes.Equal(r.Body, again[i].Body) {
				t.Errorf("%s %q is rendered in two ways", r.Type, r.Name)
			}
		}
		if soak.On() {
			v := newValidation(t)
			v.add(settings, []*route.Host{h}, clusters, []route.Backend{backend}, true, chainsOf(h))
			v.run()
		}
	})
}

func renderAll(s route.Settings, h *route.Host, clusters []route.Cluster, b route.Backend) []envoy.Resource {
	out := envoy.Listeners(s, chainsOf(h))
	out = append(out, envoy.Scope(h.Key.Host), envoy.Endpoints(b),
		envoy.RouteConfiguration(envoy.ShardOf(h.Key.Host), [][]byte{envoy.VirtualHost(h, route.Settings{})}))
	for _, c := range clusters {
		out = append(out, envoy.Cluster(c, s), envoy.Authority(c.Authority, []byte(h.Key.Host)), envoy.Authority(c.Authority, nil))
	}
	return append(out, envoy.HTTP3Listener(s, []envoy.Listed{{Name: h.Key.Host, Served: true}, {Name: route.AnyHost}}))
}

// words are what a random model is made of.
type words struct {
	random                         *rand.Rand
	name, path, namespace, service string
	dns, reason, zone              string
	limit                          int64
	status                         int
}

func (w words) one(choices ...string) string { return choices[w.random.IntN(len(choices))] }

func (w words) settings() route.Settings {
	s := route.DefaultSettings()
	if w.random.IntN(2) == 0 {
		s.HTTPSPort, s.TrustedHops, s.AccessLog = 8443, uint32(w.random.IntN(3)), w.random.IntN(2) == 0
		s.EscapedSlashes = route.EscapedSlashes(w.one("Redirect", "Reject", "Keep", "", w.path))
		s.RepeatedSlashes = route.RepeatedSlashes(w.one("Merge", "Keep", "", w.path))
		s.UnderscoresInHeaders = route.Underscores(w.one("Drop", "Reject", "Keep", "", w.path))
		s.HeaderCase, s.GRPCWeb = route.HeaderCase(w.one("Lower", "Title", "Preserve", "", w.path)), w.random.IntN(2) == 0
		s.ServerHeader = route.ServerHeader(w.one("IfAbsent", "PassThrough", "Remove", "", w.path))
		s.Public.HTTP, s.Published.HTTPS = uint16(w.random.Uint32()), uint16(w.random.Uint32())
		s.MaxRequestBody, s.MaxRequestHeaders = w.limit, w.random.Uint32()
		s.MaxResponseHeaders, s.MaxResponseHeaderCount = w.random.Uint32(), w.random.Uint32()
		s.OutlierDetection = route.OutlierDetection{
			Enabled: true, BaseEjectionTime: time.Duration(w.limit), MaxEjectionTime: time.Duration(w.random.Int64()),
		}
		s.IdleTimeout, s.ConnectTimeout = time.Duration(w.limit), time.Duration(-w.limit)
		s.TLS = route.TLS{
			MinVersion: route.TLSVersion(w.one("TLSv1.2", "TLSv1.3", "", w.path)), HTTP3: w.random.IntN(2) == 0,
			Ciphers: []string{w.one(route.TLSCiphers()...), w.path}, Curves: []string{w.one(route.TLSCurves()...), w.name}, ALPN: []string{w.one("h2", w.path)},
			HSTS: w.hsts(),
		}
		s.RequestTimeout, s.UpstreamIdleTimeout = time.Duration(w.limit), time.Duration(w.random.Int64())
	}
	return s
}

func (w words) host() *route.Host {
	name := w.one(w.name, "*."+w.name, strings.ToLower(w.name), "*")
	h := &route.Host{Key: route.Key{Gateway: route.DefaultGateway, Host: route.Hostname(name)}}
	if w.random.IntN(3) == 0 {
		h.Client = &route.ClientPolicy{
			CA: types.NamespacedName{Namespace: w.namespace, Name: w.service}, Required: w.random.IntN(2) == 0,
		}
	} else if w.random.IntN(3) == 0 {
		c := w.cluster()
		h.Passthrough = &c
	}
	for range w.random.IntN(5 + 20*w.random.IntN(2)) {
		r := route.Route{
			Match:   route.Match{Kind: route.PathKind(w.random.IntN(2)), Path: w.one(w.path, "/"+w.path, "/"+w.path+"/", "/")},
			Status:  w.status,
			Reason:  w.reason,
			MaxBody: w.limit, Redirect: w.random.IntN(2) == 0,
			HSTS: w.hsts(),

			RepeatedSlashes: route.RepeatedSlashes(w.one("Merge", "Keep", "", w.path)),

			Origin: types.NamespacedName{Namespace: w.namespace, Name: w.one(w.service, "")},
		}
		if w.random.IntN(2) == 0 {
			c := w.cluster()
			r.Cluster = &c
		}
		h.Routes = append(h.Routes, r)
	}
	return h
}

func (w words) hsts() *route.HSTS {
	return []*route.HSTS{nil, {Inherited: true}, {MaxAge: w.random.Uint32(), Preload: true}}[w.random.IntN(3)]
}

func (w words) cluster() route.Cluster {
	c := w.plainCluster()
	if w.random.IntN(2) == 0 {
		c.Authority = route.Authority{Namespace: w.namespace, Name: w.service}
		c.SNI = w.one("", w.dns, w.name)
	}
	return c
}

func (w words) plainCluster() route.Cluster {
	return cluster(w.namespace, w.service, int32(w.random.Uint32()), w.random.IntN(18), w.random.IntN(2) == 0, w.one("", w.dns))
}

func (w words) backend() route.Backend {
	b := route.Backend{Port: w.cluster().Port}
	for range w.random.IntN(4) {
		address := netip.AddrFrom4([4]byte{10, byte(w.random.Uint32()), byte(w.random.Uint32()), byte(w.random.Uint32())})
		if w.random.IntN(2) == 0 {
			var raw [16]byte
			copy(raw[:], w.path)
			address = netip.AddrFrom16(raw).WithZone(w.one("", w.zone))
		}
		b.Endpoints = append(b.Endpoints, route.Endpoint{
			Address: netip.AddrPortFrom(address, uint16(w.random.Uint32())),
			Zone:    w.one("", w.zone),
		})
	}
	return b
}
