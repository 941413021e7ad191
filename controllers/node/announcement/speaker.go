package announcement

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/sync/errgroup"
	coordination "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/runtime"
	coordinationv1 "k8s.io/client-go/kubernetes/typed/coordination/v1"
	"k8s.io/client-go/rest"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairwaynet/fairway/api/problem"
	"github.com/fairwaynet/fairway/api/v1alpha1"
	"github.com/fairwaynet/fairway/controllers/objects/watch"
	"github.com/fairwaynet/fairway/proxy/loadbalancer"
	"github.com/fairwaynet/fairway/proxy/loadbalancer/announce"
)

// Announcer answers for addresses. An *announce.Announcer is one.
type Announcer interface {
	Hold(a netip.Addr, device string) error
	Drop(a netip.Addr)
	Announce(a netip.Addr)
	Held() map[netip.Addr]string
	Probe(ctx context.Context, a netip.Addr, device string) (announce.Answer, error)
	Resume()
	Run(ctx context.Context) error
}

var _ Announcer = &announce.Announcer{}

// Link is an interface of the node.
type Link struct {
	Name     string
	Networks []netip.Prefix // its addresses, with the length of their networks' prefix
}

// Routes are the node's.
type Routes struct {
	Routers []netip.Addr            // of default routes
	Direct  map[netip.Prefix]string // by which interface a network is reached that the node is on
}

// Reporter takes the Problems of a key.
type Reporter interface {
	Report(ctx context.Context, key any, problems []problem.Problem)
}

// Speaker makes one node answer for addresses. It is a manager.Runnable.
type Speaker struct {
	Node      string
	Namespace string       // of the Leases
	Config    *rest.Config // without a limit of requests
	Scheme    *runtime.Scheme
	// Slices is a cache of EndpointSlices, and SlicesOf finds those of a Service in it.
	Slices   cache.Cache
	SlicesOf func(context.Context, Service) ([]*discoveryv1.EndpointSlice, error)
	// Links are the node's interfaces, and Routes where its routes lead.
	Links  func() ([]Link, error)
	Routes func() (Routes, error)
	// Annotate writes an annotation of the node's Node.
	Annotate func(ctx context.Context, annotation, text string) error
	Reporter Reporter
	// Ranges takes the ranges of all AddressPools, whenever they change.
	Ranges func([]loadbalancer.Range)
	Log    logr.Logger
	// Memory is for the next agent.
	Memory Memory
	// Metrics may be nil.
	Metrics *Metrics

	objects   cache.Cache
	leases    coordinationv1.LeaseInterface
	announcer Announcer
	queue     workqueue.TypedRateLimitingInterface[string] // names of Leases of addresses
	life      *life
	pulses    *pulses
	unsure    chan struct{} // holds a value after a pause
	claimed   chan struct{} // holds a value after another machine was heard
	settled   atomic.Bool   // records can be read

	mu       sync.Mutex
	states   map[netip.Addr]*state
	services map[Service]map[netip.Addr]bool // which addresses each has
	unready  map[string]time.Time            // since when nodes are seen that are not Ready
	links    []Link
	direct   map[netip.Prefix]string // as of Routes, for the networks of links
}

// state is what the node remembers of an address.
type state struct {
	record  loadbalancer.Record
	vacant  time.Time // since when it is for whoever takes it; zero: it is not
	yielded string    // the version of the record at which somebody else was heard
	probing bool
	heard   map[string]claim // other machines that claim it, by MAC
}

// claim is when a machine was heard that claims an address.
type claim struct{ first, last time.Time }

// NeedLeaderElection implements manager.LeaderElectionRunnable.
func (*Speaker) NeedLeaderElection() bool { return false }

const workers = 8

