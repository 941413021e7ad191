package envoy_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"

	"google.golang.org/protobuf/proto"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/fairwaynet/fairway/xds/envoy"
	"github.com/fairwaynet/fairway/xds/route"
)

// numbered is the n-th host of many: two routes to a Service of its own.
func numbered(n int) *route.Host {
	service := fmt.Sprintf("web-%d", n)
	return host(fmt.Sprintf("host-%d.example.test", n), prefix("/api", service), prefix("/", service))
}

func BenchmarkRenderHost(b *testing.B) {
	h := numbered(1)
	b.ReportAllocs()
	b.ReportMetric(float64(len(envoy.VirtualHost(h, route.Settings{}))), "bytes")
	for b.Loop() {
		envoy.VirtualHost(h, route.Settings{})
	}
}

// BenchmarkRenderFresh is all that a fresh start renders: every host with its
// scope, its cluster and endpoints, and every shard.
func BenchmarkRenderFresh10k(b *testing.B) { renderFresh(b, 10_000) }
func BenchmarkRenderFresh50k(b *testing.B) { renderFresh(b, 50_000) }

func renderFresh(b *testing.B, n int) {
	settings := route.DefaultSettings()
	hosts := make([]*route.Host, n)
	for i := range hosts {
		hosts[i] = numbered(i)
	}
	b.ReportAllocs()
	for b.Loop() {
		size := 0
		for _, r := range fresh(hosts, settings) {
			size += len(r.Body)
		}
		b.ReportMetric(float64(size)/float64(n), "bytes/host")
	}
}

func fresh(hosts []*route.Host, settings route.Settings) []envoy.Resource {
	out := envoy.Listeners(settings, nil)
	shards, clusters := make(map[string][][]byte), make(map[route.Cluster]bool)
	for _, h := range hosts {
		out = append(out, envoy.Scope(h.Key.Host))
		if c := *h.Routes[0].Cluster; !clusters[c] {
			clusters[c] = true
			backend := route.Backend{Port: c.Port, Endpoints: []route.Endpoint{{Address: anAddress}}}
			out = append(out, envoy.Cluster(c, settings), envoy.Endpoints(backend))
		}
		shard := envoy.ShardOf(h.Key.Host)
		shards[shard] = append(shards[shard], envoy.VirtualHost(h, route.Settings{}))
	}
	for _, shard := range envoy.Shards() {
		out = append(out, envoy.Placeholder(shard), envoy.RouteConfiguration(shard, shards[shard]))
	}
	return out
}

func BenchmarkAssembleShard(b *testing.B) {
	for _, n := range []int{20, 100, 200} {
		b.Run(fmt.Sprintf("%d hosts", n), func(b *testing.B) {
			var hosts [][]byte
			for i := range n {
				hosts = append(hosts, envoy.VirtualHost(numbered(i), route.Settings{}))
			}
			b.ReportAllocs()
			b.ReportMetric(float64(len(envoy.RouteConfiguration("exact-1", hosts).Body)), "bytes")
			for b.Loop() {
				envoy.RouteConfiguration("exact-1", hosts)
			}
		})
	}
}

// BenchmarkEnvoyMemory measures the memory of a real Envoy with two workers for
// 10,000 hosts, with a cluster for each and with one for all.
func BenchmarkEnvoyMemory10k(b *testing.B) {
	for _, c := range []struct {
		name     string
		services int
	}{{"a cluster each", 10_000}, {"one cluster", 1}} {
		b.Run(c.name, func(b *testing.B) {
			settings := testSettings(b)
			hosts := make([]*route.Host, 10_000)
			for i := range hosts {
				hosts[i] = numbered(i)
				hosts[i].Routes = numbered(i % c.services).Routes
			}
			for b.Loop() {
				g := newGateway(b, settings)
				b.StopTimer()
				before := g.resident()
				b.StartTimer()
				g.ads.publish(fresh(hosts, settings)...)
				g.eventually("served, by nobody", func() error {
					clusters := fmt.Sprintf("active_clusters: %d\n", c.services+1)
					if got := g.admin("/stats?filter=cluster_manager.active_clusters"); !strings.HasSuffix(got, clusters) {
						return fmt.Errorf("want %s, got %s", clusters, got)
					}
					return want(g.get(string(hosts[len(hosts)-1].Key.Host), "/"), 503)
				})
				b.ReportMetric(float64(g.resident())/(1<<20), "MiB")
				b.ReportMetric(float64(g.resident()-before)/float64(len(hosts)), "bytes/host")
			}
		})
	}
}

