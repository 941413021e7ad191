package replica

import (
	"maps"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/fairwaynet/fairway/api/shrink"
	"github.com/fairwaynet/fairway/xds/route"
	"github.com/fairwaynet/fairway/xds/server"
)

// Hosts returns the state of what was published. It is *server.Server.
type Hosts interface {
	Host(key route.Key) server.HostState
}

// Tracker knows which Ingresses this replica's Envoys do not serve yet, and up to
// which version they serve the others.
//
// It hears of every event of an Ingress before the keys that the event concerns
// are queued. It also hears of every run of their reconciler, and of what Envoys
// accept. An Ingress waits from its event on until two things are true: each of
// those keys was reconciled by a run that began after the event, and every Envoy
// has accepted what that run published. The Tracker asks Hosts for the latter and
// remembers no answer, so the order in which it hears things does not matter.
type Tracker struct {
	Hosts Hosts
	// Settled hears that an Ingress no longer waits. Moved hears that the Envoys
	// have changed. Changed hears that Report has changed for whatever reason.
	// Each may be nil, is called without locks, and must not block.
	Settled func(types.NamespacedName)
	Moved   func()
	Changed func()
	// Challenges returns the digests of the ACME challenges that are answered
	// here, sorted; nil: there are none. Call Touch when its result may have
	// changed.
	Challenges func() []string
	// Now is the clock, time.Now by default.
	Now func() time.Time

	mu       sync.Mutex
	sequence uint64 // of events
	seen     Version
	coming   map[types.NamespacedName]coming // events that are still to reach Saw
	scope    scope
	work     map[route.Key]*work
	waiting  map[types.NamespacedName]*wait
	gateways map[route.Gateway]Gateway
}

// work is a key for which Ingresses wait.
type work struct {
	wanted, done uint64 // the newest event, and the newest event that a run has seen
	ingresses    map[types.NamespacedName]struct{}
}

// wait is an Ingress that waits.
type wait struct {
	since   time.Time
	version Version // of its newest event
	keys    map[route.Key]struct{}
}

// Saw takes an event of an Ingress: it has this version, and these keys will be
// reconciled. No keys mean that nothing changed that concerns Envoy. Call it
// before the keys are queued.
func (t *Tracker) Saw(name types.NamespacedName, version Version, keys []route.Key) {
	t.mu.Lock()
	t.came(name, version)
	t.await(name, version, keys)
	t.mu.Unlock()
	if len(keys) > 0 {
		t.changed() // a version without keys can wait for the next report
	}
}

// Concerns says that an event of another object concerns an Ingress, which has
// these keys and this version in the cache. The cache may be ahead of the events
// of Ingresses, so the version does not imply that Saw has taken it.
func (t *Tracker) Concerns(name types.NamespacedName, version Version, keys []route.Key) {
	t.mu.Lock()
	t.await(name, version, keys)
	t.mu.Unlock()
	if len(keys) > 0 {
		t.changed()
	}
}

func (t *Tracker) await(name types.NamespacedName, version Version, keys []route.Key) {
	w := t.waiting[name]
	switch {
	case w != nil:
		w.version = max(w.version, version)
	case len(keys) == 0:
		return
	default:
		w = &wait{since: t.now(), version: version, keys: map[route.Key]struct{}{}}
		set(&t.waiting, name, w)
	}
	t.sequence++
	for _, key := range keys {
		k := t.work[key]
		if k == nil {
			k = &work{ingresses: map[types.NamespacedName]struct{}{}}
			set(&t.work, key, k)
		}
		k.wanted = t.sequence
		k.ingresses[name] = struct{}{}
		w.keys[key] = struct{}{}
	}
}

// Scope takes an event of an object that decides which Ingresses are ours. It
// exists in this state, or is gone if state is empty. Call it after calling
// Concerns for every Ingress that it concerns.
func (t *Tracker) Scope(kind, name, state string) {
	t.mu.Lock()
	t.scope.set(kind, name, state)
	t.mu.Unlock()
	t.changed()
}

// Knows reports whether Scope was told of exactly these objects of the kind, in
// these states, by name.
func (t *Tracker) Knows(kind string, states map[string]string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	known := 0
	for o, state := range t.scope.states {
		if o.kind != kind {
			continue
		}
		if states[o.name] != state {
			return false
		}
		known++
	}
	return known == len(states)
}

// Run is a moment: a run that begins now knows all events before it.
type Run uint64

// Begin must be called before a run of a key reads anything.
func (t *Tracker) Begin() Run {
	t.mu.Lock()
	defer t.mu.Unlock()
	return Run(t.sequence)
}

// Finish says that a run of key, which began at run, has published what it found.
func (t *Tracker) Finish(key route.Key, run Run) {
	t.settle(func() []route.Key {
		if k := t.work[key]; k != nil {
			k.done = max(k.done, uint64(run))
		}
		return []route.Key{key}
	})
}

// FinishAll is Finish for the pass that makes the first picture: it counts as a
// run of every key.
func (t *Tracker) FinishAll(run Run) {
	t.settle(func() []route.Key {
		for _, k := range t.work {
			k.done = max(k.done, uint64(run))
		}
		return slices.Collect(maps.Keys(t.work))
	})
}

// Heard says that the state of what is published for key has changed.
func (t *Tracker) Heard(key route.Key) {
	t.settle(func() []route.Key { return []route.Key{key} })
}

