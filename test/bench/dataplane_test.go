package bench

import (
	"bufio"
	"bytes"
	"cmp"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	mutationv3 "github.com/envoyproxy/go-control-plane/envoy/config/common/mutation_rules/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	managerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	earlyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/early_header_mutation/header_mutation/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"

	"github.com/fairwaynet/fairway/test/fairway"
	"github.com/fairwaynet/fairway/test/tools"
	"github.com/fairwaynet/fairway/xds/gateway"
)

const (
	dataPlaneRounds      = 9 // of which the first warms up
	dataPlaneConnections = 64
)

// BenchmarkDataPlane measures what a request costs Envoy: as Fairway configures
// it, and as one does by hand, with as few statistics as Fairway has Envoy keep
// and with all. Each Envoy has one worker and the last CPU of the
// machine for itself; load, backend and all else share the others. They are
// measured in turn, round by round, because machines are not the same all the
// time.
//
// FAIRWAY_BENCH_HOSTS is the number of hosts. With FAIRWAY_BENCH_WITHOUT=. there
// are more Envoys, each of which lacks a part of Fairway's configuration whose
// name matches: what that part costs is the difference.
func BenchmarkDataPlane(b *testing.B) {
	hosts := sizes(1000)[0]
	length := setting(b, "PHASE", 5*time.Second)
	if runtime.NumCPU() < 2 {
		b.Fatal("needs two CPUs, one of them for Envoy alone")
	}
	pinSelf(b)
	startRawBackend(b, "0.0.0.0")
	controller := roadForDataPlane(b, hosts)
	all := []*contender{
		{name: "by hand", byHand: true},
		{name: "by hand, with Envoy's own statistics", byHand: true, statistics: true},
		{name: "Fairway"},
	}
	if pattern := os.Getenv("FAIRWAY_BENCH_WITHOUT"); pattern != "" {
		which, err := regexp.Compile(pattern)
		if err != nil {
			b.Fatalf("FAIRWAY_BENCH_WITHOUT: %v", err)
		}
		all = append(all, slices.DeleteFunc(without(), func(c *contender) bool { return !which.MatchString(c.name) })...)
	}
	for i, c := range all {
		c.start(b, i, hosts, controller)
	}
	for b.Loop() {
		for round := range dataPlaneRounds {
			for _, c := range all {
				c.measure(b, hosts, length, round > 0)
			}
		}
	}
	b.ReportMetric(0, "ns/op")
	printDataPlane(os.Stdout, hosts, all)
}

// roadForDataPlane is a controller with hosts, all of which lead to the raw
// backend. It returns where it serves xDS.
func roadForDataPlane(b *testing.B, hosts int) string {
	b.Helper()
	r := fairway.Start(b, fairway.Options{Flags: []string{"--access-log"}, Before: func(r *fairway.Installation) {
		r.Create(b, fairway.Class(class))
		if err := fill(b.Context(), r.Client, hosts, rawAddress); err != nil {
			b.Fatal(err)
		}
	}})
	r.Envoys[0].Stop() // those of the benchmark are started otherwise
	return r.XDS.String()
}

// contender is an Envoy that is measured.
type contender struct {
	name string
	// byHand is of one that handwritten configures, statistics of one that
	// keeps all that Envoy keeps unless it is told otherwise.
	byHand, statistics bool
	// edit changes what Fairway's controller sends; nil if byHand.
	edit func(b *testing.B, message proto.Message)
	// gateway is whose configuration Fairway sends; empty: the default one's.
	gateway string
	// secure is how one byHand speaks TLS; nil: not at all.
	secure *tlsv3.DownstreamTlsContext

	address string
	pid     int
	rounds  []dataPlaneRound
}

// dataPlaneRound is what one round showed.
type dataPlaneRound struct {
	outcome

	cpu float64 // of Envoy, seconds a second
}