// resident is Envoy's resident memory in bytes.
func (g *gateway) resident() int {
	pages, _ := strconv.Atoi(strings.Fields(g.process("statm"))[1])
	return pages * os.Getpagesize()
}

// BenchmarkEnvoyCPU is Envoy's CPU time for a request that it answers itself,
// by how the request finds its host.
func BenchmarkEnvoyCPU(b *testing.B) {
	settings := testSettings(b)
	settings.AccessLog = false
	answer := route.Route{Match: route.Match{Path: "/"}, Status: 200}
	g := newGateway(b, settings, host("shop.test", answer), host("*.shop.test", answer), host("*", answer))
	for _, name := range []string{"shop.test", "shop.test:8080", "SHOP.test", "a.shop.test", "other.test"} {
		g.eventually(name+" is served", func() error { return want(g.get(name, "/"), 200) })
		b.Run(name, func(b *testing.B) {
			before := g.cpu()
			requests := 0
			for b.Loop() {
				g.hammer(name, "/", 4, 1000)
				requests += 4 * 1000
			}
			b.ReportMetric((g.cpu()-before)/float64(requests), "cpu-µs/request")
		})
	}
}

// BenchmarkPaths measures Envoy's CPU time for a request that it answers itself.
// The request is for the first, the last, or none of the host's paths, which
// Envoy finds by the rendered tree or by a list.
func BenchmarkPaths(b *testing.B) {
	settings := testSettings(b)
	settings.AccessLog = false
	g := newGateway(b, settings)
	for _, n := range []int{16, 17, 500, 5000} {
		many := numberedPaths(n)
		list := &routev3.VirtualHost{Name: "shop.test", Domains: []string{"shop.test"}, Routes: everyRoute(b, many)}
		listed, err := proto.Marshal(list)
		if err != nil {
			b.Fatal(err)
		}
		for _, rendering := range []struct {
			name string
			host []byte
		}{{"list", listed}, {"tree", envoy.VirtualHost(many, route.Settings{})}} {
			mark := fmt.Sprintf("%d-%s", n, rendering.name)
			marker := envoy.VirtualHost(host(mark, route.Route{Status: 200, Match: route.Match{Path: "/"}}), route.Settings{})
			shard := envoy.ShardOf("shop.test")
			scope := rescoped(b, envoy.Scope(route.Hostname(mark)), shard)
			g.ads.publish(envoy.RouteConfiguration(shard, [][]byte{rendering.host, marker}), envoy.Scope("shop.test"), scope)
			g.eventually("published", func() error { return want(g.get(mark, "/"), 200) })
			for _, path := range []struct{ name, path string }{
				{"first", many.Routes[0].Match.Path}, {"last", many.Routes[n-1].Match.Path}, {"none", "/none"},
			} {
				b.Run(fmt.Sprintf("%s/%d/%s", rendering.name, n, path.name), func(b *testing.B) {
					before, requests := g.cpu(), 0
					for b.Loop() {
						g.hammer("shop.test", path.path, 4, 1000)
						requests += 4 * 1000
					}
					b.ReportMetric((g.cpu()-before)/float64(requests), "cpu-µs/request")
				})
			}
		}
	}
}

