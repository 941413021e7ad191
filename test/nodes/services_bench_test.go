package nodes

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairwaynet/fairway/proxy/nft/conntrack"
	"github.com/fairwaynet/fairway/test/child"
	"github.com/fairwaynet/fairway/test/netns"
	"github.com/fairwaynet/fairway/test/tools"
)

// endpointsOfEach is how many endpoints each Service of the benchmark has.
const endpointsOfEach = 5

// contender is a service proxy on the machine.
type contender struct {
	name  string
	start func() *child.Process
	stop  string // a shell command that takes its rules away
	match string // of its command line
}

// BenchmarkServices measures the agent's Services beside kube-proxy's nftables mode, on one
// machine with the same API server, at several numbers of Services.
func BenchmarkServices(b *testing.B) {
	sizes := []int{10, 1000, 10000}
	if text := os.Getenv("FAIRWAY_BENCH_SERVICES"); text != "" {
		sizes = nil
		for each := range strings.SplitSeq(text, ",") {
			n, err := strconv.Atoi(each)
			if err != nil {
				b.Fatal(err)
			}
			sizes = append(sizes, n)
		}
	}
	w := newWorld(b)
	m := w.machine(b, settings{number: 1}) // its pods are of the agent; its Services come and go
	bench := &servicesBench{B: b, world: w, machine: m, client: m.pod("client", "")}
	for i := range endpointsOfEach {
		p := m.pod(fmt.Sprintf("e%d", i), "")
		p.Serve(b, p.at(0, 8080), func(c net.Conn) { _, _ = c.Write([]byte{byte('0' + i)}) })
		bench.endpoints = append(bench.endpoints, p)
	}
	bench.open()
	for _, size := range sizes {
		bench.grow(size)
		for _, c := range []contender{bench.fairway(), bench.kubeProxy()} {
			bench.contend(c, size)
		}
	}
	b.ReportMetric(0, "ns/op")
}

type servicesBench struct {
	*testing.B

	world     *world
	machine   *machine
	client    *pod
	endpoints []*pod
	services  []*corev1.Service
	door      string // a NodePort that leads to all endpoints, masqueraded
}

// open makes a NodePort, and a way from outside to the endpoints themselves.
func (b *servicesBench) open() {
	b.Helper()
	s, err := b.world.client.CoreV1().Services(metav1.NamespaceDefault).Create(context.Background(), &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "door"},
		Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeNodePort, Ports: []corev1.ServicePort{{Name: "http", Port: 80}}},
	}, metav1.CreateOptions{})
	if err == nil {
		err = b.lead(s, b.endpoints...)
	}
	if err != nil {
		b.Fatal(err)
	}
	b.door = nodePort(b.machine, s)
	b.services = append(b.services, s)
	node := b.machine.addresses[0].String()
	own.Do(func() {
		route := exec.Command("ip", "route", "replace", "10.244.0.0/16", "via", node)
		if said, err := route.CombinedOutput(); err != nil {
			b.Errorf("%s: %v", said, err)
		}
	})
}

// grow makes Services until there are as many.
func (b *servicesBench) grow(size int) {
	b.Helper()
	const writers = 8
	missing := size - len(b.services)
	made := make([]*corev1.Service, missing)
	var next atomic.Int64
	var writing sync.WaitGroup
	for range writers {
		writing.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= missing {
					return
				}
				s, err := b.world.client.CoreV1().Services(metav1.NamespaceDefault).Create(context.Background(), &corev1.Service{
					ObjectMeta: metav1.ObjectMeta{GenerateName: "bench-"},
					Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeClusterIP, Ports: []corev1.ServicePort{{Name: "http", Port: 80}}},
				}, metav1.CreateOptions{})
				if err == nil {
					err = b.lead(s, b.endpoints...)
				}
				if err != nil {
					b.Error(err)
					return
				}
				made[i] = s
			}
		})
	}
	writing.Wait()
	b.services = append(b.services, made...)
	if b.Failed() {
		b.FailNow()
	}
}

// lead writes the only slice of a Service.
func (b *servicesBench) lead(s *corev1.Service, pods ...*pod) error {
	port, name := int32(8080), "http"
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Name: s.Name, Labels: map[string]string{discoveryv1.LabelServiceName: s.Name}},
		AddressType: discoveryv1.AddressTypeIPv4, Ports: []discoveryv1.EndpointPort{{Name: &name, Port: &port}},
	}
	for _, p := range pods {
		slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{Addresses: []string{p.addresses[0].String()}, NodeName: &b.machine.name})
	}
	written := b.world.client.DiscoveryV1().EndpointSlices(s.Namespace)
	_, err := written.Update(context.Background(), slice, metav1.UpdateOptions{})
	if err != nil {
		_, err = written.Create(context.Background(), slice, metav1.CreateOptions{})
	}
	return err
}

