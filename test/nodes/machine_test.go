package nodes

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/fairwaynet/fairway/test/binary"
	"github.com/fairwaynet/fairway/test/child"
	"github.com/fairwaynet/fairway/test/cluster"
	"github.com/fairwaynet/fairway/test/netns"
)

// patience is how long something may take on a busy machine that should take moments.
const patience = 30 * time.Second

func TestMain(m *testing.M) { netns.Main(m) }

// programs builds the agent and the plugin, once.
var programs = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "fairway-nodes-")
	if err != nil {
		return "", err
	}
	for _, name := range []string{"fairway", "fairway-cni"} {
		if err := binary.Build(context.Background(), filepath.Join(dir, name), "cmd/"+name, []string{"CGO_ENABLED=0"}); err != nil {
			return "", err
		}
	}
	return dir, nil
})

// world is an API server and the links between machines: two networks, and this namespace
// as the router between them, which knows no pods.
type world struct {
	*cluster.Cluster
	client kubernetes.Interface
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{Cluster: cluster.Start(t, cluster.Options{})}
	var err error
	if w.client, err = kubernetes.NewForConfig(w.Config); err != nil {
		t.Fatal(err)
	}
	netns.Forward(t)
	for i, addresses := range [][]string{{"192.0.2.254/24", "2001:db8::fe/64"}, {"198.51.100.254/24", "2001:db8:1::fe/64"}} {
		bridge(t, fabric(i), addresses...)
	}
	return w
}

func fabric(i int) string { return fmt.Sprintf("fabric%d", i) }

// bridge makes a link for machines. It ends with the test.
func bridge(t testing.TB, name string, addresses ...string) {
	t.Helper()
	attributes := netlink.NewLinkAttrs()
	attributes.Name, attributes.MTU = name, 9000
	made := &netlink.Bridge{LinkAttrs: attributes}
	err := netlink.LinkAdd(made)
	if err == nil {
		err = netlink.LinkSetUp(made)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = netlink.LinkDel(made) })
	var own *netns.Namespace
	own.Give(t, name, addresses...)
}

// machine is a node.
type machine struct {
	*netns.Namespace

	t          testing.TB
	world      *world
	name       string
	dir        string
	addresses  []netip.Addr
	kubeconfig string
	flags      []string
	gate       *gate
	process    *child.Process

	knowing sync.Mutex
	uids    map[string]string // of pods that the API server has
}

// settings of a machine.
type settings struct {
	fabric    int
	number    int      // of the machine, from 1 to 253
	ranges    []string // of its pods; empty: 10.244.NUMBER.0/24 and fd00:244:NUMBER::/64
	flags     []string // of the agent
	mtu       int      // of its link; 0: 1500
	prepare   string   // a shell command before the agent starts
	unstarted bool
}