// BenchmarkSlashes measures the check for repeated slashes, and a request that
// has some.
func BenchmarkSlashes(b *testing.B) {
	settings := testSettings(b)
	settings.AccessLog = false
	g := newGateway(b, settings, host("shop.test", route.Route{Status: 200, Match: route.Match{Path: "/"}}))
	g.eventually("published", func() error { return want(g.get("shop.test", "/"), 200) })
	for _, path := range []struct{ name, path string }{{"none", "/a/b"}, {"query", "/a/b?c=https://d"}, {"some", "/a//b"}} {
		b.Run(path.name, func(b *testing.B) {
			before, requests := g.cpu(), 0
			for b.Loop() {
				g.hammer("shop.test", path.path, 4, 1000)
				requests += 4 * 1000
			}
			b.ReportMetric((g.cpu()-before)/float64(requests), "cpu-µs/request")
		})
	}
}

// BenchmarkForwardedFor is what reading X-Forwarded-For costs where one proxy is
// trusted: without the header, with an address, and with a port behind it.
func BenchmarkForwardedFor(b *testing.B) {
	settings := testSettings(b)
	settings.AccessLog, settings.TrustedHops = false, 1
	g := newGateway(b, settings, host("shop.test", route.Route{Status: 200, Match: route.Match{Path: "/"}}))
	g.eventually("published", func() error { return want(g.get("shop.test", "/"), 200) })
	for _, header := range []struct{ name, lines string }{
		{"none", ""}, {"address", "\r\nX-Forwarded-For: 192.0.2.7"}, {"port", "\r\nX-Forwarded-For: 192.0.2.7:1234"},
	} {
		b.Run(header.name, func(b *testing.B) {
			before, requests := g.cpu(), 0
			for b.Loop() {
				g.hammer("shop.test"+header.lines, "/", 4, 1000)
				requests += 4 * 1000
			}
			b.ReportMetric((g.cpu()-before)/float64(requests), "cpu-µs/request")
		})
	}
}

// numberedPaths is a host with n paths, in the order in which they are tried.
func numberedPaths(n int) *route.Host {
	var routes []route.Route
	for i := range n {
		routes = append(routes, route.Route{Match: route.Match{Path: fmt.Sprintf("/api/v1/resource-%04d", i)}, Status: 200})
	}
	return host("shop.test", routes...)
}

// BenchmarkRenderPaths measures the rendering of a host with many paths.
func BenchmarkRenderPaths(b *testing.B) {
	for _, n := range []int{16, 500, 5000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			h := numberedPaths(n)
			b.ReportAllocs()
			b.ReportMetric(float64(len(envoy.VirtualHost(h, route.Settings{}))), "bytes")
			for b.Loop() {
				envoy.VirtualHost(h, route.Settings{})
			}
		})
	}
}

// hammer sends requests over so many connections, n over each.
func (g *gateway) hammer(host, path string, connections, n int) {
	request := "GET " + path + " HTTP/1.1\r\nHost: " + host + "\r\n\r\n"
	var group sync.WaitGroup
	for range connections {
		group.Go(func() {
			conn, err := net.Dial("tcp", g.address())
			if err != nil {
				g.t.Error(err)
				return
			}
			defer conn.Close()
			from := bufio.NewReader(conn)
			for range n {
				io.WriteString(conn, request) //nolint:errcheck // the next read tells
				if _, err := readReply(from, "GET"); err != nil {
					g.t.Error(err)
					return
				}
			}
		})
	}
	group.Wait()
}

// cpu is Envoy's CPU time so far, in microseconds.
func (g *gateway) cpu() float64 {
	stat := g.process("stat")
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	user, _ := strconv.ParseFloat(fields[11], 64)
	system, _ := strconv.ParseFloat(fields[12], 64)
	const tick = 10_000 // microseconds, on every Linux
	return (user + system) * tick
}

// process reads a file of the kernel's about Envoy.
func (g *gateway) process(file string) string {
	g.t.Helper()
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", g.cmd.Process.Pid, file))
	if err != nil {
		g.t.Fatal(err)
	}
	return string(content)
}
