package replica_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/fairwaynet/fairway/controllers/replicas/replica"
	"github.com/fairwaynet/fairway/xds/route"
	"github.com/fairwaynet/fairway/xds/server"
)

const gateway = route.DefaultGateway

func keyOf(host string) route.Key { return route.Key{Gateway: gateway, Host: route.Hostname(host)} }

func nameOf(name string) types.NamespacedName {
	return types.NamespacedName{Namespace: "shop", Name: name}
}

// world is a cluster of Ingresses, a queue, and Envoys, as simple as can be. The
// content of a host is the versions of its Ingresses.
type world struct {
	replica.Tracker

	random  *rand.Rand
	version replica.Version
	objects map[types.NamespacedName]object
	queue   map[route.Key]bool
	hosts   map[route.Key]*host
	envoys  int
}

type object struct {
	version replica.Version
	essence replica.Version // of the last change that concerns Envoy
	hosts   []route.Key
}

// content is the Ingresses of a host, by the version of their essence.
type content map[types.NamespacedName]replica.Version

// host is what the server holds for a key.
type host struct {
	wanted, served content // nil: not there
	older          content // what was accepted last
	stuck          bool    // Envoys never accept it
}

func newWorld(seed uint64) *world {
	w := &world{
		random: rand.New(rand.NewPCG(seed, 0)), objects: map[types.NamespacedName]object{},
		queue: map[route.Key]bool{}, hosts: map[route.Key]*host{},
	}
	w.Hosts = w
	return w
}

// Host implements replica.Hosts.
func (w *world) Host(key route.Key) server.HostState {
	h := w.hosts[key]
	switch {
	case h == nil:
		return server.HostState{}
	case h.wanted == nil:
		return server.HostState{Withdrawing: h.served != nil && w.envoys > 0}
	}
	return server.HostState{Published: true, Served: w.envoys > 0 && equal(h.wanted, h.served)}
}

func equal(a, b content) bool { return fmt.Sprint(a) == fmt.Sprint(b) && (a == nil) == (b == nil) }

// change writes an Ingress, or deletes it where it has no hosts.
func (w *world) change(name types.NamespacedName, hosts ...route.Key) {
	w.version++
	keys := append(slices.Clone(w.objects[name].hosts), hosts...)
	slices.SortFunc(keys, func(a, b route.Key) int { return len(a.Host) - len(b.Host) })
	keys = slices.Compact(keys)
	if len(hosts) == 0 {
		delete(w.objects, name)
	} else {
		w.objects[name] = object{w.version, w.version, hosts}
	}
	w.Saw(name, w.version, keys)
	for _, key := range keys {
		w.queue[key] = true
	}
}

// touch writes a change of nothing essential.
func (w *world) touch(name types.NamespacedName) {
	w.version++
	if o, ok := w.objects[name]; ok {
		w.objects[name] = object{w.version, o.essence, o.hosts}
	}
	w.Saw(name, w.version, nil)
}

// gather is what a run finds for a key.
func (w *world) gather(key route.Key) content {
	var found content
	for name, o := range w.objects {
		if slices.Contains(o.hosts, key) {
			if found == nil {
				found = content{}
			}
			found[name] = o.essence
		}
	}
	return found
}

// reconcile is a run of one key; what happens meanwhile comes between.
func (w *world) reconcile(key route.Key, meanwhile func()) {
	delete(w.queue, key)
	run := w.Begin()
	found := w.gather(key)
	meanwhile()
	w.publish(key, found)
	w.Finish(key, run)
}

func (w *world) publish(key route.Key, found content) {
	h := w.hosts[key]
	if h == nil {
		h = &host{}
		w.hosts[key] = h
	}
	h.wanted = found
	if found == nil && w.envoys == 0 {
		h.older = nil // no Envoy has it, and one that comes does not get it
	}
}

// ack lets the Envoys accept what is published for a key.
func (w *world) ack(key route.Key) {
	if h := w.hosts[key]; h != nil && w.envoys > 0 && !h.stuck {
		h.served, h.older = h.wanted, h.wanted
		w.Heard(key)
	}
}