// perRequest is Envoy's CPU time for a request, in microseconds.
func (r dataPlaneRound) perRequest() float64 {
	return r.cpu * r.Took.Seconds() / float64(r.Sent) * 1e6
}

// start starts the i-th contender and returns when it serves all hosts.
func (c *contender) start(b *testing.B, i, hosts int, controller string) {
	b.Helper()
	dir, err := os.MkdirTemp("", "envoy-") //nolint:usetesting // b.TempDir is too long for a socket
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			b.Error(err)
		}
	})
	port := 8100 + i
	c.address = net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	var bootstrap string
	if c.byHand {
		bootstrap = handwritten(b, dir, uint32(port), hosts, c.secure, c.statistics)
	} else {
		relay := startRelay(b, controller, func(message proto.Message) { c.change(b, port, message) })
		bootstrap, err = gateway.Bootstrap{
			Gateway: cmp.Or(c.gateway, "default"), Node: fmt.Sprintf("bench-%d", i), Admin: filepath.Join(dir, "admin"),
			XDS: gateway.XDS{Addresses: []string{relay}},
		}.Write(dir)
		if err != nil {
			b.Fatal(err)
		}
	}
	command := exec.Command(tools.Path(b, "envoy"), "--config-path", bootstrap,
		"--disable-hot-restart", "--log-level", "error", "--concurrency", "1")
	var said bytes.Buffer
	command.Stderr = &said // its standard output, the access log, goes to /dev/null
	if err := command.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = command.Process.Kill()
		_ = command.Wait()
		if b.Failed() {
			b.Logf("last words of %q: %s", c.name, &said)
		}
	})
	c.pid = command.Process.Pid
	all := load{Address: c.address, Hosts: hosts, Connections: 1, Duration: time.Second}
	end := time.Now().Add(time.Minute)
	for all.run(b.Context()).Failed > 0 {
		if time.Now().After(end) {
			b.Fatalf("%q does not serve all hosts within a minute: %s", c.name, all.run(b.Context()).Failure)
		}
	}
	pin(b, c.pid, runtime.NumCPU()-1)
}

// change gives the listeners ports of the contender's, and leaves out what it
// lacks.
func (c *contender) change(b *testing.B, port int, message proto.Message) {
	if listener, ok := message.(*listenerv3.Listener); ok {
		if listener.GetName() != "http" {
			port += securePorts
		}
		listener.GetAddress().GetSocketAddress().PortSpecifier = &corev3.SocketAddress_PortValue{PortValue: uint32(port)}
	}
	if c.edit != nil {
		c.edit(b, message)
	}
}

func (c *contender) measure(b *testing.B, hosts int, length time.Duration, counts bool) {
	b.Helper()
	l := load{Address: c.address, Hosts: hosts, Connections: dataPlaneConnections, Duration: time.Second}
	l.start(b).wait(b) // opens the connections to backends, which Envoy closes after 4 s without a request
	before := cpuOf(b, c.pid)
	l.Duration = length
	o := l.start(b).wait(b)
	if o.Failed > 0 {
		b.Fatalf("%s: %d of %d requests failed: %s", c.name, o.Failed, o.Sent, o.Failure)
	}
	if counts {
		c.rounds = append(c.rounds, dataPlaneRound{o, (cpuOf(b, c.pid) - before).Seconds() / o.Took.Seconds()})
	}
}

// part is a part of what Fairway configures, and how to leave it out.
type part struct {
	name    string
	manager func(*managerv3.HttpConnectionManager)
	routes  func(*routev3.RouteConfiguration)
}

