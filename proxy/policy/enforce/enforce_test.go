package enforce_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/fairwaynet/fairway/proxy/nft"
	"github.com/fairwaynet/fairway/proxy/nft/conntrack"
	"github.com/fairwaynet/fairway/proxy/policy"
	"github.com/fairwaynet/fairway/proxy/policy/enforce"
	"github.com/fairwaynet/fairway/test/netns"
)

func TestMain(m *testing.M) { netns.Main(m) }

const (
	patience = 5 * time.Second
	silence  = 300 * time.Millisecond
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// address is that of a pod.
func address(i int, ipv6 bool) string {
	if ipv6 {
		return fmt.Sprintf("fd00:244::%d", i+1)
	}
	return fmt.Sprintf("10.244.0.%d", i+1)
}

var nodeAddress = map[bool]string{false: "198.51.100.1", true: "2001:db8:1::1"}

// committed is a report, and what the plugin knew by then.
type committed struct {
	enforce.Report

	isolated []string
}

// world is a node, which is this namespace, with three pods and an Enforcer.
type world struct {
	pods      []*netns.Namespace
	enforcer  *enforce.Enforcer
	committed chan committed
	stop      func()
	logs      bool // what is denied, from the next begin on

	mu       sync.Mutex
	leases   []enforce.Lease
	isolated []string
	marks    int // of done
}

func newWorld(t testing.TB) *world {
	t.Helper()
	netns.Forward(t)
	w := &world{}
	var own *netns.Namespace
	own.Give(t, "lo", nodeAddress[false]+"/32", nodeAddress[true]+"/128")
	for i := range 3 {
		pod, device := netns.New(t), fmt.Sprint("pod", i)
		netns.Join(t, device, nil, []string{"169.254.1.1/32", "fd00:1::1/128"}, pod, []string{address(i, false) + "/32", address(i, true) + "/128"})
		own.Route(t, address(i, false)+"/32", device, "", nodeAddress[false])
		own.Route(t, address(i, true)+"/128", device, "", nodeAddress[true])
		for _, r := range [][2]string{{"169.254.1.1/32", ""}, {"0.0.0.0/0", "169.254.1.1"}, {"fd00:1::1/128", ""}, {"::/0", "fd00:1::1"}} {
			pod.Route(t, r[0], device, r[1], "")
		}
		w.pods = append(w.pods, pod)
		pod.Serve(t, "[::]:80", func(c net.Conn) { _, _ = io.Copy(c, c) })
		for _, ipv6 := range []bool{false, true} {
			pod.EchoDatagrams(t, net.JoinHostPort(address(i, ipv6), "80"))
		}
	}
	w.begin(t)
	return w
}

// begin starts an Enforcer, as an agent does.
func (w *world) begin(t testing.TB) {
	t.Helper()
	engine, err := nft.New(t.Context(), nft.Options{})
	must(t, err)
	table, err := conntrack.Open(conntrack.Options{})
	must(t, err)
	w.committed = make(chan committed, 100)
	w.enforcer, err = enforce.New(enforce.Options{
		LogDenied: w.logs, Node: "n1", Engine: engine, Connections: table, Now: time.Now,
		Leases: func() ([]enforce.Lease, error) {
			w.mu.Lock()
			defer w.mu.Unlock()
			return w.leases, nil
		},
		Own: func() ([]netip.Addr, error) {
			return []netip.Addr{netip.MustParseAddr(nodeAddress[false]), netip.MustParseAddr(nodeAddress[true])}, nil
		},
		Isolated: func(all []string) error {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.isolated = all
			return nil
		},
		Committed: func(_ context.Context, r enforce.Report) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.committed <- committed{r, w.isolated}
		},
	})
	must(t, err)
	must(t, w.enforcer.Load())
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	var running sync.WaitGroup
	running.Go(func() {
		if err := w.enforcer.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	w.stop = sync.OnceFunc(func() {
		cancel()
		running.Wait()
		must(t, engine.Close())
		must(t, table.Close())
	})
	t.Cleanup(w.stop)
}

// object is a pod of the node, by its number.
func object(i int, labels map[string]string) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: fmt.Sprint("p", i), UID: types.UID(fmt.Sprint("uid-", i)), Labels: labels}}
	p.Spec.NodeName = "n1"
	p.Status.PodIPs = []corev1.PodIP{{IP: address(i, false)}, {IP: address(i, true)}}
	return p
}

