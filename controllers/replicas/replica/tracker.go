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

// Hosts tells what became of what was published. It is *server.Server.
type Hosts interface {
	Host(key route.Key) server.HostState
}

// Tracker knows which Ingresses this replica's Envoys do not serve yet, and how
// far it has come with the others.
//
// It hears of every event of an Ingress before the keys that the event concerns
// are queued, of every run of their reconciler, and of what Envoys accept. An
// Ingress waits from its event on until each of those keys was reconciled by a
// run that began after the event, and what that run published is accepted by
// every Envoy. It asks Hosts for that and remembers no answer, so that it does
// not matter in which order things are heard.
type Tracker struct {
	Hosts Hosts
	// Settled hears that an Ingress waits no more, Moved that there are other
	// Envoys, Changed that Report has changed for whatever reason. Each may be
	// nil, is called without locks, and must not block.
	Settled func(types.NamespacedName)
	Moved   func()
	Changed func()
	// Challenges tells the digests of the ACME challenges that are answered here,
	// sorted; nil: there are none. Touch says that it may tell others.
	Challenges func() []string
	// Now is the clock, time.Now by default.
	Now func() time.Time

	mu       sync.Mutex
	sequence uint64 // of events
	seen     Version
	coming   map[types.NamespacedName]coming // events that Saw has yet to take
	scope    scope
	work     map[route.Key]*work
	waiting  map[types.NamespacedName]*wait
	gateways map[route.Gateway]Gateway
}

// work is a key on which Ingresses wait.
type work struct {
	wanted, done uint64 // of the newest event, and of the newest that a run has seen
	ingresses    map[types.NamespacedName]struct{}
}

// wait is an Ingress that waits.
type wait struct {
	since   time.Time
	version Version // of its newest event
	keys    map[route.Key]struct{}
}

// Saw takes an event of an Ingress: it has this version, and these keys will be
// reconciled. None: nothing changed that concerns Envoy. Call it before the
// keys are queued.
func (t *Tracker) Saw(name types.NamespacedName, version Version, keys []route.Key) {
	t.mu.Lock()
	t.came(name, version)
	t.await(name, version, keys)
	t.mu.Unlock()
	if len(keys) > 0 {
		t.changed() // that nothing concerns can wait until something else is told
	}
}

// Concerns takes that an event of another object concerns an Ingress, which has
// these keys and this version in the cache. That cache is ahead of the events of
// Ingresses: the version says nothing of what Saw was told.
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

// Scope takes an event of an object that decides which Ingresses are ours: it
// is there in this state, or gone if that is empty. Call it after Concerns was
// told of every Ingress that it concerns.
func (t *Tracker) Scope(kind, name, state string) {
	t.mu.Lock()
	t.scope.set(kind, name, state)
	t.mu.Unlock()
	t.changed()
}

// Knows says whether Scope was told of exactly these objects of the kind, in
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

// Run is a moment: what was seen before it is known to a run that begins now.
type Run uint64

// Begin is called before a run of a key looks at anything.
func (t *Tracker) Begin() Run {
	t.mu.Lock()
	defer t.mu.Unlock()
	return Run(t.sequence)
}

// Finish takes the end of a run of key that began at run and published what it
// found.
func (t *Tracker) Finish(key route.Key, run Run) {
	t.settle(func() []route.Key {
		if k := t.work[key]; k != nil {
			k.done = max(k.done, uint64(run))
		}
		return []route.Key{key}
	})
}

// FinishAll is Finish for the pass that makes the first picture: it is a run of
// every key.
func (t *Tracker) FinishAll(run Run) {
	t.settle(func() []route.Key {
		for _, k := range t.work {
			k.done = max(k.done, uint64(run))
		}
		return slices.Collect(maps.Keys(t.work))
	})
}

// Heard says that something became of what is published for key.
func (t *Tracker) Heard(key route.Key) {
	t.settle(func() []route.Key { return []route.Key{key} })
}

// Envoys takes how many Envoys there are, and looks at everything anew: without
// Envoys nobody says that something is accepted.
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

// settle looks at keys again: those that are served are waited for no more.
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

// accepted says that no Envoy has anything else than what is asked for, and that
// a new certificate was seen.
func accepted(s server.HostState) bool {
	if s.Published {
		return s.Served && !s.ProofPending
	}
	return !s.Withdrawing
}

// release takes key from those that wait for it, and returns those that wait
// for nothing else.
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

// Report is what the other replicas are told.
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

// Touch says that what Challenges tells may have changed.
func (t *Tracker) Touch() { t.changed() }

func (t *Tracker) challenges() []string {
	if t.Challenges == nil {
		return nil
	}
	return t.Challenges()
}

// counts says that Envoys are waited for. A gateway without any here holds
// nothing up: those that come are given everything before they serve.
func (t *Tracker) counts(w *wait) bool {
	for key := range w.keys {
		if t.gateways[key.Gateway].Synced > 0 {
			return true
		}
	}
	return false
}

// why says for which key an Ingress waits: one that was refused before one that
// is only late.
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
	seen     Version // up to which it has seen the Ingress
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

// HeldUp is how many Ingresses Envoys do not serve yet, and for how long the
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