// Start runs until ctx ends.
func (s *Speaker) Start(ctx context.Context) error {
	if err := s.prepare(); err != nil {
		return fmt.Errorf("announce addresses: %w", err)
	}
	running, parts := errgroup.WithContext(ctx)
	running.Go(func() error { return s.announcer.Run(parts) })
	running.Go(func() error { return s.life.run(parts) })
	running.Go(func() error { return s.run(parts) })
	return watch.UnlessEnded(ctx, running.Wait())
}

func (s *Speaker) prepare() error {
	clients, err := coordinationv1.NewForConfig(s.Config)
	if err != nil {
		return err
	}
	s.leases = clients.Leases(s.Namespace)
	s.states, s.services, s.unsure = map[netip.Addr]*state{}, map[Service]map[netip.Addr]bool{}, make(chan struct{}, 1)
	s.unready = map[string]time.Time{}
	s.claimed = make(chan struct{}, 1)
	s.queue = newQueue()
	if s.life, err = newLife(s.Config, s.Namespace, s.Node, s.holds, s.returned, s.Log); err != nil {
		return err
	}
	s.pulses = newPulses(s.Node, s.leases, s.wakeHeldBy)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.announcer == nil {
		s.announcer = announce.New(announce.Options{
			Sure: func() bool { return s.settled.Load() && s.life.sure() }, Heard: s.heard,
			Paused: func() {
				select {
				case s.unsure <- struct{}{}:
				default:
				}
			},
			Failed: func(a netip.Addr, err error) {
				s.Log.V(1).Info("an announcement was not sent", "address", a, "reason", err.Error())
			},
		})
	}
	return nil
}

func newQueue() workqueue.TypedRateLimitingInterface[string] {
	return workqueue.NewTypedRateLimitingQueue(workqueue.NewTypedItemExponentialFailureRateLimiter[string](50*time.Millisecond, 2*time.Second))
}

// run takes turns until ctx ends.
func (s *Speaker) run(ctx context.Context) error {
	defer s.queue.ShutDown()
	resuming, answered := context.WithCancel(ctx)
	var waiting sync.WaitGroup
	waiting.Go(func() { s.resume(resuming) })
	defer waiting.Wait()
	defer answered()
	if err := s.connect(ctx); err != nil {
		return watch.UnlessEnded(ctx, fmt.Errorf("announce addresses: %w", err))
	}
	running, ctx := errgroup.WithContext(ctx)
	running.Go(func() error { return s.objects.Start(ctx) })
	running.Go(func() error {
		if err := s.follow(ctx); err != nil {
			return watch.UnlessEnded(ctx, fmt.Errorf("announce addresses: %w", err))
		}
		answered()
		waiting.Wait()
		return s.takeTurns(ctx)
	})
	return running.Wait()
}

// takeTurns works on all addresses until ctx ends. All that is watched has been read.
func (s *Speaker) takeTurns(ctx context.Context) error {
	s.tellRanges(ctx)
	s.linksNow() // before it is asked what the node can answer for
	if err := s.settle(ctx); err != nil {
		return watch.UnlessEnded(ctx, fmt.Errorf("announce addresses: %w", err))
	}
	running, ctx := errgroup.WithContext(ctx)
	running.Go(func() error {
		<-ctx.Done()
		s.queue.ShutDown()
		return nil
	})
	for range workers {
		running.Go(func() error { return s.work(ctx) })
	}
	running.Go(func() error { return s.pulses.run(ctx) })
	running.Go(func() error { return s.look(ctx) })
	running.Go(func() error { return s.reassure(ctx) })
	running.Go(func() error { return s.remember(ctx) })
	return running.Wait()
}

func (s *Speaker) work(ctx context.Context) error {
	for {
		name, ended := s.queue.Get()
		if ended {
			return nil
		}
		again, err := s.turn(ctx, name)
		switch {
		case err != nil && ctx.Err() == nil:
			s.Log.V(1).Info("an address is looked at again", "lease", name, "reason", err.Error())
			s.queue.AddRateLimited(name)
		case again > 0:
			s.queue.Forget(name)
			s.queue.AddAfter(name, again)
		default:
			s.queue.Forget(name)
		}
		s.queue.Done(name)
	}
}