func (w *world) pod(p *corev1.Pod) {
	w.enforcer.PublishPod(types.NamespacedName{Namespace: p.Namespace, Name: p.Name}, policy.PodOf(p))
}

// allow is a policy of pod 0 that lets clients with labels in.
func allow(labels map[string]string) *networkingv1.NetworkPolicy {
	p := &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web"}}
	p.Spec.PodSelector.MatchLabels = map[string]string{"app": "web"}
	p.Spec.Ingress = []networkingv1.NetworkPolicyIngressRule{{From: []networkingv1.NetworkPolicyPeer{{PodSelector: &metav1.LabelSelector{MatchLabels: labels}}}}}
	return p
}

func (w *world) policy(t testing.TB, np *networkingv1.NetworkPolicy) {
	t.Helper()
	p, problems := policy.Parse(np)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	w.enforcer.PublishPolicy(p.Name, p)
}

// done waits until all that was told is in the kernel, and returns how many connections were cut. The last
// that it tells is a policy of a namespace of its own, of which the plugin hears before a commit.
func (w *world) done(t testing.TB) (cut int) {
	t.Helper()
	before := w.marks
	w.marks++
	mark := func(n int) types.NamespacedName {
		return types.NamespacedName{Namespace: fmt.Sprint("mark-", n), Name: "mark"}
	}
	w.enforcer.PublishPolicy(mark(before), nil)
	np := allow(nil)
	np.Namespace, np.Name = mark(w.marks).Namespace, mark(w.marks).Name
	w.policy(t, np)
	patience := time.After(patience)
	for {
		select {
		case r := <-w.committed:
			must(t, r.Err)
			if len(r.Refused) > 0 {
				t.Fatal(r.Refused)
			}
			cut += r.Cut
			if slices.Contains(r.isolated, mark(w.marks).Namespace) {
				return cut
			}
		case <-patience:
			t.Fatal("not all is committed")
		}
	}
}

func (w *world) dial(t testing.TB, from int, kind, to string, wait time.Duration) (net.Conn, error) {
	t.Helper()
	var c net.Conn
	var err error
	w.pods[from].Do(func() { c, err = (&net.Dialer{Timeout: wait}).DialContext(t.Context(), kind, to) })
	if err == nil {
		t.Cleanup(func() { _ = c.Close() })
	}
	return c, err
}

// echoes says whether what is sent comes back.
func echoes(c net.Conn, wait time.Duration) error {
	if _, err := c.Write([]byte("hello")); err != nil {
		return err
	}
	if err := c.SetReadDeadline(time.Now().Add(wait)); err != nil {
		return err
	}
	_, err := io.ReadFull(c, make([]byte, 5))
	return err
}

func (w *world) connect(t testing.TB, from int, kind, to string) net.Conn {
	t.Helper()
	c, err := w.dial(t, from, kind, to, patience)
	must(t, err)
	must(t, echoes(c, patience))
	return c
}

// refused expects that nothing new passes.
func (w *world) refused(t *testing.T, from int, kind, to string) {
	t.Helper()
	c, err := w.dial(t, from, kind, to, silence)
	if err == nil {
		err = echoes(c, silence)
	}
	if err == nil {
		t.Errorf("%s from pod %d to %s passed", kind, from, to)
	}
}

func kinds() map[string]string {
	return map[string]string{"tcp4": net.JoinHostPort(address(0, false), "80"), "tcp6": net.JoinHostPort(address(0, true), "80"),
		"udp4": net.JoinHostPort(address(0, false), "80"), "udp6": net.JoinHostPort(address(0, true), "80")}
}

