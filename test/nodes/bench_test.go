package nodes

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// BenchmarkPeers measures an agent at rest, and with 1,000 other nodes, a fifth of them on
// its link: until it has ways to all of them, after a start and after one node has changed, and
// what it needs then.
func BenchmarkPeers(b *testing.B) {
	const peers = 1000
	w := newWorld(b)
	m := w.machine(b, settings{number: 1})
	m.measure(b, "rest")
	began := time.Now()
	for i := range peers {
		w.peer(b, i)
	}
	b.ReportMetric(time.Since(began).Seconds(), "s/create")
	m.awaitRoutes(peers)
	b.ReportMetric(time.Since(began).Seconds(), "s/created-and-reached")
	m.measure(b, "peers")

	m.process.Kill()
	m.shell("ip route flush proto 102 root 10.128.0.0/10; ip -6 route flush proto 102; ip link del fwoverlay")
	began = time.Now()
	m.run()
	m.awaitRoutes(peers)
	b.ReportMetric(time.Since(began).Seconds(), "s/started-and-reached")

	nodes := w.client.CoreV1().Nodes()
	var took time.Duration
	const changes = 20
	for i := range changes {
		name := fmt.Sprintf("peer%d", 5*i)
		began := time.Now()
		patch := fmt.Sprintf(`{"status": {"addresses": [{"type": "InternalIP", "address": "192.0.2.%d"}]}}`, 220+i)
		if _, err := nodes.Patch(context.Background(), name, "application/merge-patch+json", []byte(patch), metav1.PatchOptions{}, "status"); err != nil {
			b.Fatal(err)
		}
		m.eventually("the way to "+name+" has changed", func() error {
			if route := m.shell(fmt.Sprintf("ip route show 10.%d.%d.0/24", 128+(5*i)/256, (5*i)%256)); !strings.Contains(route, fmt.Sprintf("via 192.0.2.%d ", 220+i)) {
				return fmt.Errorf("it is %s", route)
			}
			return nil
		})
		took += time.Since(began)
	}
	b.ReportMetric(float64(took.Milliseconds())/changes, "ms/change")
	m.measure(b, "end")
	b.ReportMetric(0, "ns/op")
}

// peer makes the Node of another agent.
func (w *world) peer(b *testing.B, i int) {
	b.Helper()
	// Every fifth is on the machine's link, which has room for 200.
	address := fmt.Sprintf("10.9.%d.%d", i/250, 1+i%250)
	if i%5 == 0 {
		address = fmt.Sprintf("192.0.2.%d", 2+i/5)
	}
	pods := []string{fmt.Sprintf("10.%d.%d.0/24", 128+i/256, i%256), fmt.Sprintf("fd00:1:%x::/64", i+1)}
	node := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{
			Name: fmt.Sprintf("peer%d", i),
			Annotations: map[string]string{
				"fairway.dev/network": fmt.Sprintf(`{"version": "bench", "vtep": "02:00:00:00:%02x:%02x", "mtu": 1500}`, i/256, i%256),
			},
		},
		Spec:   corev1.NodeSpec{PodCIDR: pods[0], PodCIDRs: pods},
		Status: corev1.NodeStatus{Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: address}}},
	}
	if _, err := w.client.CoreV1().Nodes().Create(context.Background(), node, metav1.CreateOptions{}); err != nil {
		b.Fatal(err)
	}
}

// awaitRoutes waits until the machine has ways to as many nodes, in both families.
func (m *machine) awaitRoutes(peers int) {
	m.t.Helper()
	m.eventually(fmt.Sprintf("it has ways to %d nodes", peers), func() error {
		have := strings.Fields(m.shell("ip route show proto 102 | wc -l; ip -6 route show proto 102 | wc -l"))
		for _, count := range have {
			if n, err := strconv.Atoi(count); err != nil || n < peers {
				return fmt.Errorf("it has %s", have)
			}
		}
		return nil
	})
}

// measure reports what the agent needs in memory, and in CPU over ten seconds.
func (m *machine) measure(b *testing.B, when string) {
	b.Helper()
	const window = 10 * time.Second
	time.Sleep(window / 2) //nolint:forbidigo // it comes to rest
	before := m.cpu(b)
	time.Sleep(window) //nolint:forbidigo // what is measured takes that long
	b.ReportMetric(float64((m.cpu(b)-before).Milliseconds())/window.Seconds()/10, "%CPU/"+when)
	status, err := os.ReadFile(filepath.Join("/proc", m.pid(b), "status"))
	if err != nil {
		b.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if size, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kib, err := strconv.Atoi(strings.Fields(size)[0])
			if err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(kib)/1024, "MiB/"+when)
		}
	}
}

// pid is that of the agent: nsenter has become it.
func (m *machine) pid(b *testing.B) string {
	b.Helper()
	return strings.TrimSpace(m.shell("pgrep -f -- '^[^ ]*fairway node --node-name=" + m.name + " ' | head -1"))
}

// cpu is the CPU time of the agent so far.
func (m *machine) cpu(b *testing.B) time.Duration {
	b.Helper()
	return cpuOf(b, m.pid(b))
}

// cpuOf is the CPU time of a process so far.
func cpuOf(b *testing.B, pid string) time.Duration {
	b.Helper()
	stat, err := os.ReadFile(filepath.Join("/proc", pid, "stat"))
	if err != nil {
		b.Fatal(err)
	}
	_, fields, _ := strings.Cut(string(stat), ") ")
	var ticks int
	for _, at := range []int{11, 12} { // utime and stime, proc(5)
		n, err := strconv.Atoi(strings.Fields(fields)[at])
		if err != nil {
			b.Fatal(err)
		}
		ticks += n
	}
	const tick = 10 * time.Millisecond
	return time.Duration(ticks) * tick
}