// parts are what Fairway configures beside what one does by hand, but for the
// access log, which both have.
func parts() []part {
	var all []part
	for _, name := range []string{"fairway.refusals", "fairway.spelling", "fairway.fallback", "fairway.body-limit", "fairway.retries"} {
		all = append(all, part{name: name, manager: func(m *managerv3.HttpConnectionManager) {
			m.HttpFilters = slices.DeleteFunc(m.GetHttpFilters(), func(f *managerv3.HttpFilter) bool { return f.GetName() == name })
		}})
	}
	return append(all,
		part{name: "statistics of requests", manager: func(m *managerv3.HttpConnectionManager) {
			m.AccessLog = slices.DeleteFunc(m.GetAccessLog(), func(l *accesslogv3.AccessLog) bool { return l.GetName() == "envoy.access_loggers.stats" })
		}},
		part{name: "other headers than the host's being changed early", manager: func(m *managerv3.HttpConnectionManager) {
			editEarly(m, func(action *mutationv3.HeaderMutation) bool {
				return action.GetRemove() != "x-fairway-host" && action.GetAppend().GetHeader().GetKey() != "x-fairway-host"
			})
		}},
		part{name: "headers that routes add", routes: func(r *routev3.RouteConfiguration) { r.RequestHeadersToAdd = nil }},
		part{name: "retries", routes: func(r *routev3.RouteConfiguration) {
			for _, host := range r.GetVirtualHosts() {
				host.RetryPolicy = nil
			}
		}},
	)
}

// without are Envoys each of which lacks one part of what Fairway configures,
// or several.
func without() []*contender {
	each := parts()
	all := []*contender{
		lacking("without the access log", part{manager: func(m *managerv3.HttpConnectionManager) { m.AccessLog = nil }}),
		lacking("without any filter", part{manager: func(m *managerv3.HttpConnectionManager) {
			m.HttpFilters = m.GetHttpFilters()[len(m.GetHttpFilters())-1:]
		}}),
		lacking("without all of these", each...),
	}
	for _, p := range each {
		all = append(all, lacking("without "+p.name, p))
	}
	return all
}

// lacking is an Envoy without parts.
func lacking(name string, parts ...part) *contender {
	return &contender{name: name, edit: func(b *testing.B, message proto.Message) {
		for _, p := range parts {
			switch message := message.(type) {
			case *listenerv3.Listener:
				if p.manager != nil {
					editManager(b, message, p.manager)
				}
			case *routev3.RouteConfiguration:
				if p.routes != nil {
					p.routes(message)
				}
			}
		}
	}}
}

// editEarly leaves out the early changes of headers for which drop is true.
func editEarly(m *managerv3.HttpConnectionManager, drop func(*mutationv3.HeaderMutation) bool) {
	early := m.GetEarlyHeaderMutationExtensions()[0]
	mutations := &earlyv3.HeaderMutation{}
	if early.GetTypedConfig().UnmarshalTo(mutations) != nil {
		return
	}
	mutations.Mutations = slices.DeleteFunc(mutations.GetMutations(), drop)
	_ = early.GetTypedConfig().MarshalFrom(mutations) // it was marshalled before
}

// printDataPlane prints the medians, and the medians of the rounds' ratios to
// the two that are configured by hand, which are first.
func printDataPlane(w io.Writer, hosts int, all []*contender) {
	fmt.Fprintf(w, "\n%d hosts, %d connections, %d rounds\n\n", hosts, dataPlaneConnections, len(all[0].rounds))
	fmt.Fprintln(w, "| | CPU a request, µs | ÷ by hand (least–most) | ÷ with statistics (least–most) | requests/s | ÷ by hand | p50 / p90 / p99, ms | Envoy's CPU |")
	fmt.Fprintln(w, "|---|---|---|---|---|---|---|---|")
	for _, c := range all {
		cpu := c.each(dataPlaneRound.perRequest)
		rate := c.each(func(r dataPlaneRound) float64 { return float64(r.Sent) / r.Took.Seconds() })
		few, many := over(cpu, all[0].each(dataPlaneRound.perRequest)), over(cpu, all[1].each(dataPlaneRound.perRequest))
		rateRatio := over(rate, all[0].each(func(r dataPlaneRound) float64 { return float64(r.Sent) / r.Took.Seconds() }))
		fmt.Fprintf(w, "| %s | %.1f | %.3f (%.3f–%.3f) | %.3f (%.3f–%.3f) | %.0f | %.3f | %.2f / %.2f / %.2f | %.0f %% |\n", c.name,
			median(cpu), median(few), slices.Min(few), slices.Max(few), median(many), slices.Min(many), slices.Max(many), median(rate), median(rateRatio),
			median(c.each(func(r dataPlaneRound) float64 { return milliseconds(r.P50) })),
			median(c.each(func(r dataPlaneRound) float64 { return milliseconds(r.P90) })),
			median(c.each(func(r dataPlaneRound) float64 { return milliseconds(r.P99) })),
			100*median(c.each(func(r dataPlaneRound) float64 { return r.cpu })))
	}
}

