package loadbalancer_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/testr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/controller-runtime/pkg/client"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/fairwaynet/fairway/api/problem"
	allocation "github.com/fairwaynet/fairway/controllers/loadbalancer"
	"github.com/fairwaynet/fairway/controllers/objects/index"
	"github.com/fairwaynet/fairway/proxy/loadbalancer"
	"github.com/fairwaynet/fairway/test/cluster"
)

func TestMain(m *testing.M) {
	ctrllog.SetLogger(logr.Discard())
	m.Run()
}

// world is an API server without nodes.
type world struct {
	*testing.T

	cluster *cluster.Cluster
	client  kubernetes.Interface
	stop    func() // of the leader

	mu   sync.Mutex
	told map[any][]problem.Problem
}

// Report implements Reporter.
func (w *world) Report(_ context.Context, key any, problems []problem.Problem) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.told[key] = problems
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{T: t, cluster: cluster.Start(t, cluster.Options{}), told: map[any][]problem.Problem{}, stop: func() {}}
	var err error
	if w.client, err = kubernetes.NewForConfig(w.cluster.Config); err != nil {
		t.Fatal(err)
	}
	w.cluster.Kubectl(t, "", "apply", "-f", filepath.Join("..", "..", "config", "crd", "fairway.dev_addresspools.yaml"))
	w.cluster.Kubectl(t, "", "wait", "--for=condition=Established", "crd/addresspools.fairway.dev")
	w.cluster.Kubectl(t, "{apiVersion: v1, kind: Namespace, metadata: {name: agents}}", "apply", "-f", "-")
	t.Cleanup(func() { w.stop() })
	return w
}

func (w *world) pool(name string, addresses ...string) {
	w.Helper()
	w.cluster.Kubectl(w.T, fmt.Sprintf(`{"apiVersion": "fairway.dev/v1alpha1", "kind": "AddressPool", "metadata": {"name": %q}, "spec": {"addresses": ["%s"]}}`,
		name, strings.Join(addresses, `", "`)), "apply", "-f", "-")
}

// lead begins a term, and ends an earlier one.
func (w *world) lead() {
	w.Helper()
	w.stop()
	scheme, err := index.Scheme()
	if err != nil {
		w.Fatal(err)
	}
	allocator := &allocation.Allocator{
		Config: w.cluster.Config, Scheme: scheme, Namespace: "agents", Class: loadbalancer.Class{Name: "fairway.dev/load-balancer", Default: true},
		Reporter: func(client.Reader) (allocation.Reporter, func()) { return w, func() {} }, Log: testr.New(w.T),
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- allocator.Lead(ctx) }()
	w.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			w.Error(err)
		}
	})
}

func (w *world) service(name string, edit func(*corev1.Service)) {
	w.Helper()
	s := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{}},
		Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer, Ports: []corev1.ServicePort{{Port: 80}}},
	}
	if edit != nil {
		edit(s)
	}
	if _, err := w.client.CoreV1().Services("default").Create(context.Background(), s, metav1.CreateOptions{}); err != nil {
		w.Fatal(err)
	}
}

func (w *world) remove(name string) {
	w.Helper()
	if err := w.client.CoreV1().Services("default").Delete(context.Background(), name, metav1.DeleteOptions{}); err != nil {
		w.Fatal(err)
	}
}

// addresses are those that Services have, by name; those without have an empty text.
func (w *world) addresses() map[string]string {
	w.Helper()
	list, err := w.client.CoreV1().Services("default").List(context.Background(), metav1.ListOptions{})
	if err != nil {
		w.Fatal(err)
	}
	all := map[string]string{}
	for _, s := range list.Items {
		if s.Spec.Type != corev1.ServiceTypeLoadBalancer {
			continue
		}
		var texts []string
		for _, each := range s.Status.LoadBalancer.Ingress {
			texts = append(texts, each.IP)
		}
		all[s.Name] = strings.Join(texts, " ")
	}
	return all
}

// records are the addresses that have a Lease.
func (w *world) records() []string {
	w.Helper()
	list, err := w.client.CoordinationV1().Leases("agents").List(context.Background(), metav1.ListOptions{})
	if err != nil {
		w.Fatal(err)
	}
	var all []string
	for i := range list.Items {
		if r, ok := loadbalancer.ReadRecord(&list.Items[i]); ok {
			all = append(all, fmt.Sprint(r.Address, " ", r.Services))
		}
	}
	slices.Sort(all)
	return all
}

func (w *world) eventually(what string, is func() bool) {
	w.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !is() {
		if time.Now().After(deadline) {
			w.Fatalf("%s: not within 20 s; Services have %v, records are %v", what, w.addresses(), w.records())
		}
		time.Sleep(20 * time.Millisecond) //nolint:forbidigo // it polls
	}
}

func (w *world) condition(service, kind string) *metav1.Condition {
	w.Helper()
	s, err := w.client.CoreV1().Services("default").Get(context.Background(), service, metav1.GetOptions{})
	if err != nil {
		w.Fatal(err)
	}
	return meta.FindStatusCondition(s.Status.Conditions, kind)
}

