package loadbalancer

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/fairwaynet/fairway/api/problem"
)

// Book is which Services have which addresses. It is not for several goroutines.
type Book struct {
	pools    []Pool
	reserved []Range
	foreign  map[netip.Addr]string // who answers for an address, by its MAC
	requests map[types.NamespacedName]*Request
	askers   map[netip.Addr][]types.NamespacedName // who asks for an address, whether they have it or not
	given    map[types.NamespacedName][]netip.Addr
	holders  map[netip.Addr][]types.NamespacedName
	waiting  map[types.NamespacedName]bool
}

// NewBook returns a Book in which nobody has anything.
func NewBook() *Book {
	return &Book{
		foreign: map[netip.Addr]string{}, requests: map[types.NamespacedName]*Request{}, askers: map[netip.Addr][]types.NamespacedName{}, given: map[types.NamespacedName][]netip.Addr{},
		holders: map[netip.Addr][]types.NamespacedName{}, waiting: map[types.NamespacedName]bool{},
	}
}

// SetPools says what can be given from now on, and what nobody may have.
func (b *Book) SetPools(pools []Pool, reserved []Reserved) {
	b.pools, b.reserved = pools, nil
	for _, r := range reserved {
		b.reserved = append(b.reserved, r.Range)
	}
	b.reserved = merge(b.reserved)
}

// SetForeign says which machine answers for an address that it has not of us; an empty one:
// none does.
func (b *Book) SetForeign(a netip.Addr, mac string) (changed bool) {
	changed = b.foreign[a] != mac
	if mac == "" {
		delete(b.foreign, a)
	} else {
		b.foreign[a] = mac
	}
	return changed
}

// Adopt gives a Service addresses that it is known to have, before anybody gets a new one. It
// returns those that another Service has already.
func (b *Book) Adopt(r Request, addresses []netip.Addr) (lost []netip.Addr) {
	b.note(&r)
	for _, a := range addresses {
		switch {
		case slices.Contains(b.given[r.Service], a):
		case b.other(&r, a) != nil:
			lost = append(lost, a)
		default:
			b.give(r.Service, a)
		}
	}
	return lost
}

// Assign returns the addresses that a Service has from now on, and what it lacks. A Service
// keeps what it may still have.
func (b *Book) Assign(r Request) ([]netip.Addr, []problem.Problem) {
	b.note(&r)
	delete(b.waiting, r.Service)
	a := assignment{Book: b, request: &r}
	var kept []netip.Addr
	for _, address := range slices.Clone(b.given[r.Service]) {
		if a.keeps(address) && !slices.ContainsFunc(kept, func(k netip.Addr) bool { return k.Is4() == address.Is4() }) {
			kept = append(kept, address)
			continue
		}
		b.take(r.Service, address)
	}
	for i, family := range r.Families {
		a.serve(family, i > 0 && r.Lenient)
	}
	if len(a.problems) > 0 {
		b.waiting[r.Service] = true
	}
	return b.Of(r.Service), problem.Sort(a.problems)
}

// Release takes all from a Service, and returns it.
func (b *Book) Release(name types.NamespacedName) []netip.Addr {
	freed := slices.Clone(b.given[name])
	for _, a := range freed {
		b.take(name, a)
	}
	b.forget(name)
	delete(b.waiting, name)
	return freed
}

// note keeps what a Service asks for.
func (b *Book) note(r *Request) {
	b.forget(r.Service)
	b.requests[r.Service] = r
	for _, a := range r.Wanted {
		b.askers[a] = append(b.askers[a], r.Service)
	}
}

func (b *Book) forget(name types.NamespacedName) {
	r := b.requests[name]
	if r == nil {
		return
	}
	for _, a := range r.Wanted {
		b.askers[a] = slices.DeleteFunc(b.askers[a], func(x types.NamespacedName) bool { return x == name })
		if len(b.askers[a]) == 0 {
			delete(b.askers, a)
		}
	}
	delete(b.requests, name)
}

// Of returns the addresses of a Service in the order of its families.
func (b *Book) Of(name types.NamespacedName) []netip.Addr {
	all := slices.Clone(b.given[name])
	if r := b.requests[name]; r != nil {
		slices.SortFunc(all, func(x, y netip.Addr) int {
			return cmp.Or(cmp.Compare(slices.Index(r.Families, familyOf(x)), slices.Index(r.Families, familyOf(y))), x.Compare(y))
		})
	}
	return all
}

// Holders are the Services that have an address, in order.
func (b *Book) Holders(a netip.Addr) []types.NamespacedName { return slices.Clone(b.holders[a]) }

