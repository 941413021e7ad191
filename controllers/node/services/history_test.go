package services

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairwaynet/fairway/api/problem"
	"github.com/fairwaynet/fairway/proxy/service"
	"github.com/fairwaynet/fairway/test/laggingcache"
)

var histories = flag.Int("histories", 60, "how many random histories to try")

// wall shows what was published and reported.
type wall struct {
	services map[Key]*service.Service
	cluster  service.Cluster
	problems map[any][]problem.Problem
}

func (w *wall) Publish(name Key, s *service.Service) {
	if delete(w.services, name); s != nil {
		w.services[name] = s
	}
}

func (w *wall) PublishCluster(c service.Cluster) { w.cluster = c }

func (w *wall) Report(_ context.Context, key any, problems []problem.Problem) {
	if delete(w.problems, key); len(problems) > 0 {
		w.problems[key] = problems
	}
}

// stage is the reconcilers of one node, of which a test takes every step.
type stage struct {
	*wall

	services  *Reconciler
	cluster   *Cluster
	ofService laggingcache.Line[Key]
	ofNode    laggingcache.Line[NodeKey]
}

func on(w *laggingcache.World, node string, config Config) *stage {
	s := &stage{wall: &wall{services: map[Key]*service.Service{}, problems: map[any][]problem.Problem{}}}
	config.Pods = []netip.Prefix{netip.MustParsePrefix("10.244.0.0/16")}
	s.services = &Reconciler{Config: config, Node: node, Objects: w, Publisher: s.wall, Reporter: s.wall}
	s.cluster = &Cluster{Reconciler: s.services, Addresses: func() ([]netip.Addr, error) {
		return []netip.Addr{netip.MustParseAddr("198.51.100.1"), netip.MustParseAddr("192.0.2.1")}, nil
	}}
	return s
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func newWorld() *laggingcache.World {
	w := laggingcache.New(&corev1.Service{}, &discoveryv1.EndpointSlice{}, &corev1.Node{}, &networkingv1.ServiceCIDR{})
	w.Kind(&corev1.Service{}).Transform = trimService
	w.Kind(&discoveryv1.EndpointSlice{}).Transform = trimSlice
	return w
}

// open does what an assembly does: watches first, then the first pass.
func (s *stage) open(ctx context.Context, t *testing.T, w *laggingcache.World) {
	t.Helper()
	s.ofService, s.ofNode = laggingcache.Listen(ctx, t, s.services, s.services.Sources(w)), laggingcache.Listen(ctx, t, s.cluster, s.cluster.Sources(w))
	s.pass(ctx, t)
}

// pass is a first pass.
func (s *stage) pass(ctx context.Context, t *testing.T) {
	t.Helper()
	keys, err := s.services.Keys(ctx)
	must(t, err)
	for _, key := range keys {
		_, err := s.services.Reconcile(ctx, key)
		must(t, err)
	}
	nodes, err := s.cluster.Keys(ctx)
	must(t, err)
	for _, key := range nodes {
		_, err := s.cluster.Reconcile(ctx, key)
		must(t, err)
	}
}

// settle lets everything arrive and be done.
func (s *stage) settle(ctx context.Context, t *testing.T, w *laggingcache.World) {
	t.Helper()
	w.Sync()
	for s.ofService.Work(ctx) || s.ofNode.Work(ctx) {
		continue
	}
}

// step does one of the things that can happen.
func (s *stage) step(ctx context.Context, t *testing.T, w *laggingcache.World, random *rand.Rand) {
	t.Helper()
	k := w.Any(random)
	switch random.IntN(20) {
	case 0:
		k.Relist(random)
	case 1, 2, 3, 4, 5:
		mutate(w, random)
	case 6, 7, 8, 9, 10:
		k.Receive()
	case 11, 12, 13, 14, 15:
		k.Hear(random)
	default:
		s.ofService.Work(ctx)
		s.ofNode.Work(ctx)
	}
}

func oneOf[T any](random *rand.Rand, all ...T) T { return all[random.IntN(len(all))] }

// mutate changes an object of the world.
func mutate(w *laggingcache.World, random *rand.Rand) {
	var object client.Object
	switch random.IntN(10) {
	case 0:
		object = ranges(random)
	case 1, 2:
		object = node(random)
	case 3, 4, 5:
		object = anyService(random)
	case 6:
		object = touched(w, &discoveryv1.EndpointSlice{}, random)
	default:
		object = slice(random)
	}
	if random.IntN(4) == 0 {
		w.Remove(object)
		return
	}
	w.Apply(object)
}

// touched is an object of a kind that was written again without a change of what counts.
func touched(w *laggingcache.World, kind client.Object, random *rand.Rand) client.Object {
	of := w.Kind(kind).Server
	names := slices.SortedFunc(maps.Keys(of), func(a, b Key) int { return strings.Compare(a.Name, b.Name) })
	if len(names) == 0 {
		return slice(random)
	}
	object := of[names[random.IntN(len(names))]].DeepCopyObject().(client.Object)
	object.SetAnnotations(map[string]string{"note": fmt.Sprint(random.Int())})
	return object
}

func ranges(random *rand.Rand) *networkingv1.ServiceCIDR {
	c := &networkingv1.ServiceCIDR{}
	c.Name = oneOf(random, "kubernetes", "more")
	c.Spec.CIDRs = oneOf(random, []string{"10.96.0.0/16"}, []string{"10.96.0.0/16", "fd00:96::/112"}, []string{"203.0.113.0/25"})
	return c
}

func node(random *rand.Rand) *corev1.Node {
	n := &corev1.Node{}
	n.Name = oneOf(random, "n1", "n2", "n3")
	n.Labels = map[string]string{corev1.LabelTopologyZone: oneOf(random, "a", "b", "")}
	n.Status.Addresses = []corev1.NodeAddress{
		{Type: oneOf(random, corev1.NodeInternalIP, corev1.NodeExternalIP, corev1.NodeHostName), Address: oneOf(random, "203.0.113.1", "203.0.113.130", "198.51.100.1", "2001:db8::1")},
	}
	return n
}

func anyService(random *rand.Rand) *corev1.Service {
	s := &corev1.Service{}
	number := random.IntN(4)
	s.Namespace, s.Name = "shop", fmt.Sprint("s", number)
	s.Annotations = map[string]string{"note": oneOf(random, "a", "b")}
	s.Spec.ClusterIP = oneOf(random, fmt.Sprint("10.96.0.", number+1), fmt.Sprint("10.96.0.", number+1), "None")
	s.Spec.ClusterIPs = []string{s.Spec.ClusterIP}
	s.Spec.Ports = []corev1.ServicePort{{Port: int32(80 + random.IntN(2)), NodePort: oneOf[int32](random, 0, 30080)}}
	s.Spec.ExternalIPs = oneOf(random, nil, nil, []string{"203.0.113.130"}, []string{"203.0.113.1"})
	s.Spec.LoadBalancerSourceRanges = oneOf(random, nil, nil, []string{"wrong"})
	s.Spec.ExternalTrafficPolicy = oneOf(random, corev1.ServiceExternalTrafficPolicyLocal, corev1.ServiceExternalTrafficPolicyCluster)
	if random.IntN(2) == 0 {
		s.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: oneOf(random, "203.0.113.1", "203.0.113.130", "10.244.0.1")}}
	}
	return s
}

