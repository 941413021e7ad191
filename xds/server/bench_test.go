package server_test

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"

	"github.com/fairwaynet/fairway/xds/envoy"
	"github.com/fairwaynet/fairway/xds/route"
	"github.com/fairwaynet/fairway/xds/server"
	"github.com/fairwaynet/fairway/xds/server/simulated"
)

// crowd is a bed with many hosts, a Service each, and many Envoys that remember
// nothing.
type crowd struct {
	*bed
	hosts  []*route.Host
	wanted atomic.Value // the route.Key that served is about
	served chan struct{}
	told   chan struct{} // holds one for each response of the type url
	url    string
}

func newCrowd(b *testing.B, url string, hosts, envoys int) *crowd {
	b.Helper()
	c := &crowd{served: make(chan struct{}, 1), told: make(chan struct{}, 100), url: url}
	c.bed = newBed(b, server.Options{AckTimeout: 5 * time.Minute, SyncTimeout: 5 * time.Minute, DNSGrace: time.Millisecond})
	c.server.PublishSettings(route.DefaultGateway, route.DefaultSettings())
	for i := range hosts {
		c.hosts = append(c.hosts, c.host(i, 0))
		c.publish(c.hosts[i])
	}
	c.server.Open()
	c.join(envoys)
	c.observer.tellServed(func(key route.Key) {
		if c.wanted.Load() == key {
			select {
			case c.served <- struct{}{}:
			default:
			}
		}
	})
	return c
}

// host is a host of two routes in its version v.
func (*crowd) host(i, v int) *route.Host {
	return hostOf(route.Hostname(fmt.Sprintf("host-%d.shop.test", i)), to(fmt.Sprintf("/v%d", v), fmt.Sprintf("s%d", i)), to("/", fmt.Sprintf("s%d", i)))
}

// join connects Envoys and waits until they have caught up.
func (c *crowd) join(envoys int) {
	c.t.Helper()
	for range envoys {
		c.envoy(simulated.Options{Light: true, Heard: func(url string, _ *discoveryv3.DeltaDiscoveryResponse) {
			if url == c.url {
				select {
				case c.told <- struct{}{}:
				default:
				}
			}
		}})
	}
	if !within(5*time.Minute, func() bool { return len(c.server.Envoys()) == len(c.envoys) && c.idle() }) {
		c.t.Fatalf("envoys do not catch up: %+v", c.server.Envoys())
	}
	for len(c.told) > 0 {
		<-c.told
	}
}

// allTold waits until every Envoy has heard of a change.
func (c *crowd) allTold() {
	for range c.envoys {
		<-c.told
	}
}

func perSize(b *testing.B, run func(b *testing.B, hosts, envoys int), envoys ...int) {
	b.Helper()
	for _, hosts := range []int{1_000, 10_000, 50_000} {
		for _, n := range envoys {
			b.Run(fmt.Sprintf("hosts=%d/envoys=%d", hosts, n), func(b *testing.B) { run(b, hosts, n) })
		}
	}
}

// One host changes: from PublishHost until every Envoy has it, and until the
// observer hears that it is served.
func BenchmarkChangeOfAHost(b *testing.B) {
	perSize(b, func(b *testing.B, hosts, envoys int) {
		c := newCrowd(b, envoy.TypeRoute, hosts, envoys)
		sent, received, i := c.wire.Sent(), time.Duration(0), 0
		for b.Loop() {
			i++
			h := c.host(i%hosts, i)
			c.wanted.Store(h.Key)
			start := time.Now()
			c.server.PublishHost(h.Key, h)
			c.allTold()
			received += time.Since(start)
			<-c.served
		}
		b.ReportMetric(float64(received.Microseconds())/float64(i), "received-µs/op")
		b.ReportMetric(float64(c.wire.Sent()-sent)/float64(i*envoys), "wire-B/op")
	}, 1, 3, 100)
}

