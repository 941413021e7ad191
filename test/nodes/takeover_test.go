package nodes

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairwaynet/fairway/test/child"
	"github.com/fairwaynet/fairway/test/netns"
	"github.com/fairwaynet/fairway/test/tools"
)

// kubeProxy runs the real kube-proxy on a machine.
func (m *machine) kubeProxy(t *testing.T, mode string) *child.Process {
	t.Helper()
	process, err := child.Start(t.TempDir(), m.command(tools.Path(t, "kube-proxy"),
		"--kubeconfig="+m.kubeconfig, "--master=https://"+m.gate.at, "--hostname-override="+m.name, "--proxy-mode="+mode,
		"--cluster-cidr=10.244.0.0/16,fd00:244::/32", "--healthz-bind-address=127.0.0.1:10256", "--metrics-bind-address=127.0.0.1:10249",
		"--conntrack-max-per-core=0", "--conntrack-min=0", "--iptables-min-sync-period=100ms"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(process.Tail())
		}
		process.Kill()
	})
	return process
}

// load makes connections at a rate until it ends, and counts those that get no answer.
type load struct {
	stop context.CancelFunc
	from []*netns.Namespace

	before int // segments that were sent again
	gone   sync.WaitGroup

	mu     sync.Mutex
	made   int
	failed []error
	worst  time.Duration
}

// newLoad begins a load on each of some addresses, from a namespace. It ends with the test.
func newLoad(t *testing.T, to map[string]*netns.Namespace) *load {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	l := &load{stop: stop, from: slices.Collect(maps.Values(to))}
	l.before = l.repeated(t)
	for address, from := range to {
		l.gone.Go(func() { l.run(ctx, t, from, address) })
	}
	t.Cleanup(func() { stop(); l.gone.Wait() }) // before the namespaces end
	return l
}

func (l *load) run(ctx context.Context, t *testing.T, from *netns.Namespace, to string) {
	const interval = 10 * time.Millisecond
	for range time.Tick(interval) {
		if ctx.Err() != nil {
			return
		}
		began := time.Now()
		_, err := from.Ask(t, to)
		l.mu.Lock()
		l.made++
		l.worst = max(l.worst, time.Since(began))
		if err != nil {
			l.failed = append(l.failed, fmt.Errorf("%s: %w", to, err))
		}
		l.mu.Unlock()
	}
}

// repeated is how many segments that begin a connection were sent again in all namespaces, as
// the kernel counts: one that was lost is sent again after a second.
func (l *load) repeated(t *testing.T) (count int) {
	t.Helper()
	for _, from := range l.from {
		var said []byte
		var err error
		from.Do(func() { said, err = os.ReadFile("/proc/thread-self/net/netstat") })
		lines := strings.Split(string(said), "\n")
		if err != nil || len(lines) < 2 {
			t.Fatalf("%v: %s", err, said)
		}
		names, values := strings.Fields(lines[0]), strings.Fields(lines[1])
		n, err := strconv.Atoi(values[slices.Index(names, "TCPSynRetrans")])
		if err != nil {
			t.Fatal(err)
		}
		count += n
	}
	return count
}

func (l *load) end(t *testing.T) {
	t.Helper()
	l.stop()
	l.gone.Wait()
	t.Logf("%d connections, the longest took %s; %d first segments were sent again", l.made, l.worst.Round(time.Microsecond), l.repeated(t)-l.before)
	if len(l.failed) > 0 {
		t.Errorf("%d of %d connections failed, at first: %v", len(l.failed), l.made, l.failed[0])
	}
}