func slice(random *rand.Rand) *discoveryv1.EndpointSlice {
	s := &discoveryv1.EndpointSlice{AddressType: discoveryv1.AddressTypeIPv4}
	s.Namespace, s.Name = "shop", fmt.Sprint("x", random.IntN(6))
	s.Labels = map[string]string{discoveryv1.LabelServiceName: oneOf(random, "s0", "s1", "s2", "s3", "")}
	s.Annotations = map[string]string{corev1.EndpointsLastChangeTriggerTime: oneOf(random, "2026-11-30T12:00:00Z", "2026-11-30T12:00:01.5Z", "wrong")}
	s.Ports = []discoveryv1.EndpointPort{{Port: oneOf(random, new(int32(8080)), new(int32(8080)), nil)}}
	for range random.IntN(4) {
		ready, leaving := random.IntN(3) > 0, random.IntN(2) > 0
		e := discoveryv1.Endpoint{
			Addresses: []string{oneOf(random, "10.244.0.1", "10.244.0.2", "10.244.1.1", "10.244.1.2", "wrong")}, NodeName: oneOf(random, new("n1"), new("n2"), nil),
			Conditions: discoveryv1.EndpointConditions{Ready: &ready, Serving: &leaving, Terminating: &leaving},
		}
		if random.IntN(3) > 0 {
			e.Hints = &discoveryv1.EndpointHints{ForZones: []discoveryv1.ForZone{{Name: oneOf(random, "a", "b")}}}
		}
		s.Endpoints = append(s.Endpoints, e)
	}
	return s
}

