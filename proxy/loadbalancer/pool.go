package loadbalancer

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"github.com/fairwaynet/fairway/api/problem"
	"github.com/fairwaynet/fairway/api/v1alpha1"
)

// Reasons of Problems of AddressPools.
const (
	// ReasonAddressInvalid says that an entry is no address, range or network.
	ReasonAddressInvalid problem.Reason = "AddressInvalid"
	// ReasonPoolReserved says that addresses of a pool are the cluster's own.
	ReasonPoolReserved problem.Reason = "PoolHasReservedAddresses"
	// ReasonPoolsOverlap says that an older pool has addresses, too.
	ReasonPoolsOverlap problem.Reason = "PoolsOverlap"
	// ReasonSelectorInvalid says that a selector cannot be read.
	ReasonSelectorInvalid problem.Reason = "SelectorInvalid"
)

// Pool is what Services can have of an AddressPool.
type Pool struct {
	Name              string
	Ranges            []Range // what can be given, in order
	AutoAssign        bool
	AvoidFirstAndLast bool
	Services          labels.Selector
	Namespaces        labels.Selector
	Nodes             labels.Selector
}

// Reserved are addresses that no pool may give.
type Reserved struct {
	Range Range
	What  string // for people: "the address of Node n1"
}

// BuildPools returns the pools that can be used, in the order of their names, and what is
// wrong with which. Of an address that several pools have, the oldest pool gives it.
func BuildPools(objects []v1alpha1.AddressPool, reserved []Reserved) ([]Pool, []problem.Problem) {
	objects = slices.Clone(objects)
	slices.SortFunc(objects, func(a, b v1alpha1.AddressPool) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
	})
	var (
		pools    []Pool
		problems []problem.Problem
		before   []Reserved // by older pools
	)
	never := make([]Range, 0, len(reserved))
	for _, r := range reserved {
		never = append(never, r.Range)
	}
	never = merge(never)
	for i := range objects {
		b := poolBuilder{object: &objects[i]}
		if pool, ok := b.build(); ok {
			all := pool.Ranges
			b.overlaps(all, reserved, ReasonPoolReserved)
			b.overlaps(all, before, ReasonPoolsOverlap)
			older := make([]Range, 0, len(before))
			for _, r := range before {
				older = append(older, r.Range)
			}
			pool.Ranges = without(without(all, never), merge(older))
			for _, r := range all {
				before = append(before, Reserved{r, "AddressPool " + pool.Name})
			}
			pools = append(pools, pool)
		}
		problems = append(problems, b.problems...)
	}
	slices.SortFunc(pools, func(a, b Pool) int { return cmp.Compare(a.Name, b.Name) })
	return pools, problem.Sort(problems)
}

type poolBuilder struct {
	object   *v1alpha1.AddressPool
	problems []problem.Problem
}

func (b *poolBuilder) say(reason problem.Reason, field, format string, values ...any) {
	b.problems = append(b.problems, problem.Problem{
		Object: problem.Object{Kind: "AddressPool", Name: types.NamespacedName{Name: b.object.Name}},
		Reason: reason, Field: field, Message: fmt.Sprintf(format, values...),
	})
}

// build returns false if nobody may get addresses of the pool: whom a selector means is not
// guessed.
func (b *poolBuilder) build() (Pool, bool) {
	spec := b.object.Spec
	pool := Pool{
		Name: b.object.Name, AutoAssign: spec.AutoAssign == nil || *spec.AutoAssign, AvoidFirstAndLast: spec.AvoidFirstAndLast,
	}
	usable := true
	for _, s := range []struct {
		field    string
		selector *metav1.LabelSelector
		to       *labels.Selector
	}{
		{"spec.serviceSelector", spec.ServiceSelector, &pool.Services},
		{"spec.namespaceSelector", spec.NamespaceSelector, &pool.Namespaces},
		{"spec.nodeSelector", spec.NodeSelector, &pool.Nodes},
	} {
		*s.to = labels.Everything()
		if s.selector == nil {
			continue
		}
		selector, err := metav1.LabelSelectorAsSelector(s.selector)
		if err != nil {
			usable = false
			b.say(ReasonSelectorInvalid, s.field, "no Service gets an address of the pool until it is mended: %v", err)
			continue
		}
		*s.to = selector
	}
	var ranges []Range
	for i, text := range spec.Addresses {
		r, err := ParseRange(text)
		if err != nil {
			b.say(ReasonAddressInvalid, fmt.Sprintf("spec.addresses[%d]", i), "it is left out: %v", err)
			continue
		}
		ranges = append(ranges, r)
	}
	pool.Ranges = merge(ranges)
	return pool, usable
}

// overlaps tells of the first few addresses of the pool that somebody else has.
func (b *poolBuilder) overlaps(ranges []Range, others []Reserved, reason problem.Reason) {
	const most = 3
	var whats []string
	count := 0
	for _, o := range others {
		for _, r := range ranges {
			if !r.overlaps(o.Range) {
				continue
			}
			if count++; count <= most {
				whats = append(whats, fmt.Sprintf("%s (%s)", o.Range, o.What))
			}
			break
		}
	}
	if count > most {
		whats = append(whats, fmt.Sprintf("and %d more", count-most))
	}
	if count > 0 {
		b.say(reason, "spec.addresses", "the pool does not give %s", strings.Join(whats, ", "))
	}
}

// contains says whether the pool can give an address.
func (p *Pool) contains(a netip.Addr) bool {
	return slices.ContainsFunc(p.Ranges, func(r Range) bool { return r.Contains(a) })
}

// serves says whether a Service may have addresses of the pool.
func (p *Pool) serves(r *Request) bool {
	return p.Services.Matches(labels.Set(r.Labels)) && p.Namespaces.Matches(labels.Set(r.NamespaceLabels))
}

// first and last of a network of 256, in IPv4.
func firstOrLast(a netip.Addr) bool {
	if !a.Is4() {
		return false
	}
	end := a.As4()[3]
	return end == 0 || end == 255
}