// events wake addresses.
func (s *Speaker) events(ctx context.Context) toolscache.ResourceEventHandler {
	hear := func(object any) {
		if gone, ok := object.(toolscache.DeletedFinalStateUnknown); ok {
			object = gone.Obj
		}
		switch o := object.(type) {
		case *coordination.Lease:
			if node, lasts, ok := loadbalancer.AnnouncerOf(o); ok {
				s.pulses.see(node, o.UID, o.ResourceVersion, lasts)
			} else {
				s.queue.Add(o.Name)
			}
		case *corev1.Service:
			s.wakeService(Service{Namespace: o.Namespace, Name: o.Name})
		case *discoveryv1.EndpointSlice:
			s.wakeService(Service{Namespace: o.Namespace, Name: o.Labels[discoveryv1.LabelServiceName]})
		case *v1alpha1.AddressPool:
			s.tellRanges(ctx)
			s.wakeAll()
		default:
			s.wakeAll()
		}
	}
	return toolscache.ResourceEventHandlerFuncs{
		AddFunc: hear,
		UpdateFunc: func(before, now any) {
			if !watch.IsSameNode(before, now) {
				hear(now)
			}
		},
		DeleteFunc: func(object any) {
			if lease, ok := object.(*coordination.Lease); ok {
				if node, _, is := loadbalancer.AnnouncerOf(lease); is {
					s.pulses.gone(node)
					return
				}
			}
			if node, ok := object.(*corev1.Node); ok {
				s.mu.Lock()
				delete(s.unready, node.Name)
				s.mu.Unlock()
			}
			hear(object)
		},
	}
}

// tellRanges tells which addresses are of load balancers.
func (s *Speaker) tellRanges(ctx context.Context) {
	var all v1alpha1.AddressPoolList
	if err := s.objects.List(ctx, &all, client.UnsafeDisableDeepCopy); err != nil {
		return // the cache has not begun, and the first pool of it comes again
	}
	var ranges []loadbalancer.Range
	for i := range all.Items {
		for _, text := range all.Items[i].Spec.Addresses {
			if r, err := loadbalancer.ParseRange(text); err == nil { // the controller tells of the others
				ranges = append(ranges, r)
			}
		}
	}
	s.Ranges(ranges)
}

func (s *Speaker) wakeService(name Service) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for a := range s.services[name] {
		s.queue.Add(loadbalancer.RecordName(a))
	}
}

func (s *Speaker) wakeAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for a := range s.states {
		s.queue.Add(loadbalancer.RecordName(a))
	}
}

func (s *Speaker) wakeHeldBy(node string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for a, st := range s.states {
		if st.record.Holder == node {
			s.queue.Add(loadbalancer.RecordName(a))
		}
	}
}

// holds says whether records name this node as holder.
func (s *Speaker) holds() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, st := range s.states {
		if st.record.Holder == s.Node {
			return true
		}
	}
	return false
}

// returned is called when the API server knows again that this node lives: what was given up
// because somebody else was heard is looked at.
func (s *Speaker) returned() { s.wakeAll() }

// heard is called when another machine claims an address that is held here.
func (s *Speaker) heard(a netip.Addr, mac net.HardwareAddr) {
	s.mu.Lock()
	st := s.states[a]
	if st == nil {
		s.mu.Unlock()
		return
	}
	if st.heard == nil {
		st.heard = map[string]claim{}
	}
	const most = 8
	known, is := st.heard[mac.String()]
	if !is {
		known.first = time.Now()
	}
	if known.last = time.Now(); is || len(st.heard) < most {
		st.heard[mac.String()] = known
	}
	s.mu.Unlock()
	s.queue.Add(loadbalancer.RecordName(a))
	select {
	case s.claimed <- struct{}{}:
	default:
	}
}
