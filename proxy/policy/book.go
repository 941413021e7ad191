package policy

import (
	"maps"
	"net/netip"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/labels"
)

// Book is the picture that one node has of pods, namespaces and policies. The zero value is not for
// use: see NewBook.
type Book struct {
	node string

	namespaces map[string]labels.Set
	pods       map[Key]*podEntry
	inSpace    map[string]map[Key]*podEntry
	claimants  map[netip.Addr]map[Key]*podEntry
	policies   map[string]map[Key]*policyEntry // by namespace

	// Of policies that select one of the node's pods, and how many of them name it.
	selectors map[string]*selectorEntry
	named     map[Named]int

	dirtyPods, dirtyPolicies map[Key]bool
	touched                  map[netip.Addr]bool
}

type podEntry struct {
	*Pod

	policies []*policyEntry  // of a pod of the node: those that select it, in order
	sets     map[string]bool // that had its addresses when it was rendered last
}

type policyEntry struct {
	*Policy

	users int // pods of the node
}

type selectorEntry struct {
	Selector

	users int // policies
}

// NewBook makes the picture of a node that knows nothing yet.
func NewBook(node string) *Book {
	return &Book{
		node: node, namespaces: map[string]labels.Set{}, pods: map[Key]*podEntry{}, inSpace: map[string]map[Key]*podEntry{},
		claimants: map[netip.Addr]map[Key]*podEntry{}, policies: map[string]map[Key]*policyEntry{},
		selectors: map[string]*selectorEntry{}, named: map[Named]int{},
		dirtyPods: map[Key]bool{}, dirtyPolicies: map[Key]bool{}, touched: map[netip.Addr]bool{},
	}
}

// SetNamespace says which labels a namespace has; nil: there is none of that name.
func (b *Book) SetNamespace(name string, has labels.Set) {
	before, there := b.namespaces[name]
	if there && has != nil && maps.Equal(before, has) {
		return
	}
	if has == nil {
		delete(b.namespaces, name)
	} else {
		b.namespaces[name] = has
	}
	for _, s := range b.selectors {
		if s.namespaces != nil && s.inNamespace(name, before) != s.inNamespace(name, has) {
			for key := range b.inSpace[name] {
				b.dirtyPods[key] = true
			}
			return
		}
	}
}

// SetPod says what a pod is; nil: there is none of that name that may send or be called.
func (b *Book) SetPod(name Key, p *Pod) {
	old := b.pods[name]
	if old == nil && p == nil {
		return
	}
	b.dirtyPods[name] = true
	if old != nil {
		b.forget(name, old)
	}
	var entry *podEntry
	if p != nil {
		entry = &podEntry{Pod: p}
		if old != nil {
			entry.sets = old.sets
		}
		b.note(name, entry)
	}
	var before, now []*policyEntry
	if old != nil {
		before = old.policies
	}
	if entry != nil && p.Node == b.node {
		for _, policy := range b.policies[name.Namespace] {
			if policy.Pods.pods.Matches(labels.Set(p.Labels)) {
				now = append(now, policy)
			}
		}
		slices.SortFunc(now, func(a, b *policyEntry) int { return strings.Compare(a.Name.Name, b.Name.Name) })
		entry.policies = now
	}
	if !slices.Equal(before, now) || old != nil && entry != nil && old.UID != entry.UID {
		b.touch(old)
		b.touch(entry)
	}
	if old != nil && len(old.sets) > 0 && (entry == nil || !slices.Equal(old.Addresses, entry.Addresses)) {
		b.touch(old) // what was allowed to its address was allowed to it
	}
	for _, policy := range now { // first, so that what both name stays
		b.use(policy, 1)
	}
	for _, policy := range before {
		b.use(policy, -1)
	}
}

func (b *Book) forget(name Key, p *podEntry) {
	delete(b.pods, name)
	delete(b.inSpace[name.Namespace], name)
	for _, a := range p.Addresses {
		delete(b.claimants[a], name)
		if len(b.claimants[a]) == 0 {
			delete(b.claimants, a)
		}
		b.reclaim(a)
	}
}