// echoes makes a pod's port 7000 the only endpoint of a Service.
func (w *world) echoes(t *testing.T, p *pod) *corev1.Service {
	t.Helper()
	p.Serve(t, p.at(0, 7000), echo)
	s := w.shop(t, corev1.ServiceExternalTrafficPolicyCluster)
	port, name := int32(7000), "http"
	_, err := w.client.DiscoveryV1().EndpointSlices(s.Namespace).Create(context.Background(), &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Name: s.Name, Labels: map[string]string{discoveryv1.LabelServiceName: s.Name}},
		AddressType: discoveryv1.AddressTypeIPv4, Ports: []discoveryv1.EndpointPort{{Name: &name, Port: &port}},
		Endpoints: []discoveryv1.Endpoint{{Addresses: []string{p.addresses[0].String()}, NodeName: &p.node.name}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func nodePort(m *machine, s *corev1.Service) string {
	return net.JoinHostPort(m.addresses[0].String(), fmt.Sprint(s.Spec.Ports[0].NodePort))
}

// restart ends the agent and starts it with other flags.
func (m *machine) restart(flags ...string) {
	m.t.Helper()
	m.process.Kill()
	m.flags = flags
	m.run()
}

func (m *machine) readiness() string {
	said, _ := m.command("curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "http://127.0.0.1:9469/readyz").Output()
	return string(said)
}

// users are rules of somebody else. In iptables, one leads to a chain of kube-proxy.
const users = `
iptables-nft -t nat -N USERS
iptables-nft -t nat -A POSTROUTING -s 198.18.0.0/15 -j USERS
iptables-nft -t nat -A USERS -m comment --comment mine -j KUBE-MARK-MASQ`

// comesBack makes what a kube-proxy would, as far as the agent looks.
const comesBack = "nft add table ip kube-proxy; nft add chain ip kube-proxy services"

// On a machine that has just booted, no pod starts before Services are served, and they are
// as soon as kube-proxy is gone.
func testWaitingForKubeProxy(t *testing.T, w *world) {
	m := w.machine(t, settings{number: 35, flags: []string{"--services"}, prepare: comesBack, unstarted: true})
	m.run()
	m.told("KubeProxyPresent", "nftables table ip kube-proxy")
	if _, err := os.Stat(m.folder("net.d/05-fairway.conflist")); err == nil {
		t.Error("pods can start, and reach no Service")
	}
	if code := m.readiness(); code != "503" {
		t.Errorf("readiness is %s", code)
	}
	m.shell("nft delete table ip kube-proxy")
	m.eventually("it is ready", func() error {
		if code := m.readiness(); code != "200" {
			return fmt.Errorf("readiness is %s", code)
		}
		return nil
	})
	becomes(t, m.Namespace, at(w.shop(t, corev1.ServiceExternalTrafficPolicyCluster), 0), "refused")
}

// The agent does not write Services beside a kube-proxy, and says so. Told to adopt them, it
// serves them at once, and takes away what kube-proxy leaves when it ends. No connection is
// lost on the way, be it new or open.
func testTakingOver(t *testing.T, w *world, mode string, number int) {
	one, two := w.machine(t, settings{number: number}), w.machine(t, settings{number: number + 1})
	a, b := one.pod("a", "").serve(t), two.pod("b", "").serve(t)
	shop, echoes := w.shop(t, corev1.ServiceExternalTrafficPolicyCluster), w.echoes(t, b)
	w.lead(t, shop, b)
	proxy := one.kubeProxy(t, mode)
	becomes(t, a.Namespace, at(shop, 0), a.addresses[0].String())
	becomes(t, own, nodePort(one, shop), one.seen(0)...)
	eventually(t, "kube-proxy serves", patience, func() error {
		client, err := a.Dial(t, at(echoes, 0))
		if err == nil {
			err = client.Close()
		}
		return err
	})
	if mode == "iptables" {
		one.shell(users)
	}
	open := []*stream{connect(t, a.Namespace, at(echoes, 0)), connect(t, own, nodePort(one, echoes))}
	works := func(when string) {
		t.Helper()
		for _, each := range open {
			if err := each.works(patience); err != nil {
				t.Fatalf("%s, an open connection: %v", when, err)
			}
		}
	}
	works("with kube-proxy")
	l := newLoad(t, map[string]*netns.Namespace{at(shop, 0): a.Namespace, nodePort(one, shop): own})

	one.restart("--services")
	one.told("KubeProxyPresent", "so Fairway does not")
	if code := one.readiness(); code != "503" {
		t.Errorf("while Services wait, readiness is %s", code)
	}
	if elements := one.shell("nft list map ip fairway-services services 2>/dev/null || true"); strings.Contains(elements, "elements") {
		t.Errorf("Services are written beside kube-proxy: %s", elements)
	}
	works("while Services wait")
	c := one.pod("c", "")
	asks(t, c.Namespace, b.at(0, 8080), c.addresses[0].String())
	asks(t, c.Namespace, at(shop, 0), c.addresses[0].String())
	one.restart("--services", "--adopt")
	one.told("KubeProxyPresent", "still runs")
	one.eventually("Services are written", func() error {
		if elements := one.shell("nft list map ip fairway-services services"); !strings.Contains(elements, "elements") {
			return fmt.Errorf("the map is %s", elements)
		}
		return nil
	})
	works("with both")

	proxy.Kill()
	kept := []string{"chain KUBE-FIREWALL {"} // the kubelet has it, too
	began := time.Now()
	if mode == "iptables" {
		one.left("what others lead to is left", append(kept, "chain KUBE-MARK-MASQ {", "chain KUBE-POSTROUTING {")...)
		one.told("KubeProxyRemains", "KUBE-MARK-MASQ of table ip nat")
		one.shell("iptables-nft -t nat -F USERS")
	}
	one.left("nothing is left", kept...)
	t.Logf("what kube-proxy has left is gone after %s", time.Since(began).Round(time.Millisecond))
	works("without kube-proxy")
	if mode == "nftables" {
		one.shell(comesBack)
		one.told("KubeProxyPresent", "they have come back")
		one.shell("nft list chain ip kube-proxy services; nft delete table ip kube-proxy") // it is left for a minute
	}
	one.restart("--services")
	one.eventually("it is ready", func() error {
		if code := one.readiness(); code != "200" {
			return fmt.Errorf("readiness is %s", code)
		}
		return nil
	})
	works("after another start")
	l.end(t)
	one.eventually("load balancers are told", func() error {
		said, err := one.command("curl", "-sf", "-i", "http://127.0.0.1:10256/healthz").CombinedOutput()
		if err == nil && !strings.Contains(string(said), "Server: fairway") {
			err = errors.New("another program answers")
		}
		if err != nil {
			return fmt.Errorf("%w: %s", err, said)
		}
		return nil
	})

	one.process.Kill()
	one.shell(comesBack)
	dir, err := programs()
	if err != nil {
		t.Fatal(err)
	}
	if said, err := one.command(filepath.Join(dir, "fairway"), one.agentArgs("--cleanup")...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, said)
	}
	if tables := one.shell("nft list tables"); !strings.Contains(tables, "table ip kube-proxy") || strings.Contains(tables, "fairway") {
		t.Errorf("after a cleanup there are the tables %s", tables)
	}
}

// left waits until a machine has no tables and chains of kube-proxy but some.
func (m *machine) left(what string, but ...string) {
	m.t.Helper()
	m.eventually(what, func() error {
		var all []string
		for line := range strings.Lines(m.shell("nft list ruleset")) {
			line = strings.TrimSpace(line)
			if (strings.Contains(line, "kube-proxy {") || strings.HasPrefix(line, "chain KUBE-")) && !slices.Contains(but, line) {
				all = append(all, line)
			}
		}
		if len(all) > 0 {
			return fmt.Errorf("there are %q", all)
		}
		return nil
	})
}