// fairway is an agent for Services alone, beside that of the pods.
func (b *servicesBench) fairway() contender {
	m := b.machine
	dir, err := programs()
	if err != nil {
		b.Fatal(err)
	}
	return contender{
		name: "Fairway", match: "[^ ]*fairway node --node-name=" + m.name + " .*--services",
		start: func() *child.Process {
			args := m.agentArgs("--services", "--pod-network=false", "--metrics-address=127.0.0.1:9470")
			p, err := child.Start(m.dir, m.command(filepath.Join(dir, "fairway"), args...))
			if err != nil {
				b.Fatal(err)
			}
			return p
		},
		stop: "nft delete table ip fairway-services; nft delete table ip6 fairway-services",
	}
}

func (b *servicesBench) kubeProxy() contender {
	m := b.machine
	program, err := tools.Find("kube-proxy")
	if err != nil {
		b.Fatal(err)
	}
	config := fmt.Sprintf(`apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: nftables
clientConnection: {kubeconfig: %s, qps: 100, burst: 200}
clusterCIDR: 10.244.0.0/16
hostnameOverride: %s
conntrack: {maxPerCore: 0, min: 0}
nftables: {minSyncPeriod: 10ms}
`, m.kubeconfig, m.name)
	path := m.folder("kube-proxy.yaml")
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		b.Fatal(err)
	}
	return contender{
		name: "kube-proxy", match: "[^ ]*kube-proxy --config=" + path,
		start: func() *child.Process {
			p, err := child.Start(m.dir, m.command(program, "--config="+path, "--master=https://"+m.gate.at))
			if err != nil {
				b.Fatal(err)
			}
			return p
		},
		stop: "nft delete table ip kube-proxy; nft delete table ip6 kube-proxy; true",
	}
}

// dial connects from a namespace and returns which endpoint answers.
func dial(from *netns.Namespace, to string) (endpoint byte, err error) {
	from.Do(func() { endpoint, err = dialHere(to) })
	return endpoint, err
}

// dialHere connects from the namespace of the thread.
func dialHere(to string) (endpoint byte, err error) {
	c, err := (&net.Dialer{Timeout: time.Second}).Dial("tcp", to)
	if err != nil {
		return 0, err
	}
	defer func() { _ = c.Close() }()
	if err := c.(*net.TCPConn).SetLinger(0); err != nil {
		return 0, err
	}
	answer := make([]byte, 1)
	_, err = c.Read(answer)
	return answer[0], err
}

// contend runs one contender.
func (b *servicesBench) contend(c contender, size int) {
	b.Helper()
	m := b.machine
	began := time.Now()
	process := c.start()
	defer func() {
		if b.Failed() {
			b.Log(process.Tail())
		}
		process.Kill()
		_, _ = m.command("sh", "-c", c.stop).CombinedOutput()
	}()
	deadline := began.Add(10 * time.Minute)
	for _, s := range b.services { // in the order of their making: all must answer
		for {
			if _, err := dial(b.client.Namespace, at(s, 0)); err == nil {
				break
			} else if time.Now().After(deadline) {
				b.Fatalf("%s does not serve: %v", c.name, err)
			}
			time.Sleep(2 * time.Millisecond) //nolint:forbidigo // it polls
		}
	}
	cold := time.Since(began)
	b.forget()

	// A rival that has nothing but the endpoint to choose.
	direct := func() string { return b.endpoints[rand.IntN(len(b.endpoints))].at(0, 8080) }
	through := func() string { return at(b.services[rand.IntN(size)], 0) }
	ratio, rate, latency := b.alternate(b.client.Namespace, direct, through)
	outside, _, _ := b.alternate(own, direct, func() string { return b.door })

	changes := b.changes(size)
	rss, idle := b.usage(c.match, func() { time.Sleep(5 * time.Second) }) //nolint:forbidigo // it rests
	_, busy := b.usage(c.match, func() { b.churn(size) })
	b.Logf("| %d | %s | %.2f | %.2f | %.0f | %.0f / %.0f | %.2f s | %.1f / %.1f ms | %.0f MiB | %.1f / %.0f %% |",
		size, c.name, ratio, outside, rate, micro(latency, 50), micro(latency, 99), cold.Seconds(), milli(changes, 50), milli(changes, 99), rss, idle, busy)
}

