package loadbalancer

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	coordination "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairwaynet/fairway/proxy/loadbalancer"
)

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