// The endpoints of one Service port change: what leaves the server, until all
// Envoys have ACKed.
func BenchmarkChangeOfEndpoints(b *testing.B) {
	perSize(b, func(b *testing.B, hosts, envoys int) {
		c := newCrowd(b, envoy.TypeEndpoints, hosts, envoys)
		sent, i := c.wire.Sent(), 0
		for b.Loop() {
			i++
			port := portOf(fmt.Sprintf("s%d", i%hosts))
			c.server.PublishBackend(port, backendOf(port, fmt.Sprintf("10.1.%d.%d", i>>8&255, i&255)))
			c.allTold()
		}
		b.ReportMetric(float64(c.wire.Sent()-sent)/float64(i*envoys), "wire-B/op")
	}, 1, 3)
}

// A fresh Envoy connects: from the connection until it has caught up.
func BenchmarkStartPicture(b *testing.B) {
	perSize(b, func(b *testing.B, hosts, _ int) {
		c := newCrowd(b, "", hosts, 0)
		sent, i := c.wire.Sent(), 0
		for b.Loop() {
			i++
			c.join(1)
			b.StopTimer()
			c.envoys[0].Disconnect()
			c.envoys = nil
			c.eventually("the server notices", func() bool { return len(c.server.Envoys()) == 0 })
			b.StartTimer()
		}
		b.ReportMetric(float64(c.wire.Sent()-sent)/float64(i), "wire-B/op")
	}, 1)
}

// What the configuration costs the server in memory, and each connected Envoy that
// has everything, with the connection's buffers and the simulated Envoy itself.
func BenchmarkMemory(b *testing.B) {
	perSize(b, func(b *testing.B, hosts, envoys int) {
		empty := heapInUse()
		c := newCrowd(b, "", hosts, 0)
		picture := heapInUse()
		for b.Loop() { // once is enough: only the first round is measured
			if len(c.envoys) == 0 {
				c.join(envoys)
			}
		}
		b.ReportMetric(float64(picture-empty)/float64(hosts), "picture-B/host")
		b.ReportMetric(float64(heapInUse()-picture)/float64(envoys), "heap-B/envoy")
	}, 10)
}

// One host changes while a wildcard, or the default host, has a filter chain of its
// own, which those that it covers have not: what the server's lock is held for.
func BenchmarkChangeBesideAChain(b *testing.B) {
	changes := map[string]func(s *server.Server, c *crowd, i int){
		"routes": func(s *server.Server, c *crowd, i int) {
			s.PublishHost(c.hosts[i%len(c.hosts)].Key, c.host(i%len(c.hosts), i))
		},
		"comes and goes": func(s *server.Server, c *crowd, i int) {
			h := c.host(len(c.hosts)+i/2, 0)
			if i%2 == 1 {
				h = nil
			}
			s.PublishHost(c.host(len(c.hosts)+i/2, 0).Key, h)
		},
	}
	for _, change := range []string{"routes", "comes and goes"} {
		for _, guard := range []route.Hostname{"", "*.other.test", "*.shop.test", route.AnyHost} {
			for _, hosts := range []int{1_000, 10_000} {
				b.Run(fmt.Sprintf("%s/chain=%s/hosts=%d", change, guard, hosts), func(b *testing.B) {
					c := guardedCrowd(b, guard, hosts)
					i := 0
					for b.Loop() {
						changes[change](c.server, c, i)
						i++
					}
				})
			}
		}
	}
}

// guardedCrowd is a crowd without Envoys, in which a name has a chain of its own.
func guardedCrowd(b *testing.B, name route.Hostname, hosts int) *crowd {
	b.Helper()
	c := &crowd{bed: newBed(b, quick())}
	settings := route.DefaultSettings()
	settings.HTTPSPort = 443
	c.server.PublishSettings(route.DefaultGateway, settings)
	c.server.PublishClientCA(secretOf("staff-ca"), []byte("authorities"))
	if name != "" {
		c.publish(guarded(name, "staff-ca"))
	}
	for i := range hosts {
		c.hosts = append(c.hosts, c.host(i, 0))
		c.publish(c.hosts[i])
	}
	c.server.Open()
	return c
}
