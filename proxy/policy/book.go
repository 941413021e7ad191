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
	// LogDenied makes the chains log what they deny (LogGroup). Set it before the first pod.
	LogDenied bool

	node string

	namespaces map[string]labels.Set
	pods       map[Key]*podEntry
	inSpace    map[string]map[Key]*podEntry
	claimants  map[netip.Addr]map[Key]*podEntry
	policies   map[string]map[Key]*policyEntry // by namespace
	clusters   map[string]*clusterEntry

	// Of policies that select one of the node's pods, and how many of them name it.
	selectors map[string]*selectorEntry
	named     map[Named]int

	dirtyPods, dirtyPolicies map[Key]bool
	dirtyClusters            map[string]bool
	touched                  map[netip.Addr]bool
}

type podEntry struct {
	*Pod

	logs bool // what is denied

	// Of a pod of the node: those that select it, in order.
	policies []*policyEntry
	clusters []*clusterEntry
	sets     map[string]bool // that had its addresses when it was rendered last
}

type policyEntry struct {
	*Policy

	users int // pods of the node
}

type clusterEntry struct {
	*ClusterPolicy

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
		clusters: map[string]*clusterEntry{}, selectors: map[string]*selectorEntry{}, named: map[Named]int{},
		dirtyPods: map[Key]bool{}, dirtyPolicies: map[Key]bool{}, dirtyClusters: map[string]bool{}, touched: map[netip.Addr]bool{},
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
	for _, p := range b.inSpace[name] {
		b.reselect(p)
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
		entry = &podEntry{Pod: p, logs: b.LogDenied}
		if old != nil {
			entry.sets = old.sets
		}
		b.note(name, entry)
	}
	b.selected(old, entry)
	if old != nil && entry != nil && old.UID != entry.UID {
		b.touch(old)
		b.touch(entry)
	}
	if old != nil && len(old.sets) > 0 && (entry == nil || !slices.Equal(old.Addresses, entry.Addresses)) {
		b.touch(old) // what was allowed to its address was allowed to it
	}
}

// selected counts what selects a pod of the node now, in place of what selected it before.
func (b *Book) selected(old, now *podEntry) {
	var before, after podEntry
	if old != nil {
		before = *old
	}
	if now != nil && now.Node == b.node {
		now.policies, now.clusters = b.selecting(now.Pod)
		after = *now
	}
	if !slices.Equal(before.policies, after.policies) || !slices.Equal(before.clusters, after.clusters) {
		b.touch(old)
		b.touch(now)
	}
	for _, p := range after.policies { // first, so that what both name stays
		b.use(p, 1)
	}
	for _, p := range after.clusters {
		b.useCluster(p, 1)
	}
	for _, p := range before.policies {
		b.use(p, -1)
	}
	for _, p := range before.clusters {
		b.useCluster(p, -1)
	}
}

// reselect looks again what selects a pod.
func (b *Book) reselect(p *podEntry) {
	if p.Node != b.node {
		return
	}
	before := *p
	b.selected(&before, p)
	b.dirtyPods[p.Name] = true
}

// selecting are the policies that select a pod, in order.
func (b *Book) selecting(p *Pod) (policies []*policyEntry, clusters []*clusterEntry) {
	for _, x := range b.policies[p.Name.Namespace] {
		if x.Pods.pods.Matches(labels.Set(p.Labels)) {
			policies = append(policies, x)
		}
	}
	slices.SortFunc(policies, func(a, b *policyEntry) int { return strings.Compare(a.Name.Name, b.Name.Name) })
	for _, x := range b.clusters {
		if x.Pods.selects(p, b.namespaces[p.Name.Namespace]) {
			clusters = append(clusters, x)
		}
	}
	slices.SortFunc(clusters, func(a, b *clusterEntry) int { return a.Compare(b.ClusterPolicy) })
	return policies, clusters
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
	for _, pod := range b.inSpace[name.Namespace] {
		if pod.Node != b.node || !(old != nil && slices.Contains(pod.policies, old)) && !(entry != nil && p.Pods.pods.Matches(labels.Set(pod.Labels))) {
			continue
		}
		b.touch(pod)
		b.reselect(pod)
	}
}

// SetCluster says what a policy of the cluster is; nil: there is none of that name.
func (b *Book) SetCluster(name string, p *ClusterPolicy) {
	old := b.clusters[name]
	if old == nil && p == nil {
		return
	}
	if p == nil {
		delete(b.clusters, name)
	} else {
		b.clusters[name] = &clusterEntry{ClusterPolicy: p}
	}
	for _, pod := range b.pods {
		if pod.Node != b.node {
			continue
		}
		had := old != nil && slices.Contains(pod.clusters, old)
		has := p != nil && p.Pods.selects(pod.Pod, b.namespaces[pod.Name.Namespace])
		if had || has {
			b.touch(pod)
			b.reselect(pod)
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
			b.useRule(r, by)
		}
	}
}

// useCluster is use for a policy of the cluster.
func (b *Book) useCluster(p *clusterEntry, by int) {
	before := p.users
	p.users += by
	if (before == 0) == (p.users == 0) {
		return
	}
	b.dirtyClusters[p.Name] = true
	for _, d := range directions() {
		for _, r := range p.Rules[d] {
			b.useRule(r.Rule, by)
		}
	}
}

func (b *Book) useRule(r Rule, by int) {
	for _, s := range r.Peers {
		b.useSelector(s, by)
	}
	for _, n := range r.Named {
		b.useNamed(n, by)
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
		if _, has := p.Named(n.Name, n.Protocol); has {
			b.dirtyPods[name] = true
		}
	}
}

// AllNamespaces stands for every namespace.
const AllNamespaces = "*"

// Isolated are the namespaces that have a policy, or AllNamespaces: policies of the cluster may select pods of
// namespaces that are not known yet.
func (b *Book) Isolated() []string {
	if len(b.clusters) > 0 {
		return []string{AllNamespaces}
	}
	var all []string
	for namespace, policies := range b.policies {
		if len(policies) > 0 {
			all = append(all, namespace)
		}
	}
	slices.Sort(all)
	return all
}
