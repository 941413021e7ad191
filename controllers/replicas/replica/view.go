package replica

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/go-logr/logr"
	coordinationv1 "k8s.io/api/coordination/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/fairwaynet/fairway/xds/route"
)

// View is what all replicas report, ours included.
//
// A replica whose Lease is not renewed no longer counts. We judge that by our own
// clock, and only while the same watch shows our own Lease being renewed: after an
// outage of the API server, every Lease looks old.
type View struct {
	// Identity is this replica's name, and Tracker what it knows of itself.
	Identity string
	Tracker  *Tracker
	Log      logr.Logger
	// Changed is called when a Lease has changed; may be nil, must not block.
	Changed func()
	// Now is the clock, time.Now by default.
	Now func() time.Time

	mu     sync.Mutex
	others map[string]*other // by name of the Lease
	// Our own Lease has been seen renewed from since to last without a gap.
	since, last time.Time
	// left is when a replica that had Envoys removed its Lease.
	left time.Time
}

// other is another replica.
type other struct {
	identity string
	version  string // of its Lease
	report   Report
	broken   string // why the report cannot be read; empty: it can
	held     map[types.NamespacedName]HeldUp
	seen     time.Time // when it was last seen renewed, by our clock
}

// gap is how long our own Lease may go without being seen renewed. Until then we
// trust that we would have heard of other replicas.
const gap = 10 * time.Second

// stale is how long a Lease must not have been renewed before it is removed.
const stale = 10 * Duration

// homecoming is how long Envoys may take to connect again after they have lost
// their controller: they wait at most 5 s between two tries. Until then an Envoy
// may serve an old picture without any replica knowing of it.
const homecoming = 6 * time.Second

// Update takes a Lease of a replica as it is now.
func (v *View) Update(lease *coordinationv1.Lease) {
	identity := ""
	if lease.Spec.HolderIdentity != nil {
		identity = *lease.Spec.HolderIdentity
	}
	if v.take(lease, identity) && v.Changed != nil {
		v.Changed()
	}
}

// take notes a Lease, and reports whether that of another replica has changed.
func (v *View) take(lease *coordinationv1.Lease, identity string) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	now := v.now()
	if identity == v.Identity {
		if now.Sub(v.last) > gap {
			v.since = now
		}
		v.last = now
		return false
	}
	known := v.others[lease.Name]
	if known != nil && known.version == lease.ResourceVersion {
		return false
	}
	report, err := ParseReport(lease.Annotations)
	o := &other{identity: identity, version: lease.ResourceVersion, report: report, held: map[types.NamespacedName]HeldUp{}, seen: now}
	if err != nil {
		o.broken = err.Error()
		if known == nil || known.broken != o.broken { // else it was logged already
			v.Log.Error(err, "cannot read the lease of a replica: no ingress is given an address while it lives", "replica", identity)
		}
	}
	for _, h := range report.HeldUp {
		o.held[h.Ingress] = h
	}
	set(&v.others, lease.Name, o)
	return true
}

// Remove says that a Lease is gone.
func (v *View) Remove(lease *coordinationv1.Lease) {
	v.mu.Lock()
	if o := v.others[lease.Name]; o != nil && len(o.report.Gateways) > 0 && !v.expired(o, v.now()) {
		v.left = v.now()
	}
	delete(v.others, lease.Name)
	v.mu.Unlock()
	if v.Changed != nil {
		v.Changed()
	}
}

// expired reports whether o has been silent for Duration although we would have
// heard it. It ignores the time that o's own clock wrote: that clock may be wrong
// while its Envoys are right.
func (v *View) expired(o *other, now time.Time) bool {
	heard := o.seen
	if heard.Before(v.since) {
		heard = v.since
	}
	return now.Sub(heard) >= Duration && now.Sub(v.last) < Duration
}

