package nodes

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr/testr"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairwaynet/fairway/api/problem"
	addresses "github.com/fairwaynet/fairway/controllers/loadbalancer"
	"github.com/fairwaynet/fairway/controllers/objects/index"
	"github.com/fairwaynet/fairway/proxy/loadbalancer"
	"github.com/fairwaynet/fairway/test/soak"
)

// addressed is a world in which Services get addresses.
type addressed struct {
	*testing.T

	world    *world
	machines []*machine
	lan      *lan
	macs     map[string]string // of machines, by name

	mu   sync.Mutex
	held map[netip.Addr][]held
}

// quietly takes Problems for the log.
type quietly struct{ *testing.T }

func (q quietly) Report(_ context.Context, _ any, problems []problem.Problem) {
	for _, p := range problems {
		q.Log(p)
	}
}

// newAddressed starts machines and the controller, with a pool of both families.
func newAddressed(t *testing.T, w *world, first, machines int) *addressed {
	t.Helper()
	x := &addressed{T: t, world: w, macs: map[string]string{}, held: map[netip.Addr][]held{}}
	w.Kubectl(t, "", "apply", "-f", filepath.Join("..", "..", "config", "crd", "fairway.dev_addresspools.yaml"))
	w.Kubectl(t, "", "wait", "--for=condition=Established", "crd/addresspools.fairway.dev")
	w.Kubectl(t, `{"apiVersion":"fairway.dev/v1alpha1","kind":"AddressPool","metadata":{"name":"lan"},"spec":{"addresses":["192.0.2.100-192.0.2.109","2001:db8::100/124"]}}`, "apply", "-f", "-")
	t.Cleanup(func() { w.Kubectl(t, "", "delete", "addresspool", "lan") })
	t.Cleanup(func() { // of an address that an earlier test left, the next one's nodes would take care
		w.Kubectl(t, "", "delete", "leases", "-n", "kube-system", "-l", loadbalancer.LeaseLabel, "--wait=false")
	})
	x.lan = listen(t)
	flags := []string{"--services", "--announce", "--namespace=kube-system"}
	for i := range machines {
		m := w.machine(t, settings{number: first + i, flags: flags})
		x.machines = append(x.machines, m)
		x.ready(m, true)
		x.macs[m.name] = strings.TrimSpace(m.shell("ip -o link show eth0 | sed 's/.*ether //; s/ .*//'"))
	}
	scheme, err := index.Scheme()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.client.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "kube-system"}}, metav1.CreateOptions{}); client.IgnoreAlreadyExists(err) != nil {
		t.Fatal(err)
	}
	x.follow()
	ctx, stop := context.WithCancel(t.Context())
	allocator := &addresses.Allocator{
		Config: w.Config, Scheme: scheme, Namespace: "kube-system", Class: loadbalancer.Class{Name: "fairway.dev/load-balancer", Default: true},
		Reporter: func(client.Reader) (addresses.Reporter, func()) { return quietly{t}, func() {} }, Log: testr.New(t),
	}
	ended := make(chan error, 1)
	go func() { ended <- allocator.Lead(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return x
}

// ready says whether a machine's Node is Ready.
func (x *addressed) ready(m *machine, ready bool) {
	x.Helper()
	status := map[bool]corev1.ConditionStatus{true: corev1.ConditionTrue, false: corev1.ConditionUnknown}[ready]
	patch := fmt.Sprintf(`{"status":{"conditions":[{"type":"Ready","status":"%s"}]}}`, status)
	if _, err := x.world.client.CoreV1().Nodes().Patch(context.Background(), m.name, types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{}, "status"); err != nil {
		x.Fatal(err)
	}
}

// cordon takes a machine out of service, or back.
func (x *addressed) cordon(m *machine, out bool) {
	x.Helper()
	patch := fmt.Sprintf(`{"spec":{"unschedulable":%v}}`, out)
	if _, err := x.world.client.CoreV1().Nodes().Patch(context.Background(), m.name, types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
		x.Fatal(err)
	}
}

// balanced makes a Service with addresses, whose endpoints are pods.
func (x *addressed) balanced(policy corev1.ServiceExternalTrafficPolicy, pods ...*pod) (*corev1.Service, []netip.Addr) {
	x.Helper()
	s := x.world.shop(x.T, policy)
	s.Spec.Type = corev1.ServiceTypeLoadBalancer
	services := x.world.client.CoreV1().Services(s.Namespace)
	if _, err := services.Update(context.Background(), s, metav1.UpdateOptions{}); err != nil {
		x.Fatal(err)
	}
	x.world.lead(x.T, s, pods...)
	var all []netip.Addr
	eventually(x, "the Service has addresses", patience, func() error {
		now, err := services.Get(context.Background(), s.Name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		all = nil
		for _, each := range now.Status.LoadBalancer.Ingress {
			all = append(all, netip.MustParseAddr(each.IP))
		}
		if len(all) != len(s.Spec.IPFamilies) {
			return fmt.Errorf("it has %v; %v", all, now.Status.Conditions)
		}
		s = now
		return nil
	})
	return s, all
}

// holder is the machine that answers for an address by its record; nil: none.
func (x *addressed) holder(a netip.Addr) *machine {
	x.Helper()
	lease, err := x.world.client.CoordinationV1().Leases("kube-system").Get(context.Background(), loadbalancer.RecordName(a), metav1.GetOptions{})
	if err != nil {
		x.Fatal(err)
	}
	record, _ := loadbalancer.ReadRecord(lease)
	for _, m := range x.machines {
		if m.name == record.Holder {
			return m
		}
	}
	return nil
}

// moves waits until another machine answers, and returns it.
func (x *addressed) moves(a netip.Addr, from *machine, within time.Duration) *machine {
	x.Helper()
	var now *machine
	eventually(x, fmt.Sprintf("%s moves from %s", a, from.name), within, func() error {
		if now = x.holder(a); now == nil || now == from {
			return errors.New("it does not")
		}
		return nil
	})
	return now
}

// signal sends a signal to a machine's agent.
func (m *machine) signal(signal unix.Signal) {
	m.t.Helper()
	if err := m.process.Signal(signal); err != nil {
		m.t.Fatal(err)
	}
}

// clients ask at the same time. A first segment that was lost is sent again after a second.
const (
	clients  = 4
	givingUp = 900 * time.Millisecond
)

// strays are the connections that fail now and then, whatever happens, one of some ten thousand: the node gives
// each a port at random, and the pod may still have a closed connection with that one. The client's next
// segment, after a second, would open it.
const strays = 1

// outage is how long a Service's address was silent, asked from outside all the time.
type outage struct {
	stop   func()
	mu     sync.Mutex
	asked  int
	failed []time.Time // of connections that did not come about within a second
	worst  time.Duration
}

func (x *addressed) ask(a netip.Addr) *outage {
	o := &outage{}
	ctx, cancel := context.WithCancel(x.Context())
	var asking sync.WaitGroup
	to := net.JoinHostPort(a.String(), "80")
	for range clients {
		asking.Go(func() {
			for ctx.Err() == nil {
				began := time.Now()
				c, err := (&net.Dialer{Timeout: givingUp}).DialContext(ctx, "tcp", to)
				if err == nil {
					_ = c.SetDeadline(time.Now().Add(time.Second))
					_, err = c.Read(make([]byte, 64))
					_ = c.Close()
				}
				if ctx.Err() != nil {
					return
				}
				o.mu.Lock()
				o.asked++
				if err != nil {
					o.failed = append(o.failed, began)
				}
				o.worst = max(o.worst, time.Since(began))
				o.mu.Unlock()
				time.Sleep(5 * time.Millisecond) //nolint:forbidigo // the rate of the load
			}
		})
	}
	o.stop = sync.OnceFunc(func() { cancel(); asking.Wait() })
	x.Cleanup(o.stop)
	return o
}

// end returns the longest time in which connections failed one after the other.
func (o *outage) end(t *testing.T, what string) time.Duration {
	t.Helper()
	o.stop()
	slices.SortFunc(o.failed, time.Time.Compare)
	silent := time.Duration(0)
	first := 0
	for i, at := range o.failed {
		if i > 0 && at.Sub(o.failed[i-1]) > 2*givingUp {
			first = i
		}
		silent = max(silent, at.Sub(o.failed[first])+givingUp)
	}
	t.Logf("%s: %d connections, %d failed, silent for %s, the longest took %s", what, o.asked, len(o.failed), silent.Round(time.Millisecond), o.worst.Round(time.Millisecond))
	return silent
}

// A Service gets addresses, one node answers for each, and another takes over when it dies, is
// cordoned, loses the API server or is paused. On the link one MAC is heard at a time.
func testAddresses(t *testing.T, w *world) {
	x := newAddressed(t, w, 41, 3)
	a, b, c := x.machines[0].pod("a", "").serve(t), x.machines[1].pod("b", "").serve(t), x.machines[2].pod("c", "").serve(t)
	s, all := x.balanced(corev1.ServiceExternalTrafficPolicyCluster, a, b, c)
	defer x.oneAtATime()
	for family, address := range all {
		x.world.opens(t, address)
		holder := x.holder(address)
		if holder == nil {
			t.Fatalf("nobody holds %s", address)
		}
		if got := x.lan.since(address, time.Time{}); !slices.Equal(got, []string{x.macs[holder.name]}) {
			t.Errorf("%v claim %s, want %s", got, address, x.macs[holder.name])
		}
		// A port that the Service does not have is refused, and does not go to and fro.
		becomes(t, own, net.JoinHostPort(address.String(), "81"), "refused")
		free := netip.MustParseAddr([]string{"192.0.2.109", "2001:db8::10f"}[family])
		if err := refusedAt(t, holder, free); err != nil {
			t.Errorf("an address of the pool that no Service has: %v", err)
		}
	}
	address := all[0]

	t.Run("cordoned", func(t *testing.T) {
		from := x.holder(address)
		load := x.ask(address)
		began := time.Now()
		x.cordon(from, true)
		defer x.cordon(from, false)
		x.moves(address, from, 5*time.Second) // it takes milliseconds on a machine that has time
		t.Logf("the record moved after %s", time.Since(began).Round(time.Millisecond))
		time.Sleep(time.Second) //nolint:forbidigo // what fails afterwards counts, too
		load.end(t, "cordoned")
		if len(load.failed) > clients { // each may have had one open at that moment, which does not follow
			t.Errorf("%d connections failed", len(load.failed))
		}
	})
	t.Run("the agent restarts", func(t *testing.T) {
		at := x.holder(address)
		load := x.ask(address)
		at.signal(unix.SIGTERM)
		<-at.process.Done()
		at.run()
		time.Sleep(5 * time.Second) //nolint:forbidigo // longer than others wait for a dead node
		if now := x.holder(address); now != at {
			t.Errorf("the address moved from %s", at.name)
		}
		load.end(t, "restart")
		if len(load.failed) > strays {
			t.Error("connections failed")
		}
	})
	t.Run("the node dies", func(t *testing.T) {
		from := x.holder(address)
		pods := slices.DeleteFunc([]*pod{a, b, c}, func(p *pod) bool { return p.node == from })
		w.lead(t, s, pods...) // Kubernetes notices the node later, and connections to its pods fail until then
		defer w.lead(t, s, a, b, c)
		time.Sleep(500 * time.Millisecond) //nolint:forbidigo // all nodes know
		load := x.ask(address)
		began := time.Now()
		cable := "to-" + from.name
		ip(t, "link", "set", cable, "nomaster")
		from.process.Kill()
		x.moves(address, from, 5*time.Second)
		t.Logf("the record moved after %s", time.Since(began).Round(time.Millisecond))
		time.Sleep(2 * time.Second) //nolint:forbidigo // what fails afterwards counts, too
		if silent := load.end(t, "the node dies"); silent > 6*time.Second {
			t.Errorf("silent for %s", silent)
		}
		ip(t, "link", "set", cable, "master", fabric(0))
		from.run()
	})
	t.Run("the holder loses the API server", func(t *testing.T) {
		from := x.holder(address)
		load := x.ask(address)
		from.gate.close()
		x.moves(address, from, 10*time.Second)
		time.Sleep(2 * time.Second) //nolint:forbidigo // both may answer for a second
		moved := time.Now()
		time.Sleep(2 * time.Second) //nolint:forbidigo // the time in which it must be silent
		if macs := x.lan.since(address, moved); slices.Contains(macs, x.macs[from.name]) {
			t.Errorf("%s goes on claiming it", from.name)
		}
		if silent := load.end(t, "without the API server"); silent > 2*time.Second {
			t.Errorf("silent for %s", silent)
		}
		from.gate.listen(from)
	})
	t.Run("all lose the API server", func(t *testing.T) {
		at := x.holder(address)
		load := x.ask(address)
		for _, m := range x.machines {
			m.gate.close()
		}
		time.Sleep(12 * time.Second) //nolint:forbidigo // several lives
		for _, m := range x.machines {
			m.gate.listen(m)
		}
		time.Sleep(4 * time.Second) //nolint:forbidigo // one who moves it does so now
		if now := x.holder(address); now != at {
			t.Errorf("the address moved from %s", at.name)
		}
		load.end(t, "nobody has the API server")
		if len(load.failed) > strays {
			t.Error("connections failed")
		}
	})
	t.Run("the holder's agent is paused", func(t *testing.T) {
		from := x.holder(address)
		load := x.ask(address)
		from.signal(unix.SIGSTOP)
		x.moves(address, from, 10*time.Second)
		time.Sleep(time.Second) //nolint:forbidigo // the pause goes on
		continued := time.Now()
		from.signal(unix.SIGCONT)
		time.Sleep(3 * time.Second) //nolint:forbidigo // the time in which it must be silent
		if macs := x.lan.since(address, continued); slices.Contains(macs, x.macs[from.name]) {
			t.Errorf("%s claims it after its pause", from.name)
		}
		load.end(t, "paused")
	})
	for _, half := range []struct{ name, hook string }{{"the holder hears nothing", "egress"}, {"nobody hears the holder", "ingress"}} {
		t.Run(half.name, func(t *testing.T) {
			from := x.holder(address)
			w.lead(t, s, slices.DeleteFunc([]*pod{a, b, c}, func(p *pod) bool { return p.node == from })...)
			defer w.lead(t, s, a, b, c)
			time.Sleep(500 * time.Millisecond) //nolint:forbidigo // all nodes know
			load := x.ask(address)
			mend := halve(t, from, half.hook)
			from.gate.close() // its answers, or its questions, are lost, too
			x.moves(address, from, 10*time.Second)
			time.Sleep(2 * time.Second) //nolint:forbidigo // both may answer for a second
			moved := time.Now()
			time.Sleep(soak.Pick(5*time.Second, 25*time.Second)) //nolint:forbidigo // 25 s are longer than between two announcements of an address
			mend()
			from.gate.listen(from)
			time.Sleep(3 * time.Second) //nolint:forbidigo // the time in which it must be silent
			if macs := x.lan.since(address, moved); slices.Contains(macs, x.macs[from.name]) {
				t.Errorf("%s goes on claiming it", from.name)
			}
			if silent := load.end(t, half.name); silent > 8*time.Second {
				t.Errorf("silent for %s", silent)
			}
		})
	}
	t.Run("endpoints of the policy Local", func(t *testing.T) {
		s, all := x.balanced(corev1.ServiceExternalTrafficPolicyLocal, b)
		for family, address := range all {
			becomes(t, own, net.JoinHostPort(address.String(), "80"), []string{"192.0.2.254", "2001:db8::fe"}[family])
			if at := x.holder(address); at != x.machines[1] {
				t.Errorf("%v holds %s", at, address)
			}
		}
		x.world.lead(t, s, c)
		for family, address := range all {
			eventually(t, "the address follows the endpoint", patience, func() error {
				if at := x.holder(address); at != x.machines[2] {
					return errors.New("it does not")
				}
				return nil
			})
			becomes(t, own, net.JoinHostPort(address.String(), "80"), []string{"192.0.2.254", "2001:db8::fe"}[family])
		}
	})
}

// halve loses all packets of one direction of a machine's link: "egress" what it would hear, "ingress" what
// it says. The function that it returns ends that.
func halve(t *testing.T, m *machine, hook string) (mend func()) {
	t.Helper()
	nft := func(text string) {
		t.Helper()
		command := exec.Command("/usr/sbin/nft", "-f", "-")
		command.Stdin = strings.NewReader(text)
		if said, err := command.CombinedOutput(); err != nil {
			t.Fatalf("nft: %v: %s", err, said)
		}
	}
	nft(fmt.Sprintf("table netdev half {\nchain half {\ntype filter hook %s device to-%s priority 0; policy drop;\n}\n}\n", hook, m.name))
	mend = sync.OnceFunc(func() { nft("delete table netdev half\n") })
	t.Cleanup(mend)
	return mend
}

// ip runs ip in the namespace of the test.
func ip(t *testing.T, args ...string) {
	t.Helper()
	if said, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		t.Fatalf("ip %s: %v: %s", strings.Join(args, " "), err, said)
	}
}

// refusedAt checks that a machine refuses what comes for an address, also if it is none of its
// own.
func refusedAt(t *testing.T, m *machine, a netip.Addr) error {
	t.Helper()
	via, prefix := m.addresses[0].String(), a.String()+"/32"
	family := "-4"
	if a.Is6() {
		via, prefix, family = m.addresses[1].String(), a.String()+"/128", "-6"
	}
	ip(t, family, "route", "add", prefix, "via", via)
	defer ip(t, family, "route", "del", prefix)
	_, err := (&net.Dialer{Timeout: 2 * time.Second}).DialContext(t.Context(), "tcp", net.JoinHostPort(a.String(), "80"))
	if err == nil || !strings.Contains(err.Error(), "refused") {
		return fmt.Errorf("it is not refused: %w", err)
	}
	return nil
}

// opens connects to an address from outside.
func (w *world) opens(t *testing.T, a netip.Addr) {
	t.Helper()
	eventually(t, fmt.Sprintf("%s answers", a), patience, func() error {
		_, err := own.Ask(t, net.JoinHostPort(a.String(), "80"))
		return err
	})
}