// connect makes it n Envoys. The first that comes has been given all that is
// there; of what changed just then, perhaps something older.
func (w *world) connect(n int) {
	for _, key := range slices.SortedFunc(maps.Keys(w.hosts), byHost) {
		h := w.hosts[key]
		switch {
		case n == 0:
			h.served = nil
		case w.envoys == 0 && w.random.IntN(2) == 0:
			h.served, h.older = h.wanted, h.wanted
		case w.envoys == 0:
			h.served = h.older
		}
	}
	w.envoys = n
	w.Envoys(map[route.Gateway]replica.Gateway{gateway: {Envoys: n, Synced: n}})
}

func byHost(a, b route.Key) int { return strings.Compare(string(a.Host), string(b.Host)) }

// untrue is a claim of the report that some Envoy would not bear out: an
// Ingress that the watermark covers, and that no exception names, but one of
// whose hosts is not served as that version asks.
func (w *world) untrue() error {
	if w.envoys == 0 {
		return nil // it claims nothing
	}
	report := w.Report()
	held := map[types.NamespacedName]bool{}
	for _, h := range report.HeldUp {
		held[h.Ingress] = true
	}
	for name, o := range w.objects {
		if o.version > report.Watermark || held[name] {
			continue
		}
		for key, h := range w.hosts {
			if _, there := h.served[name]; there && !slices.Contains(o.hosts, key) {
				return fmt.Errorf("%s at %d is claimed by watermark %d, but %s still serves it", name, o.version, report.Watermark, key)
			}
		}
		for _, key := range o.hosts {
			if h := w.hosts[key]; h == nil || h.served[name] != o.essence {
				return fmt.Errorf("%s at %d is claimed by watermark %d, but %s is not served", name, o.version, report.Watermark, key)
			}
		}
	}
	return nil
}

// A random history: the report never claims what the Envoys do not serve, and
// when all has been reconciled and accepted it claims everything.
func TestTheReportIsTrueAndCatchesUp(t *testing.T) {
	for seed := range uint64(100) {
		w := newWorld(seed)
		var hosts []route.Key
		for i := range 6 {
			hosts = append(hosts, keyOf(string(rune('a'+i))+".test"))
		}
		w.connect(w.random.IntN(2))
		for step := range 200 {
			w.step(hosts)
			if err := w.untrue(); err != nil {
				t.Fatalf("seed %d step %d: %v", seed, step, err)
			}
		}
		w.connect(2)
		for len(w.queue) > 0 {
			for key := range w.queue {
				w.reconcile(key, func() {})
			}
		}
		for _, key := range hosts {
			w.ack(key)
		}
		waiting, _ := w.HeldUp()
		if r := w.Report(); r.Watermark != w.version || len(r.HeldUp) > 0 || waiting > 0 {
			t.Fatalf("seed %d: after all is served the report is %+v, want watermark %d", seed, r, w.version)
		}
	}
}

// step is something that happens.
func (w *world) step(hosts []route.Key) {
	name := nameOf(string(rune('a' + w.random.IntN(5))))
	some := func() []route.Key {
		var picked []route.Key
		for _, key := range hosts {
			if w.random.IntN(4) == 0 {
				picked = append(picked, key)
			}
		}
		return picked
	}
	key := hosts[w.random.IntN(len(hosts))]
	switch w.random.IntN(10) {
	case 0, 1:
		w.change(name, some()...)
	case 2:
		w.touch(name)
	case 3:
		if w.random.IntN(5) == 0 {
			w.connect(w.random.IntN(3))
		}
	case 4, 5, 6:
		if w.queue[key] {
			w.reconcile(key, func() {
				if w.random.IntN(3) == 0 {
					w.change(name, some()...)
				}
			})
		}
	default:
		w.ack(key)
	}
}

// A host that is never accepted holds up the Ingresses that have it, and no
// other.
func TestAStuckHostDelaysOnlyItself(t *testing.T) {
	w := newWorld(0)
	w.connect(1)
	stuck := keyOf("stuck.test")
	w.hosts[stuck] = &host{stuck: true}
	w.change(nameOf("stuck"), stuck)
	w.reconcile(stuck, func() {})
	w.ack(stuck)
	for i := range 1000 {
		key := keyOf(fmt.Sprintf("%d.test", i))
		w.change(nameOf(fmt.Sprint(i)), key)
		w.reconcile(key, func() {})
		w.ack(key)
	}
	r := w.Report()
	if r.Watermark != w.version {
		t.Errorf("the watermark is %d, want %d", r.Watermark, w.version)
	}
	want := replica.HeldUp{Ingress: nameOf("stuck"), Version: 1, Reason: replica.Waiting, Detail: "host stuck.test"}
	if len(r.HeldUp) != 1 || r.HeldUp[0] != want {
		t.Errorf("held up: %+v, want only %+v", r.HeldUp, want)
	}
}

