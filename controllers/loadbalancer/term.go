package loadbalancer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	coordinationv1 "k8s.io/client-go/kubernetes/typed/coordination/v1"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairwaynet/fairway/api/problem"
	"github.com/fairwaynet/fairway/controllers/objects/watch"
	"github.com/fairwaynet/fairway/proxy/loadbalancer"
)

const (
	// settle is how long a Service waits at most for a node to answer for its address, before
	// it gets it all the same.
	settle = 3 * time.Second
	// recheck is when an address is tried again for which somebody else has answered.
	recheck = 5 * time.Minute
	// mostCounted bounds what a pool's status counts.
	mostCounted = 1_000_000
)

// term is the time for which a replica leads. Its methods are called by one goroutine.
type term struct {
	*Allocator

	objects  client.Reader // a cache
	direct   client.Client
	leases   coordinationv1.LeaseInterface
	reporter Reporter
	queue    workqueue.TypedRateLimitingInterface[key]

	book    *loadbalancer.Book
	pools   []loadbalancer.Pool
	wrong   []problem.Problem                     // with AddressPools
	owned   map[types.NamespacedName]bool         // Services that have or want something of us
	foreign map[key]time.Time                     // since when an address is somebody's
	began   map[key]time.Time                     // since when a Service waits for a node
	others  map[types.NamespacedName][]netip.Addr // what Services have of somebody else
}

// run works until ctx ends.
func (t *term) run(ctx context.Context) error {
	if err := t.begin(ctx); err != nil {
		return watch.UnlessEnded(ctx, fmt.Errorf("give addresses: %w", err))
	}
	go func() {
		<-ctx.Done()
		t.queue.ShutDown()
	}()
	for {
		k, ended := t.queue.Get()
		if ended {
			return nil
		}
		again, err := t.reconcile(ctx, k)
		switch {
		case err != nil && ctx.Err() == nil:
			if !apierrors.IsConflict(err) { // else somebody was faster, and that is an event
				t.Log.Error(err, "give addresses", "kind", k.kind, "name", k.name)
			}
			t.queue.AddRateLimited(k)
		case again > 0:
			t.queue.Forget(k)
			t.queue.AddAfter(k, again)
		default:
			t.queue.Forget(k)
		}
		t.queue.Done(k)
	}
}

func (t *term) reconcile(ctx context.Context, k key) (time.Duration, error) {
	switch k.kind {
	case serviceKind:
		return t.service(ctx, k.name)
	case recordKind:
		return t.record(ctx, k.name)
	case poolKind:
		return 0, t.pool(ctx, k.name.Name)
	default:
		return 0, t.setPools(ctx, true)
	}
}