// machine makes a machine with its Node and, unless it is unstarted, its agent.
func (w *world) machine(t testing.TB, s settings) *machine {
	t.Helper()
	dir, err := os.MkdirTemp("", "node-") //nolint:usetesting // short: sockets are in it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	m := &machine{Namespace: netns.New(t), t: t, world: w, name: fmt.Sprintf("n%d", s.number), dir: dir, flags: s.flags}
	net4, net6 := "192.0.2", "2001:db8:"
	if s.fabric == 1 {
		net4, net6 = "198.51.100", "2001:db8:1:"
	}
	addresses := []string{fmt.Sprintf("%s.%d/24", net4, s.number), fmt.Sprintf("%s:%x/64", net6, s.number)}
	for _, address := range addresses {
		m.addresses = append(m.addresses, netip.MustParsePrefix(address).Addr())
	}
	m.plug(fabric(s.fabric), addresses, net4+".254", net6+":fe")
	if s.ranges == nil {
		s.ranges = []string{fmt.Sprintf("10.244.%d.0/24", s.number), fmt.Sprintf("fd00:244:%x::/64", s.number)}
	}
	if s.mtu != 0 {
		m.resize(s.mtu)
	}
	if s.prepare != "" {
		m.shell(s.prepare)
	}
	m.register(s.ranges)
	t.Cleanup(func() {
		if err := w.client.CoreV1().Nodes().Delete(context.Background(), m.name, metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})
	m.gate = m.openGate()
	if m.kubeconfig, err = w.WriteKubeconfig(w.User("node-agent", "system:masters")); err != nil {
		t.Fatal(err)
	}
	if !s.unstarted {
		m.start()
	}
	return m
}

// plug joins the machine with a link, and gives it a router.
func (m *machine) plug(to string, addresses []string, routers ...string) {
	m.t.Helper()
	end := "to-" + m.name
	var own *netns.Namespace
	joinAs(m.t, own, end, m.Namespace, "eth0", addresses)
	link, err := netlink.LinkByName(end)
	if err == nil {
		var master netlink.Link
		if master, err = netlink.LinkByName(to); err == nil {
			err = netlink.LinkSetMaster(link, master)
		}
	}
	if err != nil {
		m.t.Fatal(err)
	}
	m.must(func() error {
		device, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		for _, router := range routers {
			gateway := net.ParseIP(router)
			_, everything, _ := net.ParseCIDR("::/0")
			if gateway.To4() != nil {
				_, everything, _ = net.ParseCIDR("0.0.0.0/0")
			}
			route := &netlink.Route{LinkIndex: device.Attrs().Index, Dst: everything, Gw: gateway}
			if err := netlink.RouteAdd(route); err != nil {
				return err
			}
		}
		return nil
	})
}

// joinAs makes a pair of interfaces between two namespaces.
func joinAs(t testing.TB, a *netns.Namespace, nameA string, b *netns.Namespace, nameB string, ofB []string) {
	t.Helper()
	other, err := os.Open(b.Path)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	attributes := netlink.NewLinkAttrs()
	attributes.Name = nameA
	pair := &netlink.Veth{LinkAttrs: attributes, PeerName: nameB, PeerNamespace: netlink.NsFd(other.Fd())}
	a.Do(func() {
		if err = netlink.LinkAdd(pair); err == nil {
			err = netlink.LinkSetUp(pair)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Do(func() { _ = netlink.LinkDel(pair) }) })
	b.Do(func() {
		var end netlink.Link
		if end, err = netlink.LinkByName(nameB); err == nil {
			err = netlink.LinkSetUp(end)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	b.Give(t, nameB, ofB...)
}

// resize sets the MTU of the machine's link.
func (m *machine) resize(mtu int) {
	m.t.Helper()
	end, err := netlink.LinkByName("to-" + m.name)
	if err == nil {
		err = netlink.LinkSetMTU(end, mtu)
	}
	if err != nil {
		m.t.Fatal(err)
	}
	m.shell(fmt.Sprintf("ip link set eth0 mtu %d", mtu))
}

// must runs a function on the machine that must not fail.
func (m *machine) must(do func() error) {
	m.t.Helper()
	var err error
	m.Do(func() { err = do() })
	if err != nil {
		m.t.Fatalf("%s: %v", m.name, err)
	}
}

// register makes the Node, as a kubelet and kube-controller-manager do.
func (m *machine) register(ranges []string) {
	m.t.Helper()
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: m.name}, Spec: corev1.NodeSpec{PodCIDRs: ranges}}
	if len(ranges) > 0 {
		node.Spec.PodCIDR = ranges[0]
	}
	nodes := m.world.client.CoreV1().Nodes()
	node, err := nodes.Create(context.Background(), node, metav1.CreateOptions{})
	if err != nil {
		m.t.Fatal(err)
	}
	for _, address := range m.addresses {
		node.Status.Addresses = append(node.Status.Addresses, corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: address.String()})
	}
	if _, err := nodes.UpdateStatus(context.Background(), node, metav1.UpdateOptions{}); err != nil {
		m.t.Fatal(err)
	}
}

// folder of the machine.
func (m *machine) folder(name string) string { return filepath.Join(m.dir, name) }

// command is a program on the machine.
func (m *machine) command(program string, args ...string) *exec.Cmd {
	return exec.Command("nsenter", append([]string{"--net=" + m.Path, program}, args...)...)
}

func (m *machine) agentArgs(more ...string) []string {
	dir, err := programs()
	if err != nil {
		m.t.Fatal(err)
	}
	args := []string{
		"node", "--node-name=" + m.name, "--kubeconfig=" + m.kubeconfig, "--api-server=" + m.gate.at,
		"--pod-cidr=10.244.0.0/16", "--pod-cidr=fd00:244::/32", "--plugin=" + filepath.Join(dir, "fairway-cni"),
		"--cni-bin-dir=" + m.folder("bin"), "--cni-conf-dir=" + m.folder("net.d"), "--state-dir=" + m.folder("state"), "--run-dir=" + m.folder("run"),
		"--runtime-endpoint=unix://" + m.folder("no-runtime.sock"), "--metrics-address=127.0.0.1:9469", "-v",
	}
	return append(append(args, m.flags...), more...)
}

// start starts the agent and waits until pods can start.
func (m *machine) start() {
	m.t.Helper()
	m.run()
	m.eventually("pods can start", func() error {
		_, err := os.Stat(m.folder("net.d/05-fairway.conflist"))
		return err
	})
}

// run starts the agent.
func (m *machine) run() {
	m.t.Helper()
	dir, err := programs()
	if err != nil {
		m.t.Fatal(err)
	}
	process, err := child.Start(m.dir, m.command(filepath.Join(dir, "fairway"), m.agentArgs()...))
	if err != nil {
		m.t.Fatal(err)
	}
	m.process = process
	m.t.Cleanup(func() {
		if m.t.Failed() {
			m.t.Log(process.Tail())
		}
		process.Kill()
	})
}

// eventually polls until there is no error.
func (m *machine) eventually(what string, check func() error) {
	m.t.Helper()
	eventually(m.t, m.name+": "+what, patience, check)
}

func eventually(t testing.TB, what string, within time.Duration, check func() error) {
	t.Helper()
	deadline := time.Now().Add(within)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("not within %s: %s: %v", within, what, err)
		}
		time.Sleep(20 * time.Millisecond) //nolint:forbidigo // it polls
	}
}