// However often leaders change, and whatever order Services come in: no Service that has an
// address loses it, none is given twice, and a Service that goes moves no other.
func TestLeadersChange(t *testing.T) {
	w := newWorld(t)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0)) //nolint:gosec // a test
	w.pool("small", "192.0.2.1-192.0.2.5")
	for i := range 4 {
		w.service(fmt.Sprint("s", i), nil)
	}
	w.service("fixed", func(s *corev1.Service) { s.Annotations[loadbalancer.AddressesAnnotation] = "192.0.2.3" })
	w.service("late", nil) // for which none is left
	w.lead()
	full := func() bool {
		n := 0
		for _, a := range w.addresses() {
			if a != "" {
				n++
			}
		}
		return n == 5
	}
	w.eventually("all addresses are given", full)
	before := w.addresses()
	terms := 50
	if testing.Short() { // with the race detector one is as good as the next
		terms = 10
	}
	for term := range terms {
		w.lead()
		switch random.IntN(4) {
		case 0: // it ends in the middle of whatever it does
			time.Sleep(time.Duration(random.IntN(60)) * time.Millisecond) //nolint:forbidigo // a moment by chance
		case 1:
			gone := fmt.Sprint("s", random.IntN(4))
			if _, there := w.addresses()[gone]; there {
				w.remove(gone)
			} else {
				w.service(gone, nil)
			}
		default:
		}
		now := w.addresses()
		seen := map[string]string{}
		for name, a := range now {
			if other, twice := seen[a]; twice && a != "" {
				t.Fatalf("term %d: %s and %s have %s", term, name, other, a)
			}
			seen[a] = name
			if had := before[name]; had != "" && a != had {
				// A Service of the same name that was made anew is another.
				if !strings.HasPrefix(name, "s") || a != "" {
					t.Fatalf("term %d: %s had %s and has %q", term, name, had, a)
				}
			}
		}
		before = now
	}
	w.lead()
	w.eventually("all addresses are given, or all Services have one", func() bool { return full() || !slices.Contains(values(w.addresses()), "") })
	w.eventually("each address that is given has its record, and no other", func() bool {
		var want []string
		for name, a := range w.addresses() {
			if a != "" {
				want = append(want, a+" [default/"+name+"]")
			}
		}
		slices.Sort(want)
		return slices.Equal(want, w.records())
	})
}

func values(m map[string]string) (all []string) {
	for _, v := range m {
		all = append(all, v)
	}
	return all
}

// What Services and pools hear of what is wrong, and what becomes of it when it is mended.
func TestWhatServicesHear(t *testing.T) {
	w := newWorld(t)
	w.pool("one", "192.0.2.1", "nonsense")
	w.service("first", nil)
	w.lead()
	w.eventually("it has the address", func() bool { return w.addresses()["first"] == "192.0.2.1" })
	w.service("second", nil)
	w.eventually("it hears that none is free", func() bool {
		c := w.condition("second", "fairway.dev/AddressAssigned")
		return c != nil && c.Status == metav1.ConditionFalse && c.Reason == "NoAddressFree" && strings.Contains(c.Message, "AddressPool one")
	})
	w.eventually("the first hears that no node answers", func() bool {
		c := w.condition("first", "fairway.dev/AddressAnnounced")
		return c != nil && c.Status == metav1.ConditionFalse && c.Reason == "AddressNotAnnounced"
	})
	w.eventually("the pool says what it is", func() bool {
		said := w.cluster.Kubectl(t, "", "get", "addresspool", "one", "-o", `jsonpath={.status.assigned} {.status.available} {.status.conditions[0].status} {.status.conditions[0].message}`)
		return strings.HasPrefix(said, "1 0 True ") && strings.Contains(said, `"nonsense" is no address`)
	})
	w.pool("one", "192.0.2.1-192.0.2.2")
	w.eventually("the second has the address that came", func() bool { return w.addresses()["second"] == "192.0.2.2" })
	w.service("third", nil)
	w.remove("first")
	w.eventually("the third has the address that became free", func() bool { return w.addresses()["third"] == "192.0.2.1" })
	w.service("others", func(s *corev1.Service) {
		class := "example.com/lb"
		s.Spec.LoadBalancerClass = &class
	})
	w.pool("one", "192.0.2.1-192.0.2.9")
	w.service("fourth", nil)
	w.eventually("the fourth has an address", func() bool { return w.addresses()["fourth"] == "192.0.2.3" })
	if a := w.addresses()["others"]; a != "" {
		t.Errorf("a Service of another class has %s", a)
	}
	// What another controller gives is nobody else's.
	w.cluster.Kubectl(t, "", "patch", "service", "others", "--subresource=status", "--type=merge", "-p", `{"status":{"loadBalancer":{"ingress":[{"ip":"192.0.2.4"}]}}}`)
	w.eventually("the pool leaves out what another controller has given", func() bool {
		said := w.cluster.Kubectl(t, "", "get", "addresspool", "one", "-o", "jsonpath={.status.conditions[0].message}")
		return strings.Contains(said, "192.0.2.4 (an address of Service default/others")
	})
	w.service("fifth", nil)
	w.eventually("the fifth has the next one", func() bool { return w.addresses()["fifth"] == "192.0.2.5" })
	// A record that somebody deletes comes back.
	w.cluster.Kubectl(t, "", "delete", "lease", "-n", "agents", "fairway-address-192.0.2.5")
	w.eventually("the record is back", func() bool { return slices.Contains(w.records(), "192.0.2.5 [default/fifth]") })
	w.cluster.Kubectl(t, "", "patch", "service", "fifth", "--type=merge", "-p", `{"spec":{"type":"ClusterIP"}}`)
	w.eventually("the record of a Service that is no load balancer any more goes", func() bool {
		return !slices.Contains(w.records(), "192.0.2.5 [default/fifth]")
	})
}
