package enforce_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"github.com/fairwaynet/fairway/proxy/nft"
	"github.com/fairwaynet/fairway/proxy/policy"
	"github.com/fairwaynet/fairway/proxy/policy/enforce"
)

// populate tells of pods of a cluster, a hundred of them on the node, and of policies: each selects one of the
// node's hundred pods, so that of a thousand each pod has ten, and lets in and out some pods of one of a hundred teams.
func (w *world) populate(b *testing.B, pods, policies int) {
	b.Helper()
	for i := range 100 {
		name := fmt.Sprint("team-", i)
		w.enforcer.PublishNamespace(name, labels.Set{"team": name})
	}
	w.enforcer.PublishNamespace("shop", labels.Set{"team": "shop"})
	for i := range pods {
		w.pod(crowd(i))
	}
	for i := range policies {
		np := &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: fmt.Sprint("np-", i)}}
		np.Spec.PodSelector.MatchLabels = map[string]string{"group": fmt.Sprint(i % 100)}
		np.Spec.PolicyTypes = []networkingv1.PolicyType{"Ingress", "Egress"}
		team := networkingv1.NetworkPolicyPeer{
			NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"team": fmt.Sprint("team-", i%100)}},
			PodSelector:       &metav1.LabelSelector{MatchLabels: map[string]string{"tier": fmt.Sprint(i % 7)}},
		}
		np.Spec.Ingress = []networkingv1.NetworkPolicyIngressRule{{From: []networkingv1.NetworkPolicyPeer{team}}}
		np.Spec.Egress = []networkingv1.NetworkPolicyEgressRule{{To: []networkingv1.NetworkPolicyPeer{team}}}
		if i < 100 { // the pods that are measured: their last policy lets them through
			np.Name = fmt.Sprint("zz-", i)
			np.Spec.Ingress[0].From = append(np.Spec.Ingress[0].From, networkingv1.NetworkPolicyPeer{PodSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"measured": "yes"}}})
			np.Spec.Egress[0].To = append(np.Spec.Egress[0].To, networkingv1.NetworkPolicyPeer{PodSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"measured": "yes"}}})
		}
		p, problems := policy.Parse(np)
		if len(problems) > 0 {
			b.Fatal(problems)
		}
		w.enforcer.PublishPolicy(p.Name, p)
	}
}

// crowd is one of many pods. The first three are those that exist.
func crowd(i int) *corev1.Pod {
	p := object(i, map[string]string{"group": fmt.Sprint(i % 100), "tier": fmt.Sprint(i % 7)})
	if i < 100 {
		if i < 3 {
			p.Labels["measured"] = "yes"
		}
		return p
	}
	p.Namespace, p.Spec.NodeName = fmt.Sprint("team-", i%100), fmt.Sprint("n", 2+i%500)
	p.Status.PodIPs = []corev1.PodIP{{IP: fmt.Sprintf("10.245.%d.%d", i/250, i%250)}, {IP: fmt.Sprintf("fd00:245::%x", i)}}
	return p
}

// committed waits for a commit.
func (w *world) once(b *testing.B) {
	b.Helper()
	select {
	case r := <-w.committed:
		if r.Err != nil || len(r.Refused) > 0 {
			b.Fatal(r.Err, r.Refused)
		}
	case <-time.After(time.Minute):
		b.Fatal("no commit")
	}
}

// BenchmarkFlow is an allowed flow between two pods of a node with a hundred: new connections, questions on
// an open one, and a stream. All are measured by turns, so that what else the machine does hits all.
func BenchmarkFlow(b *testing.B) {
	w := newWorld(b)
	w.stop()
	track(b)
	none := func() { wipe(b) }
	with := func(policies int) func() {
		return func() {
			wipe(b)
			w.begin(b)
			w.populate(b, 100, policies)
			w.enforcer.Complete()
			w.once(b)
			w.stop()
		}
	}
	sink(b, w)
	cases := []struct {
		name    string
		prepare func()
	}{{"none", none}, {"0", with(0)}, {"100", with(100)}, {"1000", with(1000)}}
	connects, asks, streams := map[string][]float64{}, map[string][]float64{}, map[string][]float64{}
	for range 7 {
		for _, c := range cases {
			c.prepare()
			connects[c.name] = append(connects[c.name], w.connects(b))
			asks[c.name] = append(asks[c.name], w.asks(b))
			streams[c.name] = append(streams[c.name], w.streams(b))
		}
	}
	for _, m := range []struct {
		unit  string
		taken map[string][]float64
	}{{"connects/s", connects}, {"asks/s", asks}, {"MB/s", streams}} {
		for _, c := range cases {
			b.ReportMetric(median(m.taken[c.name])/median(m.taken["none"]), fmt.Sprintf("ratio-%s-%s", c.name, m.unit))
			b.Logf("%s policies: %.0f %s", c.name, median(m.taken[c.name]), m.unit)
		}
	}
}