// gate carries connections from a machine to the API server, until it is closed.
type gate struct {
	at string

	mu       sync.Mutex
	listener net.Listener
	open     []net.Conn

	delay atomic.Int64 // of each answer, in nanoseconds
}

func (m *machine) openGate() *gate {
	m.t.Helper()
	g := &gate{at: "127.0.0.1:6443"}
	g.listen(m)
	m.t.Cleanup(g.close)
	return g
}

func (g *gate) listen(m *machine) {
	m.t.Helper()
	server, err := url.Parse(m.world.Config.Host)
	if err != nil {
		m.t.Fatal(err)
	}
	var listener net.Listener
	m.must(func() (err error) {
		listener, err = (&net.ListenConfig{}).Listen(context.Background(), "tcp", g.at)
		return err
	})
	g.mu.Lock()
	g.listener = listener
	g.mu.Unlock()
	go func() {
		for {
			from, err := listener.Accept()
			if err != nil {
				return
			}
			to, err := net.Dial("tcp", server.Host)
			if err != nil {
				_ = from.Close()
				continue
			}
			g.mu.Lock()
			g.open = append(g.open, from, to)
			g.mu.Unlock()
			go func() { _, _ = io.Copy(to, from); _ = to.Close() }()
			go g.answers(from, to)
		}
	}()
}

// answers carries what the API server says, each piece after the delay.
func (g *gate) answers(to, from net.Conn) {
	type piece struct {
		due  time.Time
		said []byte
	}
	pieces := make(chan piece, 1024)
	go func() {
		defer close(pieces)
		for {
			buffer := make([]byte, 64<<10)
			n, err := from.Read(buffer)
			if n > 0 {
				pieces <- piece{time.Now().Add(time.Duration(g.delay.Load())), buffer[:n]}
			}
			if err != nil {
				return
			}
		}
	}()
	for p := range pieces {
		<-time.After(time.Until(p.due))
		_, _ = to.Write(p.said)
	}
	_ = to.Close()
}

// close cuts the machine off from the API server.
func (g *gate) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	_ = g.listener.Close()
	for _, connection := range g.open {
		_ = connection.Close()
	}
	g.open = nil
}

// run runs a command on the machine and returns its output.
func (m *machine) shell(command string) string {
	m.t.Helper()
	said, err := m.command("sh", "-c", command).CombinedOutput()
	if err != nil {
		m.t.Fatalf("%s: %s: %v: %s", m.name, command, err, said)
	}
	return string(said)
}

// events are the messages of events of a reason on the machine's Node.
func (m *machine) events(reason string) []string {
	m.t.Helper()
	events, err := m.world.client.CoreV1().Events("").List(context.Background(), metav1.ListOptions{})
	if err != nil {
		m.t.Fatal(err)
	}
	var all []string
	for _, event := range events.Items {
		if event.InvolvedObject.Kind == "Node" && event.InvolvedObject.Name == m.name && event.Reason == reason {
			all = append(all, event.Message)
		}
	}
	return all
}

// told checks that an event on the machine's Node has some words.
func (m *machine) told(reason, words string) {
	m.t.Helper()
	m.eventually("it is told: "+words, func() error {
		all := m.events(reason)
		for _, message := range all {
			if strings.Contains(message, words) {
				return nil
			}
		}
		return fmt.Errorf("the events say %q", all)
	})
}

// own is the namespace of the test.
var own *netns.Namespace