// Envoys takes the number of Envoys, and checks every key again: without Envoys,
// none reports that it has accepted something.
func (t *Tracker) Envoys(gateways map[route.Gateway]Gateway) {
	changed := false
	t.settle(func() []route.Key {
		changed = !maps.EqualFunc(t.gateways, gateways, Gateway.equal)
		t.gateways = gateways
		return slices.Collect(maps.Keys(t.work))
	})
	if changed {
		t.changed()
	}
	if changed && t.Moved != nil {
		t.Moved()
	}
}

// settle checks keys again. Ingresses stop waiting for those that are served.
func (t *Tracker) settle(keys func() []route.Key) {
	t.mu.Lock()
	var settled []types.NamespacedName
	heard := false
	for _, key := range keys() {
		k := t.work[key]
		if k == nil {
			continue
		}
		heard = true
		if k.done >= k.wanted && accepted(t.Hosts.Host(key)) {
			settled = append(settled, t.release(key, k)...)
		}
	}
	t.mu.Unlock()
	if heard {
		t.changed()
	}
	if t.Settled != nil {
		for _, name := range settled {
			t.Settled(name)
		}
	}
}

// accepted reports whether no Envoy has anything other than what is wanted, and
// whether a new certificate was seen in use.
func accepted(s server.HostState) bool {
	if s.Published {
		return s.Served && !s.ProofPending
	}
	return !s.Withdrawing
}

// release removes key from the Ingresses that wait for it. It returns those that
// wait for nothing else.
func (t *Tracker) release(key route.Key, k *work) []types.NamespacedName {
	var settled []types.NamespacedName
	shrink.Delete(&t.work, key)
	for name := range k.ingresses {
		w := t.waiting[name]
		delete(w.keys, key)
		if len(w.keys) == 0 {
			shrink.Delete(&t.waiting, name)
			settled = append(settled, name)
		}
	}
	return settled
}

// Report returns what the other replicas are told.
func (t *Tracker) Report() Report {
	challenges := t.challenges()
	t.mu.Lock()
	defer t.mu.Unlock()
	report := Report{
		Watermark: t.watermark(), Scope: t.scope.String(), Gateways: maps.Clone(t.gateways),
		Challenges: challenges[:min(len(challenges), maxChallenges)],
	}
	for name, w := range t.waiting {
		if t.counts(w) {
			report.HeldUp = append(report.HeldUp, HeldUp{Ingress: name, Version: w.version})
		}
	}
	slices.SortFunc(report.HeldUp, oldestFirst)
	if len(report.HeldUp) > maxHeldUp {
		report.Watermark = min(report.Watermark, report.HeldUp[maxHeldUp].Version-1)
		report.HeldUp = report.HeldUp[:maxHeldUp]
	}
	for i := range report.HeldUp {
		h := &report.HeldUp[i]
		h.Reason, h.Detail = t.why(t.waiting[h.Ingress])
	}
	return report
}

// Touch says that the result of Challenges may have changed.
func (t *Tracker) Touch() { t.changed() }

func (t *Tracker) challenges() []string {
	if t.Challenges == nil {
		return nil
	}
	return t.Challenges()
}

// counts reports whether w waits for any Envoys. A gateway that has none here
// holds nothing up: an Envoy that comes gets everything before it serves.
func (t *Tracker) counts(w *wait) bool {
	for key := range w.keys {
		if t.gateways[key.Gateway].Synced > 0 {
			return true
		}
	}
	return false
}

// why returns the key for which an Ingress waits. A key that was refused comes
// before one that is only late.
func (t *Tracker) why(w *wait) (reason HeldUpReason, detail string) {
	keys := slices.SortedFunc(maps.Keys(w.keys), compareKeys)
	for _, key := range keys {
		if refused := t.Hosts.Host(key).Rejected; refused != "" {
			return Rejected, shorten(refused)
		}
	}
	for _, key := range keys {
		if t.Hosts.Host(key).ProofPending {
			return Waiting, "the certificate of host " + string(key.Host)
		}
	}
	return Waiting, "host " + string(keys[0].Host)
}

// claim is what this replica says of one Ingress.
type claim struct {
	seen     Version // the version up to which it has seen the Ingress
	held     *HeldUp // nil: it does not wait
	scope    string
	gateways map[route.Gateway]Gateway // not to be changed
}

func (c claim) claims(version Version) bool { return c.seen >= version }

func (t *Tracker) claim(name types.NamespacedName) claim {
	t.mu.Lock()
	defer t.mu.Unlock()
	c := claim{seen: t.seen, scope: t.scope.String(), gateways: t.gateways}
	if on, ok := t.coming[name]; ok && t.now().Sub(on.since) < lost {
		c.seen = min(c.seen, on.oldest-1)
	}
	if w := t.waiting[name]; w != nil {
		c.held = &HeldUp{Ingress: name, Version: w.version}
		c.held.Reason, c.held.Detail = t.why(w)
	}
	return c
}

// HeldUp returns how many Ingresses the Envoys do not serve yet, and how long the
// oldest of them has waited.
func (t *Tracker) HeldUp() (count int, oldest time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.now()
	for _, w := range t.waiting {
		if t.counts(w) {
			count++
			oldest = max(oldest, now.Sub(w.since))
		}
	}
	return count, oldest
}

func (t *Tracker) now() time.Time {
	if t.Now == nil {
		return time.Now()
	}
	return t.Now()
}

func (t *Tracker) changed() {
	if t.Changed != nil {
		t.Changed()
	}
}

func set[K comparable, V any](m *map[K]V, key K, value V) {
	if *m == nil {
		*m = map[K]V{}
	}
	(*m)[key] = value
}
