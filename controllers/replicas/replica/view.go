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
// A replica whose Lease is not renewed counts no more. Whether it is renewed is
// seen by our own clock, and only while we see our own Lease renewed by the same
// watch: after the API server was away everybody's looks old.
type View struct {
	// Identity is this replica's, and Tracker what it knows of itself.
	Identity string
	Tracker  *Tracker
	Log      logr.Logger
	// Changed hears that a Lease changed; may be nil, must not block.
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
	seen     time.Time // renewed, by our clock
}

// gap is for how long our own Lease may not have been seen renewed, and we count as
// ones who would have heard of others.
const gap = 10 * time.Second

// stale is how long a Lease must not have been renewed to be removed.
const stale = 10 * Duration

// homecoming is how long Envoys may take to connect again that have lost their
// controller: they wait 5 s at most between two tries. Until then an Envoy may
// serve what it got long ago, and nobody knows of it.
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

// take reports whether something is new for others.
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
		if known == nil || known.broken != o.broken { // else it has been said
			v.Log.Error(err, "cannot read the lease of a replica: no ingress is given an address while it lives", "replica", identity)
		}
	}
	for _, h := range report.HeldUp {
		o.held[h.Ingress] = h
	}
	set(&v.others, lease.Name, o)
	return true
}

// Remove takes that a Lease is gone.
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

// expired says that o has said nothing for as long as it is counted, and that
// we would have heard it. What its owner's clock said then does not matter: that
// may be wrong, and its Envoys right.
func (v *View) expired(o *other, now time.Time) bool {
	heard := o.seen
	if heard.Before(v.since) {
		heard = v.since
	}
	return now.Sub(heard) >= Duration && now.Sub(v.last) < Duration
}

// Relics are the names of Leases that have long expired.
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
	// Reason and Detail say why not, Replica whose Envoys it is about.
	Reason  Obstacle
	Detail  string
	Replica string
	// Again is when to ask again though no Changed was heard.
	Again time.Duration
}

// Obstacle is why an Ingress is not served.
type Obstacle string

// The obstacles.
const (
	NoEnvoy  Obstacle = "NoEnvoy"  // of the gateway is connected to any replica
	Homeless Obstacle = "Homeless" // Envoys may not be connected again yet, since a replica started or left
	NotYet   Obstacle = "NotYet"   // some replica has yet to say that its Envoys serve it
	Refused  Obstacle = "Refused"  // an Envoy refused one of its hosts
	Newcomer Obstacle = "Newcomer" // an Envoy has just come, and catches up
	// Unreadable is a replica that lives and whose Lease says nothing that could
	// be read: it may have Envoys, and nobody knows what they serve.
	Unreadable Obstacle = "Unreadable"
)

// Served says whether every Envoy of the gateway, at all replicas, serves the
// Ingress in this version.
func (v *View) Served(name types.NamespacedName, version Version, gateway route.Gateway) Verdict {
	v.mu.Lock()
	defer v.mu.Unlock()
	own := v.Tracker.claim(name)
	verdict, synced := Judge(own.gateways[gateway], own.claims(version), own.held)
	if !verdict.Served {
		verdict.Again, verdict.Replica = renewal, v.Identity
		return verdict
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
		verdict, n := o.judge(name, version, gateway, own.scope)
		if !verdict.Served {
			verdict.Again, verdict.Replica = max(Duration-now.Sub(o.seen), time.Second), o.identity
			return verdict
		}
		synced += n
	}
	if synced == 0 {
		return Verdict{Reason: NoEnvoy, Detail: fmt.Sprintf("no Envoy of gateway %q is connected", gateway), Again: Duration}
	}
	return Verdict{Served: true}
}

// complete says whether all Envoys that run have had the time to connect: since
// we watch, and since a replica went that had some.
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

// judge says whether the Envoys of o serve an Ingress, and how many there are.
func (o *other) judge(name types.NamespacedName, version Version, gateway route.Gateway, scope string) (Verdict, int) {
	if o.broken != "" {
		return Verdict{Reason: Unreadable, Detail: "its Lease cannot be read: " + o.broken}, 0
	}
	return Judge(o.report.Gateways[gateway], o.report.Watermark >= version && o.report.Scope == scope, o.heldUp(name))
}

func (o *other) heldUp(name types.NamespacedName) *HeldUp {
	if h, ok := o.held[name]; ok {
		return &h
	}
	return nil
}

// Judge says whether the Envoys of one replica serve an Ingress, if it has any,
// and how many of them there are.
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