// forget makes the kernel forget connections of when nobody served: as long as it knows them,
// another with the same ports goes where they went.
func (b *servicesBench) forget() {
	b.Helper()
	b.machine.must(func() error {
		table, err := conntrack.Open(conntrack.Options{})
		if err != nil {
			return err
		}
		defer table.Close()
		var all []conntrack.Match
		err = table.List(context.Background(), func(m conntrack.Connection) {
			if m.Original.Destination == m.Reply.Source {
				all = append(all, m.Match)
			}
		})
		for _, m := range all {
			err = errors.Join(err, table.Delete(context.Background(), m))
		}
		return err
	})
}

// alternate connects from a namespace by two ways in turn, and returns the median of the
// ratios of their rates, the rate of the second a second, and how long its connections took.
func (b *servicesBench) alternate(from *netns.Namespace, direct, through func() string) (ratio, rate float64, latency []time.Duration) {
	b.Helper()
	const rounds, window = 21, 500 * time.Millisecond
	run := func(to func() string, took *[]time.Duration) (rate float64) {
		var err error
		from.Do(func() {
			n, began := 0, time.Now()
			for err == nil && time.Since(began) < window {
				start := time.Now()
				_, err = dialHere(to())
				if took != nil {
					*took = append(*took, time.Since(start))
				}
				n++
			}
			rate = float64(n) / time.Since(began).Seconds()
		})
		if err != nil {
			b.Fatal(err)
		}
		return rate
	}
	run(direct, nil)
	run(through, nil)
	var ratios, rates []float64
	for range rounds {
		a, c := run(direct, nil), run(through, &latency)
		ratios, rates = append(ratios, c/a), append(rates, c)
	}
	slices.Sort(ratios)
	slices.Sort(rates)
	return ratios[rounds/2], rates[rounds/2], latency
}

// changes measures how long it takes from when the API server has taken another endpoint of
// a Service until that endpoint answers.
func (b *servicesBench) changes(size int) []time.Duration {
	b.Helper()
	const count = 60
	s := b.services[rand.IntN(size)]
	var all []time.Duration
	for i := range count {
		next := i % 2
		if err := b.lead(s, b.endpoints[next]); err != nil {
			b.Fatal(err)
		}
		began := time.Now()
		for {
			endpoint, err := dial(b.client.Namespace, at(s, 0))
			if err == nil && endpoint == byte('0'+next) {
				break
			}
			if time.Since(began) > time.Minute {
				b.Fatalf("the change is not there: %v", err)
			}
		}
		all = append(all, time.Since(began))
	}
	if err := b.lead(s, b.endpoints...); err != nil {
		b.Fatal(err)
	}
	return all
}

// churn changes endpoints 50 times a second, for five seconds.
func (b *servicesBench) churn(size int) {
	b.Helper()
	const each, count = 20 * time.Millisecond, 250
	ticker := time.NewTicker(each)
	defer ticker.Stop()
	var err error
	for i := range count {
		<-ticker.C
		err = errors.Join(err, b.lead(b.services[rand.IntN(size)], b.endpoints[:1+i%endpointsOfEach]...))
	}
	if err != nil {
		b.Fatal(err)
	}
}

// usage is the memory of a process in MiB, and its CPU in percent of one while something
// runs.
func (b *servicesBench) usage(match string, while func()) (rss, cpu float64) {
	b.Helper()
	pid := strings.TrimSpace(b.machine.shell("pgrep -f -- '^" + match + "' | head -1"))
	before, began := cpuOf(b.B, pid), time.Now()
	while()
	cpu = 100 * (cpuOf(b.B, pid) - before).Seconds() / time.Since(began).Seconds()
	status, err := os.ReadFile(filepath.Join("/proc", pid, "status"))
	if err != nil {
		b.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if size, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kib, err := strconv.Atoi(strings.Fields(size)[0])
			if err != nil {
				b.Fatal(err)
			}
			rss = float64(kib) / 1024
		}
	}
	return rss, cpu
}

func percentile(all []time.Duration, p int) time.Duration {
	slices.Sort(all)
	return all[(len(all)-1)*p/100]
}

func micro(all []time.Duration, p int) float64 {
	return float64(percentile(all, p).Nanoseconds()) / 1e3
}
func milli(all []time.Duration, p int) float64 {
	return float64(percentile(all, p).Nanoseconds()) / 1e6
}
