package server_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/fairwaynet/fairway/test/soak"
	"github.com/fairwaynet/fairway/xds/route"
)

// comers is how many names come and go. Of each 200, some are of another kind.
var comers = soak.Pick(400, 2000)

// A server to which no Envoy is connected keeps nothing of many names that
// come and go, in whatever order: nobody says that their removal is served.
func TestNothingStaysOfWhatComesAndGoes(t *testing.T) {
	soak.Bulk(t)
	orders := map[string][]string{
		"what refers goes first":          {"host", "backend", "certificate", "authorities"},
		"what is referred to goes first":  {"authorities", "certificate", "backend", "host"},
		"backends never come":             {"host", "certificate", "authorities"},
		"hosts never come":                {"backend", "certificate", "authorities"},
		"certificates go before backends": {"certificate", "backend", "host", "authorities"},
	}
	for name, order := range orders {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			options := quick()
			options.ClusterGrace = time.Millisecond
			b := newBed(t, options)
			b.server.PublishSettings(route.DefaultGateway, withHTTP3())
			b.server.Open()
			before := b.server.Sizes()
			for i := range comers {
				for _, what := range order {
					b.comes(what, i)
				}
			}
			if during := b.server.Sizes(); len(during) <= len(before) {
				t.Errorf("nothing has come: %v", during)
			}
			for _, what := range order {
				for i := range comers {
					b.goes(what, i)
				}
			}
			b.hasSizes(before)
		})
	}
}

// comer is the host of number i: each has a cluster of its own, some have a filter
// chain, are below a wildcard, or are passed on.
func comer(i int) *route.Host {
	service := fmt.Sprintf("s%d", i)
	h := hostOf(route.Hostname(fmt.Sprintf("h%d.test", i)), to("/", service))
	switch i % 200 {
	case 0:
		h.Key.Host = route.Hostname(fmt.Sprintf("*.h%d.test", i))
		h.Client = &route.ClientPolicy{CA: secretOf(service), Required: true}
	case 1:
		h.Client = &route.ClientPolicy{CA: secretOf(service)}
	case 2:
		h.Passthrough = new(clusterOf(service))
	case 3:
		h.Routes[0].Cluster.TLS = true
		h.Routes[0].Cluster.Authority = authorityOf(i)
	}
	return h
}

func authorityOf(i int) route.Authority {
	return route.Authority(secretOf(fmt.Sprintf("s%d", i)))
}

func (b *bed) comes(what string, i int) {
	b.t.Helper()
	h := comer(i)
	switch what {
	case "host":
		b.server.PublishHost(h.Key, h)
	case "backend":
		b.server.PublishBackend(portOf(fmt.Sprintf("s%d", i)), backendOf(portOf(fmt.Sprintf("s%d", i)), "10.0.0.1"))
	case "certificate":
		c := certificateOf(string(h.Key.Host))
		if i%200 < 2 {
			c.Other = certificateOf("other")
		}
		b.server.PublishCertificate(h.Key, c)
	case "authorities":
		b.server.PublishAuthority(authorityOf(i), []byte("authorities"))
		b.server.PublishClientCA(secretOf(fmt.Sprintf("s%d", i)), []byte("authorities"))
	}
}

func (b *bed) goes(what string, i int) {
	b.t.Helper()
	h := comer(i)
	switch what {
	case "host":
		b.server.PublishHost(h.Key, nil)
	case "backend":
		b.server.PublishBackend(portOf(fmt.Sprintf("s%d", i)), nil)
	case "certificate":
		b.server.PublishCertificate(h.Key, nil)
	case "authorities":
		b.server.PublishAuthority(authorityOf(i), nil)
		b.server.PublishClientCA(secretOf(fmt.Sprintf("s%d", i)), nil)
	}
}