// begin notes what everybody has, before anybody gets anything: first what is recorded, then
// what statuses say, the oldest Service first.
func (t *term) begin(ctx context.Context) error {
	if err := t.setPools(ctx, false); err != nil {
		return err
	}
	var services corev1.ServiceList
	if err := t.objects.List(ctx, &services, client.UnsafeDisableDeepCopy); err != nil {
		return err
	}
	slices.SortFunc(services.Items, func(a, b corev1.Service) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	records, err := t.records(ctx)
	if err != nil {
		return err
	}
	for _, recorded := range []bool{true, false} {
		for i := range services.Items {
			if err := t.known(ctx, &services.Items[i], records, recorded); err != nil {
				return err
			}
		}
	}
	if err := t.setPools(ctx, false); err != nil { // without what others have
		return err
	}
	for a := range records {
		t.queue.Add(key{recordKind, types.NamespacedName{Namespace: t.Namespace, Name: loadbalancer.RecordName(a)}})
	}
	return nil
}

// known notes which addresses a Service has: those that are recorded, or what its status says.
func (t *term) known(ctx context.Context, s *corev1.Service, records map[netip.Addr][]types.NamespacedName, recorded bool) error {
	if !t.Class.Has(s) {
		t.foreignService(types.NamespacedName{Namespace: s.Namespace, Name: s.Name}, addressesOf(s))
		return nil
	}
	request, _, err := t.ask(ctx, s)
	if err != nil {
		return err
	}
	t.owned[request.Service] = true
	has := addressesOf(s)
	if recorded {
		has = slices.DeleteFunc(has, func(a netip.Addr) bool { return !slices.Contains(records[a], request.Service) })
		for a, names := range records {
			if slices.Contains(names, request.Service) && !slices.Contains(has, a) {
				has = append(has, a)
			}
		}
	}
	if lost := t.book.Adopt(request, has); len(lost) > 0 {
		t.Log.Info("a Service's status has addresses that another Service has; it gets others", "service", request.Service, "addresses", lost)
	}
	t.queue.Add(key{serviceKind, request.Service})
	return nil
}

// ask reads what a Service wants.
func (t *term) ask(ctx context.Context, s *corev1.Service) (loadbalancer.Request, []problem.Problem, error) {
	var namespace corev1.Namespace
	if err := t.objects.Get(ctx, types.NamespacedName{Name: s.Namespace}, &namespace); err != nil && !apierrors.IsNotFound(err) {
		return loadbalancer.Request{}, nil, err
	}
	request, problems := loadbalancer.Ask(s, namespace.Labels)
	return request, problems, nil
}

// setPools reads what can be given, and looks at all Services again if they may be concerned.
func (t *term) setPools(ctx context.Context, wake bool) error {
	objects, err := pools(ctx, t.objects)
	if err != nil {
		return err
	}
	own, err := reserved(ctx, t.objects)
	if err != nil {
		return err
	}
	t.pools, t.wrong = loadbalancer.BuildPools(objects, append(t.givenByOthers(), own...))
	t.book.SetPools(t.pools, own) // what another controller has given since evicts nobody
	t.reporter.Report(ctx, key{kind: poolsKind}, t.wrong)
	for i := range objects {
		t.queue.Add(key{poolKind, types.NamespacedName{Name: objects[i].Name}})
	}
	if wake {
		for name := range t.owned {
			t.queue.Add(key{serviceKind, name})
		}
	}
	return nil
}

// givenByOthers are the addresses that Services have of another controller.
func (t *term) givenByOthers() []loadbalancer.Reserved {
	var all []loadbalancer.Reserved
	for name, addresses := range t.others {
		for _, a := range addresses {
			all = append(all, loadbalancer.Reserved{Range: loadbalancer.Range{First: a, Last: a}, What: "an address of Service " + name.String() + ", which is of another class"})
		}
	}
	return all
}

// service gives a Service what it gets.
func (t *term) service(ctx context.Context, name types.NamespacedName) (time.Duration, error) {
	var s corev1.Service
	err := t.objects.Get(ctx, name, &s)
	switch {
	case apierrors.IsNotFound(err):
		t.foreignService(name, nil)
		return 0, t.release(ctx, name, nil)
	case err != nil:
		return 0, err
	case !t.Class.Has(&s):
		t.foreignService(name, addressesOf(&s))
		return 0, t.release(ctx, name, &s)
	}
	t.foreignService(name, nil)
	t.owned[name] = true
	request, problems, err := t.ask(ctx, &s)
	if err != nil {
		return 0, err
	}
	before := t.book.Of(name)
	addresses, lacks := t.book.Assign(request)
	problems = append(problems, lacks...)
	again, settled := time.Duration(0), true
	var shown []netip.Addr
	conditions := []metav1.Condition{}
	for _, a := range addresses {
		record, err := t.claim(ctx, a, name)
		if errors.Is(err, errTaken) {
			t.queue.Add(key{serviceKind, name})
			return firstRetry, nil
		}
		if err != nil {
			return 0, err
		}
		wait := t.settles(record, name)
		if wait == 0 || slices.Contains(addressesOf(&s), a) {
			shown = append(shown, a)
		}
		again, settled = max(again, wait), settled && wait == 0
		if record.Holder == "" {
			again = max(again, settle)
		}
	}
	announcedNow, silent := t.announced(ctx, addresses)
	if settled {
		problems = append(problems, silent...)
	}
	t.reporter.Report(ctx, key{serviceKind, name}, problem.Sort(problems))
	conditions = append(conditions, condition(loadbalancer.ConditionAssigned, len(addresses) > 0 && len(lacks) == 0, "Assigned", "it has "+join(addresses), lacks))
	if len(addresses) > 0 {
		conditions = append(conditions, condition(loadbalancer.ConditionAnnounced, len(silent) == 0, "Announced", announcedNow, silent))
	}
	if err := writeStatus(ctx, t.direct.Status(), &s, shown, conditions); err != nil {
		return 0, err
	}
	return again, t.freed(ctx, name, before, addresses)
}

// foreignService notes which addresses a Service has of somebody else. Pools do not give them.
func (t *term) foreignService(name types.NamespacedName, has []netip.Addr) {
	if slices.Equal(t.others[name], has) {
		return
	}
	if delete(t.others, name); len(has) > 0 {
		t.others[name] = has
	}
	t.queue.Add(key{kind: poolsKind})
}

// settles says how long a Service waits still for a node to answer for an address, and nobody
// else, until the address appears in its status all the same.
func (t *term) settles(r loadbalancer.Record, name types.NamespacedName) time.Duration {
	k := key{r.Address.String(), name}
	if r.Holder != "" && r.Proved {
		delete(t.began, k)
		return 0
	}
	since, waits := t.began[k]
	if !waits {
		since = time.Now()
		t.began[k] = since
	}
	return max(0, settle-time.Since(since))
}

// release takes everything from a Service that is gone (s is nil), or no longer ours.
func (t *term) release(ctx context.Context, name types.NamespacedName, s *corev1.Service) error {
	if !t.owned[name] {
		return nil
	}
	before := t.book.Of(name)
	ours := s != nil && len(before) > 0 && slices.ContainsFunc(addressesOf(s), func(a netip.Addr) bool { return slices.Contains(before, a) })
	if ours { // another class's controller writes its own later
		if err := writeStatus(ctx, t.direct.Status(), s, nil, nil); err != nil {
			return err
		}
	}
	t.book.Release(name)
	if err := t.freed(ctx, name, before, nil); err != nil {
		return err
	}
	delete(t.owned, name)
	t.reporter.Report(ctx, key{serviceKind, name}, nil)
	return nil
}

// freed takes a Service out of the records of addresses that it has no more, and lets those
// that wait try again.
func (t *term) freed(ctx context.Context, name types.NamespacedName, before, after []netip.Addr) error {
	changed := !slices.Equal(before, after)
	for _, a := range before {
		if !slices.Contains(after, a) {
			delete(t.began, key{a.String(), name})
			t.queue.Add(key{recordKind, types.NamespacedName{Namespace: t.Namespace, Name: loadbalancer.RecordName(a)}})
		}
	}
	if changed {
		for _, waiting := range t.book.Waiting() {
			if waiting != name {
				t.queue.Add(key{serviceKind, waiting})
			}
		}
		for i := range t.pools {
			t.queue.AddAfter(key{poolKind, types.NamespacedName{Name: t.pools[i].Name}}, time.Second)
		}
	}
	return ctx.Err()
}