// However objects came, changed and went, in whatever order the informers heard of it, and
// whatever a broken watch has left out, what is published and reported in the end is what a
// fresh start finds. And of the nodes that there are one tells of each Problem.
func TestAnyHistoryEndsAsAFreshStart(t *testing.T) {
	for seed := range uint64(*histories) {
		walk(t, seed)
		if t.Failed() {
			return
		}
	}
}

func walk(t *testing.T, seed uint64) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	random := rand.New(rand.NewPCG(seed, 5))
	w := newWorld()
	must(t, Index(ctx, w))
	for range random.IntN(30) {
		mutate(w, random)
	}
	w.Sync()
	config := Config{ExternalIPs: seed%2 == 0}
	if seed%3 == 0 {
		config.NodePorts = []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")}
	}
	s := on(w, oneOf(random, "n1", "n2"), config)
	s.open(ctx, t, w)
	for range 2 {
		for range 10 + random.IntN(100) {
			s.step(ctx, t, w, random)
		}
		s.settle(ctx, t, w)
		s.compare(ctx, t, w, seed)
	}
	for range 20 { // what one change wakes is enough
		mutate(w, random)
		s.settle(ctx, t, w)
		s.compare(ctx, t, w, seed)
	}
}

func (s *stage) compare(ctx context.Context, t *testing.T, w *laggingcache.World, seed uint64) {
	t.Helper()
	told := map[string]int{}
	for _, name := range []string{"n1", "n2", "n3"} {
		fresh := on(w, name, s.services.Config)
		fresh.pass(ctx, t)
		if _, there := w.Kind(&corev1.Node{}).Server[client.ObjectKey{Name: name}]; there {
			for _, problems := range fresh.problems {
				for _, p := range problems {
					told[p.String()]++
				}
			}
		}
		if name != s.services.Node {
			continue
		}
		same := []cmp.Option{cmpopts.EquateComparable(netip.Addr{}, netip.AddrPort{}, netip.Prefix{})}
		if !reflect.DeepEqual(fresh.wall, s.wall) {
			t.Fatalf("seed %d (-fresh +walked)\n%s", seed, cmp.Diff(*fresh.wall, *s.wall, append(same, cmp.AllowUnexported(wall{}))...))
		}
	}
	for text, n := range told {
		if n != 1 {
			t.Errorf("seed %d: %d nodes tell: %s", seed, n, text)
		}
	}
}

// With the update that a relist gives, one endpoint comes and another goes. Both count.
func TestAnUpdateThatAddsAndRemoves(t *testing.T) {
	w := newWorld()
	must(t, Index(t.Context(), w))
	primary := func(address string) *discoveryv1.EndpointSlice {
		s := &discoveryv1.EndpointSlice{AddressType: discoveryv1.AddressTypeIPv4}
		s.Namespace, s.Name, s.Labels = "shop", "primary-x", map[string]string{discoveryv1.LabelServiceName: "primary"}
		s.Ports = []discoveryv1.EndpointPort{{Port: new(int32(5432))}}
		s.Endpoints = []discoveryv1.Endpoint{{Addresses: []string{address}}}
		return s
	}
	object := &corev1.Service{}
	object.Namespace, object.Name, object.Spec.ClusterIP = "shop", "primary", "10.96.0.1"
	object.Spec.Ports = []corev1.ServicePort{{Port: 5432}}
	w.Apply(object)
	w.Apply(primary("10.244.0.1"))
	w.Sync()
	s := on(w, "n1", Config{})
	s.open(t.Context(), t, w)
	for _, address := range []string{"10.244.0.9", "10.244.0.2"} { // the first is never seen
		w.Apply(primary(address))
	}
	w.Kind(&discoveryv1.EndpointSlice{}).Relist(rand.New(rand.NewPCG(1, 1)))
	s.settle(t.Context(), t, w)
	want := []service.Endpoint{{AddrPort: netip.MustParseAddrPort("10.244.0.2:5432")}}
	if got := s.wall.services[client.ObjectKeyFromObject(object)].Ports[0].All; !slices.Equal(got, want) {
		t.Errorf("endpoints %v, want %v", got, want)
	}
}