func (b *Book) note(name Key, p *podEntry) {
	b.pods[name] = p
	if b.inSpace[name.Namespace] == nil {
		b.inSpace[name.Namespace] = map[Key]*podEntry{}
	}
	b.inSpace[name.Namespace][name] = p
	for _, a := range p.Addresses {
		if b.claimants[a] == nil {
			b.claimants[a] = map[Key]*podEntry{}
		}
		b.claimants[a][name] = p
		b.reclaim(a)
	}
}

// reclaim lets all that claim an address be looked at again.
func (b *Book) reclaim(a netip.Addr) {
	for name := range b.claimants[a] {
		b.dirtyPods[name] = true
	}
}

// touch says that the connections of a pod must be judged again.
func (b *Book) touch(p *podEntry) {
	if p == nil {
		return
	}
	for _, a := range p.Addresses {
		b.touched[a] = true
	}
}

// owner is the pod that has an address.
func (b *Book) owner(a netip.Addr) *podEntry {
	var owner *podEntry
	for _, p := range b.claimants[a] {
		if owner == nil || p.before(owner.Pod) {
			owner = p
		}
	}
	return owner
}

// SetPolicy says what a policy is; nil: there is none of that name.
func (b *Book) SetPolicy(name Key, p *Policy) {
	old := b.policies[name.Namespace][name]
	if old == nil && p == nil {
		return
	}
	var entry *policyEntry
	if p == nil {
		delete(b.policies[name.Namespace], name)
	} else {
		entry = &policyEntry{Policy: p}
		if b.policies[name.Namespace] == nil {
			b.policies[name.Namespace] = map[Key]*policyEntry{}
		}
		b.policies[name.Namespace][name] = entry
	}
	for key, pod := range b.inSpace[name.Namespace] {
		if pod.Node != b.node {
			continue
		}
		had := old != nil && slices.Contains(pod.policies, old)
		has := entry != nil && p.Pods.pods.Matches(labels.Set(pod.Labels))
		if !had && !has {
			continue
		}
		b.dirtyPods[key] = true
		b.touch(pod)
		pod.policies = slices.DeleteFunc(slices.Clone(pod.policies), func(x *policyEntry) bool { return x == old })
		if has {
			pod.policies = append(pod.policies, entry)
			slices.SortFunc(pod.policies, func(a, b *policyEntry) int { return strings.Compare(a.Name.Name, b.Name.Name) })
			b.use(entry, 1)
		}
		if had {
			b.use(old, -1)
		}
	}
}

// use counts the node's pods that a policy selects. What a policy names that selects none is not
// rendered.
func (b *Book) use(p *policyEntry, by int) {
	before := p.users
	p.users += by
	if (before == 0) == (p.users == 0) {
		return
	}
	b.dirtyPolicies[p.Name] = true
	for _, d := range directions() {
		for _, r := range p.Rules[d] {
			for _, s := range r.Peers {
				b.useSelector(s, by)
			}
			for _, n := range r.Named {
				b.useNamed(n, by)
			}
		}
	}
}

func (b *Book) useSelector(s Selector, by int) {
	entry := b.selectors[s.id]
	if entry == nil {
		entry = &selectorEntry{Selector: s}
		b.selectors[s.id] = entry
	}
	before := entry.users
	if entry.users += by; entry.users == 0 {
		delete(b.selectors, s.id)
	}
	if (before == 0) == (entry.users == 0) {
		return
	}
	for namespace, pods := range b.inSpace {
		if !s.inNamespace(namespace, b.namespaces[namespace]) {
			continue
		}
		for name, p := range pods {
			if s.pods.Matches(labels.Set(p.Labels)) {
				b.dirtyPods[name] = true
			}
		}
	}
}

func (b *Book) useNamed(n Named, by int) {
	before := b.named[n]
	if b.named[n] += by; b.named[n] == 0 {
		delete(b.named, n)
	}
	if (before == 0) == (b.named[n] == 0) {
		return
	}
	for name, p := range b.pods {
		if _, has := p.named(n.Name, n.Protocol); has {
			b.dirtyPods[name] = true
		}
	}
}

// Isolated are the namespaces that have a policy.
func (b *Book) Isolated() []string {
	var all []string
	for namespace, policies := range b.policies {
		if len(policies) > 0 {
			all = append(all, namespace)
		}
	}
	slices.Sort(all)
	return all
}