// More Ingresses than a Lease has room for keep the watermark below the first
// that is not listed.
func TestManyHeldUp(t *testing.T) {
	w := newWorld(0)
	w.connect(1)
	for i := range 250 {
		w.change(nameOf(fmt.Sprint(i)), keyOf(fmt.Sprintf("%d.test", i)))
	}
	if r := w.Report(); len(r.HeldUp) != 100 || r.HeldUp[0].Version != 1 || r.Watermark != 100 {
		t.Errorf("%d held up from %d on, watermark %d; want 100 from 1 on, and 100", len(r.HeldUp), r.HeldUp[0].Version, r.Watermark)
	}
	w.reconcile(keyOf("0.test"), func() {})
	w.ack(keyOf("0.test"))
	if r := w.Report(); len(r.HeldUp) != 100 || r.HeldUp[0].Version != 2 || r.Watermark != 101 {
		t.Errorf("%d held up from %d on, watermark %d; want 100 from 2 on, and 101", len(r.HeldUp), r.HeldUp[0].Version, r.Watermark)
	}
}

// An Ingress of which only the status changed holds nothing up.
func TestStatusAlone(t *testing.T) {
	w := newWorld(0)
	w.connect(1)
	w.touch(nameOf("any"))
	if r := w.Report(); r.Watermark != 1 || len(r.HeldUp) > 0 {
		t.Errorf("report %+v, want watermark 1 and nobody held up", r)
	}
}

// A class is heard of by another watch than Ingresses, and what the cache has of
// these may be newer than all that the Tracker has been told: of the events in
// between it knows nothing yet.
func TestAnotherObjectsEventClaimsNoVersion(t *testing.T) {
	w := newWorld(0)
	w.connect(1)
	w.Saw(nameOf("told"), 5, []route.Key{keyOf("told.test")})
	for i := range 150 { // version 6 is never delivered
		name := fmt.Sprintf("concerned-%d", i)
		w.Concerns(nameOf(name), replica.Version(7+i), []route.Key{keyOf(name)})
		if got := w.Report().Watermark; got > 5 {
			t.Fatalf("after %d Ingresses of a class the watermark is %d, want at most 5", i+1, got)
		}
	}
	if held := w.Report().HeldUp; len(held) != 100 {
		t.Errorf("%d Ingresses are held up, want 100 to be told of", len(held))
	}
	w.Saw(nameOf("untold"), 6, nil)
	w.Saw(nameOf("concerned-0"), 7, nil)
	if got := w.Report().Watermark; got != 7 {
		t.Errorf("watermark %d, want 7", got)
	}
}

// After a gap in the watch what changed meanwhile comes in the order of a list:
// no version is claimed before all that are older have come.
func TestAListAfterAGapClaimsNothingEarly(t *testing.T) {
	w := newWorld(0)
	now := time.Unix(0, 0)
	w.Now = func() time.Time { return now }
	w.connect(1)
	wants := func(mark replica.Version) {
		t.Helper()
		if got := w.Report().Watermark; got != mark {
			t.Errorf("watermark %d, want %d", got, mark)
		}
	}
	w.Coming(nameOf("any"), 4)
	w.Saw(nameOf("any"), 4, nil)
	wants(4)
	for name, version := range map[string]replica.Version{"a": 9, "b": 5, "c": 7, "any": 4} {
		w.Coming(nameOf(name), version)
	}
	wants(4)
	w.Saw(nameOf("a"), 9, nil)
	wants(4)
	w.Coming(nameOf("b"), 10) // by the watch, which goes on
	w.Saw(nameOf("b"), 5, nil)
	wants(5)
	w.Saw(nameOf("c"), 7, nil)
	wants(5) // what of b lies between 5 and 10 is not known
	w.Saw(nameOf("b"), 10, nil)
	wants(10)

	w.Coming(nameOf("lost"), 11)
	w.Saw(nameOf("a"), 12, nil)
	wants(10)
	now = now.Add(time.Minute)
	wants(12) // it will not come any more
}