// Addresses are all that somebody has.
func (b *Book) Addresses() []netip.Addr {
	return slices.SortedFunc(maps.Keys(b.holders), netip.Addr.Compare)
}

// Waiting are the Services that lack something, the oldest first.
func (b *Book) Waiting() []types.NamespacedName {
	return slices.SortedFunc(maps.Keys(b.waiting), func(x, y types.NamespacedName) int {
		return cmp.Or(b.requests[x].Created.Compare(b.requests[y].Created), cmp.Compare(x.String(), y.String()))
	})
}

// Use is how much of a pool is given, and how much is free, up to a number.
func (b *Book) Use(pool *Pool, most uint64) (assigned int, free uint64) {
	for a := range b.holders {
		if pool.contains(a) {
			assigned++
		}
	}
	free = count(pool.Ranges, most+uint64(assigned))
	return assigned, min(free-uint64(assigned), most)
}

func familyOf(a netip.Addr) corev1.IPFamily {
	if a.Is4() {
		return corev1.IPv4Protocol
	}
	return corev1.IPv6Protocol
}

func (b *Book) give(name types.NamespacedName, a netip.Addr) {
	b.given[name] = append(b.given[name], a)
	b.holders[a] = append(b.holders[a], name)
	slices.SortFunc(b.holders[a], func(x, y types.NamespacedName) int { return cmp.Compare(x.String(), y.String()) })
}

func (b *Book) take(name types.NamespacedName, a netip.Addr) {
	b.given[name] = slices.DeleteFunc(b.given[name], func(x netip.Addr) bool { return x == a })
	if len(b.given[name]) == 0 {
		delete(b.given, name)
	}
	b.holders[a] = slices.DeleteFunc(b.holders[a], func(x types.NamespacedName) bool { return x == name })
	if len(b.holders[a]) == 0 {
		delete(b.holders, a)
	}
}

// other is a Service that keeps another from an address; nil: none does.
func (b *Book) other(r *Request, a netip.Addr) *types.NamespacedName {
	for _, name := range b.holders[a] {
		if !r.fits(b.requests[name]) {
			return &name
		}
	}
	return nil
}

// poolOf is the pool that can give an address.
func (b *Book) poolOf(a netip.Addr) *Pool {
	for i := range b.pools {
		if b.pools[i].contains(a) {
			return &b.pools[i]
		}
	}
	return nil
}

// assignment is a Service that gets addresses.
type assignment struct {
	*Book

	request  *Request
	problems []problem.Problem
}

func (a *assignment) say(reason problem.Reason, format string, values ...any) {
	a.problems = append(a.problems, problem.Problem{
		Object: problem.Object{Kind: "Service", Name: a.request.Service}, Reason: reason, Message: fmt.Sprintf(format, values...),
	})
}

// keeps says whether a Service may keep an address that it has. One that is in no pool any
// more stays: a pool that is changed cuts nobody off.
func (a *assignment) keeps(address netip.Addr) bool {
	r := a.request
	if !slices.Contains(r.Families, familyOf(address)) || a.other(r, address) != nil || a.foreign[address] != "" ||
		slices.ContainsFunc(a.reserved, func(x Range) bool { return x.Contains(address) }) {
		return false
	}
	if wanted, ok := a.wanted(familyOf(address)); ok && wanted != address {
		return a.refusal(wanted) != nil // until it can have the other
	}
	pool := a.poolOf(address)
	return pool == nil || (pool.serves(r) && (r.Pool == "" || r.Pool == pool.Name))
}

// wanted is the address of a family that a Service asks for.
func (a *assignment) wanted(family corev1.IPFamily) (netip.Addr, bool) {
	for _, w := range a.request.Wanted {
		if familyOf(w) == family {
			return w, true
		}
	}
	return netip.Addr{}, false
}

// serve gives the Service an address of a family, if it has none and there is one.
func (a *assignment) serve(family corev1.IPFamily, lenient bool) {
	r := a.request
	has, _ := a.has(family)
	wanted, asks := a.wanted(family)
	switch {
	case asks && has != wanted:
		if refused := a.refusal(wanted); refused != nil {
			a.problems = append(a.problems, *refused)
		} else {
			a.give(r.Service, wanted)
		}
	case asks || has.IsValid():
		if a.poolOf(has) == nil {
			a.say(ReasonAddressOrphaned, "address %s is in no AddressPool any more; the Service keeps it until it is deleted or asks for another", has)
		}
	case len(r.Wanted) > 0: // what it does not ask for it does not get
	default:
		a.choose(family, lenient)
	}
}

func (a *assignment) has(family corev1.IPFamily) (netip.Addr, bool) {
	for _, address := range a.given[a.request.Service] {
		if familyOf(address) == family {
			return address, true
		}
	}
	return netip.Addr{}, false
}

