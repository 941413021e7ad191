package loadbalancer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"time"

	coordination "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	coordinationv1 "k8s.io/client-go/kubernetes/typed/coordination/v1"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairwaynet/fairway/api/problem"
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
	owned   map[types.NamespacedName]bool         // Services that have or want something of us
	foreign map[key]time.Time                     // since when an address is somebody's
	began   map[key]time.Time                     // since when a Service waits for a node
	others  map[types.NamespacedName][]netip.Addr // what Services have of somebody else
}

func sameNode(before any, now *corev1.Node) bool {
	was, ok := before.(*corev1.Node)
	return ok && reflect.DeepEqual(was.Labels, now.Labels) && reflect.DeepEqual(was.Annotations, now.Annotations) &&
		reflect.DeepEqual(was.Spec, now.Spec) && reflect.DeepEqual(was.Status, now.Status)
}

// run works until ctx ends.
func (t *term) run(ctx context.Context) error {
	if err := t.begin(ctx); err != nil {
		return unlessEnded(ctx, fmt.Errorf("give addresses: %w", err))
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

// records are the Services of each address, as the API server has them now: a cache may be
// behind an earlier leader.
func (t *term) records(ctx context.Context) (map[netip.Addr][]types.NamespacedName, error) {
	all := map[netip.Addr][]types.NamespacedName{}
	options := metav1.ListOptions{LabelSelector: loadbalancer.LeaseLabel + "=" + loadbalancer.AddressKind, Limit: 500}
	for {
		list, err := t.leases.List(ctx, options)
		if err != nil {
			return nil, fmt.Errorf("list the records of addresses: %w", err)
		}
		for i := range list.Items {
			if r, ok := loadbalancer.ReadRecord(&list.Items[i]); ok {
				all[r.Address] = r.Services
			}
		}
		if options.Continue = list.Continue; options.Continue == "" {
			return all, nil
		}
	}
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
	never, err := t.never(ctx)
	if err != nil {
		return err
	}
	built, problems := loadbalancer.BuildPools(objects, never)
	t.pools = built
	own, err := reserved(ctx, t.objects)
	if err != nil {
		return err
	}
	t.book.SetPools(built, own) // what another controller has given since evicts nobody
	t.reporter.Report(ctx, key{kind: poolsKind}, problems)
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

// never are the addresses that no pool gives.
func (t *term) never(ctx context.Context) ([]loadbalancer.Reserved, error) {
	all, err := reserved(ctx, t.objects)
	if err != nil {
		return nil, err
	}
	for name, addresses := range t.others {
		for _, a := range addresses {
			all = append(all, loadbalancer.Reserved{Range: loadbalancer.Range{First: a, Last: a}, What: "an address of Service " + name.String() + ", which is of another class"})
		}
	}
	return all, nil
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
	again := time.Duration(0)
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
		wait := t.settles(record, addressesOf(&s), name)
		if wait == 0 {
			shown = append(shown, a)
		}
		again = max(again, wait)
		if record.Holder == "" {
			again = max(again, settle)
		}
	}
	announcedNow, silent := t.announced(ctx, addresses)
	if len(silent) > 0 && again == 0 {
		problems = append(problems, silent...)
	}
	t.reporter.Report(ctx, key{serviceKind, name}, problem.Sort(problems))
	conditions = append(conditions, condition(assigned, len(addresses) > 0 && len(lacks) == 0, "Assigned", "it has "+join(addresses), lacks))
	if len(addresses) > 0 {
		conditions = append(conditions, condition(announced, len(silent) == 0, "Announced", announcedNow, silent))
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

// settles says how long a Service waits still until an address appears in its status. It
// appears when a node answers for it, and nobody else does.
func (t *term) settles(r loadbalancer.Record, has []netip.Addr, name types.NamespacedName) time.Duration {
	k := key{r.Address.String(), name}
	if slices.Contains(has, r.Address) || (r.Holder != "" && r.Proved) {
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

// errTaken says that the record of an address names others.
var errTaken = errors.New("the address is recorded for other Services")

// claim records that a Service has an address.
func (t *term) claim(ctx context.Context, a netip.Addr, name types.NamespacedName) (loadbalancer.Record, error) {
	var cached coordination.Lease
	err := t.objects.Get(ctx, types.NamespacedName{Namespace: t.Namespace, Name: loadbalancer.RecordName(a)}, &cached)
	if client.IgnoreNotFound(err) != nil {
		return loadbalancer.Record{}, err
	}
	record, exists := loadbalancer.Record{Address: a}, err == nil
	if exists {
		record, exists = loadbalancer.ReadRecord(&cached)
	}
	holders := t.book.Holders(a)
	if exists && slices.Equal(record.Services, holders) && record.Pool == t.poolOf(a) {
		return record, nil
	}
	if !exists {
		var lease coordination.Lease
		record.Services, record.Pool = holders, t.poolOf(a)
		if err := record.Write(&lease); err != nil {
			return record, err
		}
		_, err := t.leases.Create(ctx, &lease, metav1.CreateOptions{})
		if !apierrors.IsAlreadyExists(err) {
			return record, err
		}
	}
	// The cache may be late, or an earlier leader's request.
	now, err := t.leases.Get(ctx, loadbalancer.RecordName(a), metav1.GetOptions{})
	if err != nil {
		return record, err
	}
	if record, exists = loadbalancer.ReadRecord(now); !exists {
		return record, fmt.Errorf("the Lease %s is not the record of %s that it seems: delete it", now.Name, a)
	}
	for _, other := range record.Services {
		if slices.Contains(holders, other) {
			continue
		}
		if lives, err := t.adopt(ctx, other, a); err != nil || lives {
			return record, errors.Join(err, errTaken)
		}
	}
	if record.Services, record.Pool = t.book.Holders(a), t.poolOf(a); !slices.Contains(record.Services, name) {
		return record, errTaken
	}
	if err := record.Write(now); err != nil {
		return record, err
	}
	_, err = t.leases.Update(ctx, now, metav1.UpdateOptions{})
	return record, err
}

// adopt notes that another Service has an address by its record, if there is such a Service
// and it shares the address with nobody who has it.
func (t *term) adopt(ctx context.Context, other types.NamespacedName, a netip.Addr) (bool, error) {
	var s corev1.Service
	if err := t.direct.Get(ctx, other, &s); err != nil {
		return false, client.IgnoreNotFound(err)
	}
	if !t.Class.Has(&s) {
		return false, nil
	}
	request, _, err := t.ask(ctx, &s)
	if err != nil {
		return false, err
	}
	for _, holder := range t.book.Holders(a) {
		t.queue.Add(key{serviceKind, holder})
		t.book.Release(holder)
	}
	t.book.Adopt(request, []netip.Addr{a})
	t.queue.Add(key{serviceKind, other})
	return true, nil
}

func (t *term) poolOf(a netip.Addr) string {
	for i := range t.pools {
		if slices.ContainsFunc(t.pools[i].Ranges, func(r loadbalancer.Range) bool { return r.Contains(a) }) {
			return t.pools[i].Name
		}
	}
	return ""
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

// record looks at the record of an address: who has it, and what nodes have found.
func (t *term) record(ctx context.Context, lease types.NamespacedName) (time.Duration, error) {
	var object coordination.Lease
	err := t.objects.Get(ctx, lease, &object)
	if apierrors.IsNotFound(err) {
		t.recordAgain(lease.Name)
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	r, ok := loadbalancer.ReadRecord(&object)
	if !ok {
		return 0, nil
	}
	for _, name := range t.book.Holders(r.Address) { // its conditions say who answers
		t.queue.Add(key{serviceKind, name})
	}
	if r.Foreign != "" {
		return t.answeredBy(ctx, r)
	}
	holders := t.book.Holders(r.Address)
	if slices.Equal(holders, r.Services) {
		return 0, nil
	}
	for _, name := range r.Services {
		if slices.Contains(holders, name) {
			continue
		}
		// It is gone, or has another address now; unless it is new and the cache is late.
		var s corev1.Service
		if err := t.direct.Get(ctx, name, &s); client.IgnoreNotFound(err) != nil {
			return 0, err
		} else if err == nil && t.Class.Has(&s) && !t.owned[name] {
			return time.Second, nil
		} else if err == nil && slices.Contains(addressesOf(&s), r.Address) && t.Class.Has(&s) {
			t.queue.Add(key{serviceKind, name}) // its status is cleared first
			return firstRetry, nil
		}
	}
	if len(holders) > 0 {
		_, err := t.claim(ctx, r.Address, holders[0])
		if errors.Is(err, errTaken) {
			return firstRetry, nil
		}
		return 0, err
	}
	options := metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &object.UID, ResourceVersion: &object.ResourceVersion}}
	return 0, client.IgnoreNotFound(t.leases.Delete(ctx, object.Name, options))
}

// recordAgain makes the Services be looked at that have the address of a record that is gone.
func (t *term) recordAgain(lease string) {
	for _, a := range t.book.Addresses() {
		if loadbalancer.RecordName(a) != lease {
			continue
		}
		for _, name := range t.book.Holders(a) {
			t.queue.Add(key{serviceKind, name})
		}
	}
}

// answeredBy notes that somebody who is none of us answers for an address.
func (t *term) answeredBy(ctx context.Context, r loadbalancer.Record) (time.Duration, error) {
	k := key{kind: r.Address.String()}
	since, known := t.foreign[k]
	if !known {
		since = time.Now()
		t.foreign[k] = since
		t.Log.Info("a machine answers for an address of a pool; nobody gets it for now", "address", r.Address, "mac", r.Foreign)
	}
	left := recheck - time.Since(since)
	if left > 0 {
		if t.book.SetForeign(r.Address, r.Foreign) {
			for _, name := range r.Services {
				t.queue.Add(key{serviceKind, name})
			}
		}
		return left, nil
	}
	delete(t.foreign, k)
	t.book.SetForeign(r.Address, "")
	for _, name := range t.book.Waiting() {
		t.queue.Add(key{serviceKind, name})
	}
	err := t.leases.Delete(ctx, loadbalancer.RecordName(r.Address), metav1.DeleteOptions{})
	return 0, client.IgnoreNotFound(err)
}