func median(all []float64) float64 {
	sorted := slices.Sorted(slices.Values(all))
	return sorted[len(sorted)/2]
}

// track makes the kernel track connections, as it does on every node with Services or a pod network.
func track(b *testing.B) {
	b.Helper()
	add := exec.CommandContext(b.Context(), "/usr/sbin/nft", "-f", "-")
	add.Stdin = strings.NewReader("table inet track {\nchain forward {\ntype filter hook forward priority -10;\nct state invalid counter\n}\nchain nat {\ntype nat hook postrouting priority 100;\n}\n}\n")
	if out, err := add.CombinedOutput(); err != nil {
		b.Fatalf("nft: %v\n%s", err, out)
	}
}

// sink reads what it is sent, at port 81 of pod 0.
func sink(b *testing.B, w *world) {
	w.pods[0].Serve(b, "[::]:81", func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
}

// turn is how long one thing is measured at a time.
const turn = 300 * time.Millisecond

func (w *world) connects(b *testing.B) float64 {
	b.Helper()
	n, began := 0, time.Now()
	w.pods[1].Do(func() {
		for time.Since(began) < turn {
			c, err := (&net.Dialer{}).DialContext(context.Background(), "tcp", net.JoinHostPort(address(0, false), "80"))
			if err != nil {
				b.Error(err)
				return
			}
			_ = c.(*net.TCPConn).SetLinger(0)
			_ = c.Close()
			n++
		}
	})
	return float64(n) / time.Since(began).Seconds()
}

func (w *world) asks(b *testing.B) float64 {
	b.Helper()
	c := w.connect(b, 1, "tcp", net.JoinHostPort(address(0, false), "80"))
	n, began := 0, time.Now()
	for time.Since(began) < turn {
		if err := echoes(c, patience); err != nil {
			b.Fatal(err)
		}
		n++
	}
	return float64(n) / time.Since(began).Seconds()
}

func (w *world) streams(b *testing.B) float64 {
	b.Helper()
	c, err := w.dial(b, 1, "tcp", net.JoinHostPort(address(0, false), "81"), patience)
	must(b, err)
	block := make([]byte, 128<<10)
	n, began := 0, time.Now()
	for time.Since(began) < turn {
		k, err := c.Write(block)
		must(b, err)
		n += k
	}
	return float64(n) / time.Since(began).Seconds() / 1e6
}

// wipe removes the tables.
func wipe(b *testing.B) {
	engine, err := nft.New(b.Context(), nft.Options{})
	must(b, err)
	must(b, engine.Remove(b.Context(), enforce.Tables()...))
	must(b, engine.Close())
}

// BenchmarkLabel is the time from when a pod's other labels are told until the kernel has what follows, with
// 1,000 policies on the node and 10,000 pods in the cluster; and the cold start, and what is kept in memory.
func BenchmarkLabel(b *testing.B) {
	w := newWorld(b)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	w.populate(b, 10_000, 1000)
	began := time.Now()
	w.enforcer.Complete()
	w.once(b)
	b.ReportMetric(time.Since(began).Seconds()*1000, "ms-cold")
	runtime.GC()
	runtime.ReadMemStats(&after)
	b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/(1<<20), "MiB-heap")
	for _, kind := range []struct {
		name  string
		first int // the pod whose labels change
	}{{"remote", 5000}, {"local", 50}} {
		var took []float64
		for i := range 300 {
			p := crowd(kind.first + i%40)
			if i/40%2 == 0 {
				p.Labels = map[string]string{"group": fmt.Sprint((i + 3) % 100), "tier": fmt.Sprint((i + 1) % 7)}
			}
			began := time.Now()
			w.enforcer.PublishPod(types.NamespacedName{Namespace: p.Namespace, Name: p.Name}, policy.PodOf(p))
			w.once(b)
			took = append(took, time.Since(began).Seconds()*1000)
		}
		slices.Sort(took)
		b.ReportMetric(took[len(took)/2], "ms-p50-"+kind.name)
		b.ReportMetric(took[len(took)*99/100], "ms-p99-"+kind.name)
	}
}