// refusal says why a Service cannot have the address it asks for.
func (a *assignment) refusal(wanted netip.Addr) *problem.Problem {
	b := assignment{Book: a.Book, request: a.request}
	r := a.request
	pool := a.poolOf(wanted)
	other := a.other(r, wanted)
	switch {
	case pool == nil:
		b.say(ReasonAddressUnknown, "no AddressPool can give %s, which the Service asks for; AddressPools are listed by: kubectl get addresspools", wanted)
	case r.Pool != "" && r.Pool != pool.Name:
		b.say(ReasonAddressUnknown, "AddressPool %s, which the Service asks for, does not have %s: AddressPool %s has it", r.Pool, wanted, pool.Name)
	case !pool.serves(r):
		b.say(ReasonAddressUnknown, "AddressPool %s, which has %s, is not for this Service (its serviceSelector or namespaceSelector)", pool.Name, wanted)
	case a.foreign[wanted] != "":
		b.say(ReasonAddressInUse, "a machine with the MAC %s answers for %s, which the Service asks for; take the address off that machine or ask for another", a.foreign[wanted], wanted)
	case other != nil:
		b.say(ReasonAddressNotFree, "Service %s has %s, which this Service asks for; %s", *other, wanted, r.howToShare(a.requests[*other]))
	default:
		return nil
	}
	return &b.problems[0]
}

// howToShare says what keeps two Services from sharing an address.
func (r *Request) howToShare(other *Request) string {
	switch {
	case r.Sharing == "" || r.Sharing != other.Sharing:
		return "to share it, give both the same annotation " + SharingAnnotation
	case r.Backends != other.Backends:
		return "with externalTrafficPolicy Local they can share it only if both have the policy, one namespace and one selector"
	}
	return "both have a port in common"
}

// choose gives a Service the first free address of a family.
func (a *assignment) choose(family corev1.IPFamily, lenient bool) {
	r := a.request
	var full []string
	named := r.Pool == ""
	for i := range a.pools {
		pool := &a.pools[i]
		if r.Pool != "" && pool.Name != r.Pool {
			continue
		}
		named = true
		if (r.Pool == "" && !pool.AutoAssign) || !pool.serves(r) || !slices.ContainsFunc(pool.Ranges, func(x Range) bool { return familyOf(x.First) == family }) {
			continue
		}
		if address, ok := a.free(pool, family); ok {
			a.give(r.Service, address)
			return
		}
		full = append(full, pool.Name)
	}
	switch {
	case !named:
		a.say(ReasonPoolUnknown, "there is no AddressPool %q, which the Service asks for", r.Pool)
	case len(full) > 0:
		a.say(ReasonNoAddressFree, "no %s address is free in AddressPool %s: add addresses to it, or delete a Service that has one", family, strings.Join(full, ", "))
	case lenient: // no pool has this family
	case r.Pool != "":
		a.say(ReasonNoAddressFree, "AddressPool %s has no %s addresses for this Service (its addresses, serviceSelector, namespaceSelector)", r.Pool, family)
	default:
		a.say(ReasonNoAddressFree, "no AddressPool has %s addresses for this Service: make one, or see the serviceSelector, namespaceSelector and autoAssign of those that there are", family)
	}
}

// free is the first address of a pool that a Service can have: one that it shares, if it
// shares, otherwise one that nobody has.
func (a *assignment) free(pool *Pool, family corev1.IPFamily) (netip.Addr, bool) {
	r := a.request
	if r.Sharing != "" {
		for _, address := range a.Addresses() {
			if familyOf(address) == family && pool.contains(address) && a.foreign[address] == "" && a.other(r, address) == nil {
				return address, true
			}
		}
	}
	for _, x := range pool.Ranges {
		if familyOf(x.First) != family {
			continue
		}
		for address := x.First; ; address = address.Next() {
			if a.chooses(pool, address) {
				return address, true
			}
			if address == x.Last {
				break
			}
		}
	}
	return netip.Addr{}, false
}

// chooses says whether an address may be given to a Service that takes any: nobody has it, and none that
// can have it asks for it.
func (a *assignment) chooses(pool *Pool, address netip.Addr) bool {
	if len(a.holders[address]) > 0 || a.foreign[address] != "" || pool.AvoidFirstAndLast && firstOrLast(address) {
		return false
	}
	return !slices.ContainsFunc(a.askers[address], func(name types.NamespacedName) bool {
		asker := assignment{Book: a.Book, request: a.requests[name]}
		return name != a.request.Service && asker.refusal(address) == nil
	})
}