// start tells three pods: 0 is the server.
func (w *world) start(t *testing.T) {
	t.Helper()
	w.pod(object(0, map[string]string{"app": "web"}))
	w.pod(object(1, map[string]string{"role": "client"}))
	w.pod(object(2, map[string]string{"role": "other"}))
	w.enforcer.Complete()
	w.done(t)
}

// A policy that no longer allows a connection ends it: of a client that lost its label, of a policy that
// changed or came, both protocols and families, whoever speaks. All others go on, and what is allowed
// again works again.
func TestConnectionsThatAreNoLongerAllowedEnd(t *testing.T) {
	w := newWorld(t)
	w.start(t)
	client, other := map[string]string{"role": "client"}, map[string]string{"role": "other"}
	for _, c := range []struct {
		name          string
		tighten, free func()
	}{
		{"the client's label goes", func() { w.pod(object(1, nil)) }, func() { w.pod(object(1, client)) }},
		{"a policy comes", func() { w.policy(t, allow(other)) }, func() { w.policy(t, allow(nil)) }},
		{"the client is another pod", func() {
			p := object(1, nil)
			p.UID = "uid-new"
			w.pod(p)
		}, func() { w.pod(object(1, client)) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			w.pod(object(1, client))
			first := allow(nil)
			first.Spec.Ingress[0].From = append(first.Spec.Ingress[0].From, networkingv1.NetworkPolicyPeer{PodSelector: &metav1.LabelSelector{MatchLabels: client}})
			first.Spec.Ingress[0].From[0].PodSelector.MatchLabels = other
			if c.name == "a policy comes" {
				w.enforcer.PublishPolicy(types.NamespacedName{Namespace: "shop", Name: "web"}, nil)
			} else {
				w.policy(t, first)
			}
			w.done(t)
			open, stays := map[string]net.Conn{}, map[string]net.Conn{}
			for kind, to := range kinds() {
				open[kind], stays[kind] = w.connect(t, 1, kind, to), w.connect(t, 2, kind, to)
			}
			c.tighten()
			if cut := w.done(t); cut < len(open) { // and what other tests have left
				t.Errorf("%d connections were cut, want at least %d", cut, len(open))
			}
			for kind, to := range kinds() {
				err := echoes(open[kind], silence)
				if err == nil {
					t.Errorf("%s goes on", kind)
				}
				if timeout := net.Error(nil); kind[:3] == "tcp" && errors.As(err, &timeout) && timeout.Timeout() {
					t.Errorf("%s hangs, and is not reset", kind)
				}
				w.refused(t, 1, kind, to)
				must(t, echoes(stays[kind], patience))
				w.connect(t, 2, kind, to)
			}
			c.free()
			w.done(t)
			for kind, to := range kinds() {
				w.connect(t, 1, kind, to)
				if kind[:3] == "udp" { // from the same port, too
					must(t, echoes(open[kind], patience))
				}
			}
		})
	}
}

// The node itself reaches its pods, whatever their policies say.
func TestTheNodeReachesItsPods(t *testing.T) {
	w := newWorld(t)
	w.start(t)
	w.policy(t, allow(map[string]string{"role": "nobody"}))
	w.done(t)
	for kind, to := range kinds() {
		c, err := net.DialTimeout(kind, to, patience)
		must(t, err)
		must(t, echoes(c, patience))
		w.pod(object(0, map[string]string{"app": "web", "more": "labels"}))
		w.policy(t, allow(nil))
		w.policy(t, allow(map[string]string{"role": "nobody"}))
		w.done(t)
		must(t, echoes(c, patience))
		must(t, c.Close())
		w.refused(t, 1, kind, to)
	}
}