// Relics returns the names of Leases that have long expired.
func (v *View) Relics() []string {
	v.mu.Lock()
	defer v.mu.Unlock()
	now := v.now()
	var names []string
	for name, o := range v.others {
		if now.Sub(o.seen) >= stale && v.expired(o, now) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// Verdict says whether every Envoy serves an Ingress.
type Verdict struct {
	Served bool
	// Reason and Detail say why not; Replica is the replica whose Envoys do not.
	Reason  Obstacle
	Detail  string
	Replica string
	// Again is when to ask again even if Changed is not called.
	Again time.Duration
}

// Obstacle is why an Ingress is not served.
type Obstacle string

// The obstacles.
const (
	NoEnvoy  Obstacle = "NoEnvoy"  // no Envoy of the gateway is connected to any replica
	Homeless Obstacle = "Homeless" // Envoys may not be connected again yet, since a replica started or left
	NotYet   Obstacle = "NotYet"   // some replica has yet to report that its Envoys serve it
	Refused  Obstacle = "Refused"  // an Envoy refused one of its hosts
	Newcomer Obstacle = "Newcomer" // an Envoy has just come, and catches up
	// Unreadable means that the Lease of a live replica cannot be read: it may
	// have Envoys, and what they serve is unknown.
	Unreadable Obstacle = "Unreadable"
)

// Served reports whether every Envoy of the gateway, at all replicas, serves the
// Ingress in this version.
func (v *View) Served(name types.NamespacedName, version Version, gateway route.Gateway) Verdict {
	v.mu.Lock()
	defer v.mu.Unlock()
	own := v.Tracker.claim(name)
	verdict, synced := Judge(own.gateways[gateway], own.claims(version), own.held)
	return v.everywhere(gateway, verdict, synced, func(o *other, now time.Time) (Verdict, int) {
		verdict, synced := o.judge(name, version, gateway, own.scope)
		verdict.Again = max(Duration-now.Sub(o.seen), time.Second)
		return verdict, synced
	})
}

// everywhere reports whether something is so at all replicas that live, and at one Envoy
// of the gateway at least. own is the verdict of this replica, synced the number of its
// Envoys; judge returns those of another.
func (v *View) everywhere(
	gateway route.Gateway, own Verdict, synced int, judge func(o *other, now time.Time) (Verdict, int),
) Verdict {
	if !own.Served {
		own.Again, own.Replica = renewal, v.Identity
		return own
	}
	now := v.now()
	if verdict := v.complete(now); !verdict.Served {
		return verdict
	}
	for _, key := range slices.Sorted(maps.Keys(v.others)) {
		o := v.others[key]
		if v.expired(o, now) {
			continue
		}
		verdict, n := judge(o, now)
		if !verdict.Served {
			verdict.Replica = o.identity
			return verdict
		}
		synced += n
	}
	if synced == 0 {
		return Verdict{Reason: NoEnvoy, Detail: fmt.Sprintf("no Envoy of gateway %q is connected", gateway), Again: Duration}
	}
	return Verdict{Served: true}
}

// complete reports whether all running Envoys have had the time to connect: since
// we began to watch, and since a replica with Envoys left.
func (v *View) complete(now time.Time) Verdict {
	from := v.since
	if from.Before(v.left) {
		from = v.left
	}
	wait := homecoming - now.Sub(from)
	if v.since.IsZero() {
		wait = homecoming
	}
	if wait > 0 {
		return Verdict{Reason: Homeless, Detail: "Envoys that have lost their controller may not be connected again yet", Replica: v.Identity, Again: wait}
	}
	return Verdict{Served: true}
}

// judge reports whether the Envoys of o serve an Ingress, and how many Envoys
// there are.
func (o *other) judge(name types.NamespacedName, version Version, gateway route.Gateway, scope string) (Verdict, int) {
	if o.broken != "" {
		return o.unreadable(), 0
	}
	return Judge(o.report.Gateways[gateway], o.report.Watermark >= version && o.report.Scope == scope, o.heldUp(name))
}

func (o *other) unreadable() Verdict {
	return Verdict{Reason: Unreadable, Detail: "its Lease cannot be read: " + o.broken}
}

func (o *other) heldUp(name types.NamespacedName) *HeldUp {
	if h, ok := o.held[name]; ok {
		return &h
	}
	return nil
}

// Judge reports whether the Envoys of one replica, if any, serve an Ingress, and
// how many of them there are.
func Judge(envoys Gateway, claimed bool, held *HeldUp) (Verdict, int) {
	switch {
	case envoys.Awaited > 0:
		return Verdict{Reason: Newcomer, Detail: "an Envoy has just connected and catches up"}, 0
	case envoys.Synced == 0:
		return Verdict{Served: true}, 0
	case held != nil && held.Reason == Rejected:
		return Verdict{Reason: Refused, Detail: held.Detail}, 0
	case held != nil:
		return Verdict{Reason: NotYet, Detail: "Envoys have not accepted " + held.Detail + " yet"}, 0
	case !claimed:
		return Verdict{Reason: NotYet, Detail: "it has not seen the newest version yet"}, 0
	}
	return Verdict{Served: true}, envoys.Synced
}

func (v *View) now() time.Time {
	if v.Now == nil {
		return time.Now()
	}
	return v.Now()
}