func (c *contender) each(value func(dataPlaneRound) float64) []float64 {
	values := make([]float64, len(c.rounds))
	for i, r := range c.rounds {
		values[i] = value(r)
	}
	return values
}

func over(a, b []float64) []float64 {
	ratios := make([]float64, len(a))
	for i := range a {
		ratios[i] = a[i] / b[i]
	}
	return ratios
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}

// pinSelf leaves the last CPU to Envoy: this process, and all that it starts,
// run on the others.
func pinSelf(b *testing.B) {
	b.Helper()
	var before unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		b.Fatal(err)
	}
	others := make([]int, runtime.NumCPU()-1)
	for i := range others {
		others[i] = i
	}
	pin(b, os.Getpid(), others...)
	b.Cleanup(func() { setAffinity(b, os.Getpid(), before) })
}

// pin lets all threads of a process, and those that they will start, run on
// these CPUs only.
func pin(b *testing.B, pid int, cpus ...int) {
	b.Helper()
	var set unix.CPUSet
	for _, cpu := range cpus {
		set.Set(cpu)
	}
	setAffinity(b, pid, set)
}

func setAffinity(b *testing.B, pid int, set unix.CPUSet) {
	b.Helper()
	threads, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil {
		b.Fatal(err)
	}
	for _, thread := range threads {
		id, err := strconv.Atoi(thread.Name())
		if err != nil {
			b.Fatal(err)
		}
		if err := unix.SchedSetaffinity(id, &set); err != nil {
			b.Fatal(err)
		}
	}
}

// backendVariable makes this program a raw backend.
const backendVariable = "FAIRWAY_BENCH_BACKEND"

// startRawBackend starts, as a process, a backend that does as little as
// possible: it answers as "first".
func startRawBackend(b *testing.B, ip string) {
	b.Helper()
	command := exec.Command("/proc/self/exe")
	command.Env = append(os.Environ(), backendVariable+"="+net.JoinHostPort(ip, strconv.Itoa(fairway.BackendPort)))
	command.Stderr = os.Stderr
	if err := command.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = command.Process.Kill(); _ = command.Wait() })
	if requestsFirst() {
		prefer(b, command.Process.Pid)
	}
}

// rawAddress is where the raw backend of a host is. It has many addresses: to a
// single one, the connections that Envoy closed lately would use up the ports,
// and the kernel's search for a free one would be what is measured.
func rawAddress(i int) string { return fmt.Sprintf("10.77.1.%d", 1+i%200) }

// respond is the main function of a raw backend: it takes every empty line for
// the end of a request without a body.
func respond(address string) error {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	answer := []byte("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 6\r\nBackend: first\r\n\r\nhello\n")
	for {
		connection, err := listener.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer connection.Close()
			requests := bufio.NewReader(connection)
			for {
				line, err := requests.ReadSlice('\n')
				if err != nil {
					return
				}
				if len(bytes.TrimSpace(line)) > 0 {
					continue
				}
				if _, err := connection.Write(answer); err != nil {
					return
				}
			}
		}()
	}
}