// An agent that starts again opens nothing, closes nothing and cuts nothing, also before it knows anything.
func TestRestart(t *testing.T) {
	w := newWorld(t)
	w.start(t)
	w.policy(t, allow(map[string]string{"role": "client"}))
	w.done(t)
	open := map[string]net.Conn{}
	for kind, to := range kinds() {
		open[kind] = w.connect(t, 1, kind, to)
	}
	check := func(when string) {
		t.Helper()
		for kind, to := range kinds() {
			if err := echoes(open[kind], patience); err != nil {
				t.Errorf("%s: %s: %v", when, kind, err)
			}
			w.refused(t, 2, kind, to)
		}
	}
	w.stop()
	check("without an agent")
	w.begin(t)
	check("before it knows anything")
	w.pod(object(1, map[string]string{"role": "client"}))
	w.pod(object(2, map[string]string{"role": "other"}))
	check("before it knows all")
	w.pod(object(0, map[string]string{"app": "web"}))
	w.policy(t, allow(map[string]string{"role": "client"}))
	w.enforcer.Complete()
	if cut := w.done(t); cut != 0 {
		t.Errorf("%d connections were cut", cut)
	}
	check("after it")
}

// A pod begins when its policies are there, for the addresses of its lease; it waits for its own UID.
func TestPrepare(t *testing.T) {
	w := newWorld(t)
	w.start(t)
	w.policy(t, allow(map[string]string{"role": "client"}))
	w.done(t)
	lease := enforce.Lease{Pod: types.NamespacedName{Namespace: "shop", Name: "new"}, UID: "uid-of-new", Addresses: []netip.Addr{netip.MustParseAddr("10.244.0.9")}}
	there := func(context.Context) (bool, error) { return true, nil }
	ctx, cancel := context.WithTimeout(t.Context(), silence)
	defer cancel()
	if err := w.enforcer.Prepare(ctx, lease, there); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a pod that is not known: %v", err)
	}
	gone := func(context.Context) (bool, error) { return false, nil }
	if err := w.enforcer.Prepare(t.Context(), lease, gone); !errors.Is(err, enforce.ErrReplaced) {
		t.Errorf("a pod that is gone: %v", err)
	}
	begun := make(chan error)
	go func() { begun <- w.enforcer.Prepare(t.Context(), lease, there) }()
	p := object(8, map[string]string{"app": "web"})
	p.Name, p.UID, p.Status.PodIPs = "new", "uid-of-another", nil
	w.pod(p)
	select {
	case err := <-begun:
		t.Fatalf("it began with another pod's policies: %v", err)
	case <-time.After(silence):
	}
	p.UID = "uid-of-new"
	w.pod(p)
	must(t, <-begun)
	if !w.guarded(t, "10.244.0.9") {
		t.Error("its address is not guarded")
	}
	w.mu.Lock()
	w.leases = []enforce.Lease{lease}
	w.mu.Unlock()
	w.enforcer.PublishPod(lease.Pod, nil)
	<-time.After(2 * time.Second)
	if !w.guarded(t, "10.244.0.9") {
		t.Error("a pod that the API server forgot is open while it has its lease")
	}
	w.mu.Lock()
	w.leases = nil
	w.mu.Unlock()
	deadline := time.Now().Add(patience)
	for w.guarded(t, "10.244.0.9") {
		if time.Now().After(deadline) {
			t.Fatal("it is guarded without a lease")
		}
		<-time.After(50 * time.Millisecond)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if !slices.Contains(w.isolated, "shop") {
		t.Errorf("isolated are %v", w.isolated)
	}
}

// guarded says whether the kernel has a chain for an address.
func (w *world) guarded(t *testing.T, address string) bool {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "/usr/sbin/nft", "list", "map", "ip", "fairway-policy", "ingress").CombinedOutput()
	if err != nil {
		t.Fatalf("nft: %v\n%s", err, out)
	}
	return strings.Contains(string(out), address+" ")
}

// listed is what nft lists of the table of IPv4.
func listed(t *testing.T) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "/usr/sbin/nft", "list", "table", "ip", "fairway-policy").CombinedOutput()
	if err != nil {
		t.Fatalf("nft: %v\n%s", err, out)
	}
	return string(out)
}
