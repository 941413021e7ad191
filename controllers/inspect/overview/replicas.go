package overview

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairwaynet/fairway/api/installation"
	"github.com/fairwaynet/fairway/api/problem"
	"github.com/fairwaynet/fairway/controllers/inspect/snapshot"
	"github.com/fairwaynet/fairway/controllers/replicas/replica"
	"github.com/fairwaynet/fairway/xds/route"
)

type object = client.Object

// objectsOf returns the objects that are of type T.
func objectsOf[T object](objects []object) []T {
	var found []T
	for _, o := range objects {
		if its, ok := o.(T); ok {
			found = append(found, its)
		}
	}
	return found
}

// Replicas are what the controllers of a cluster report in their Leases.
type Replicas struct {
	Controllers []Controller
	// Unknown lists what could not be read.
	Unknown []string

	known bool // the Leases could be read
	alive []report
}

// report is what a live replica reports.
type report struct {
	replica.Report
	of       Installation
	identity string
	broken   error // why it cannot be read
}

// grace is how much longer than its duration a Lease counts: clocks differ.
const grace = 15 * time.Second

// ReplicasOf reads the Leases of a cluster. Without the permission to read them,
// it says so in Unknown.
func ReplicasOf(ctx context.Context, reader snapshot.Reader, now time.Time) (*Replicas, error) {
	leases, err := reader.Leases(ctx, replica.Label)
	var forbidden *snapshot.PermissionError
	if errors.As(err, &forbidden) {
		return &Replicas{Unknown: []string{"which controllers run, and what Envoys serve: " + forbidden.Error()}}, nil
	}
	if err != nil {
		return nil, err
	}
	all := &Replicas{known: true}
	leaders := leadersOf(leases, now)
	for _, lease := range leases {
		if lease.Labels[replica.Label] == "true" {
			elected := types.NamespacedName{Namespace: lease.Namespace, Name: installation.Of(lease.Labels).Controller()}
			all.add(lease, leaders[elected], now)
		}
	}
	slices.SortFunc(all.Controllers, func(a, b Controller) int {
		return strings.Compare(a.Namespace+"/"+a.Identity, b.Namespace+"/"+b.Identity)
	})
	return all, nil
}

func (r *Replicas) add(lease *coordinationv1.Lease, leader string, now time.Time) {
	c := controllerOf(lease, now)
	c.Installation = installation.Of(lease.Labels).String()
	c.Leader = c.Identity == leader && c.Identity != ""
	said, err := replica.ParseReport(lease.Annotations)
	if err != nil {
		r.Unknown = append(r.Unknown, fmt.Sprintf("what the Envoys of controller %s serve: its Lease cannot be read: %v", c.Identity, err))
	}
	for _, g := range said.Gateways {
		c.Envoys += g.Envoys
	}
	c.HeldUp, c.Version = len(said.HeldUp), said.Version
	c.serves = route.Controller(cmp.Or(said.Controller, route.ControllerName))
	r.Controllers = append(r.Controllers, c)
	if c.Alive {
		r.alive = append(r.alive, report{said, c.of(), c.Identity, err})
	}
}

// leadersOf returns the identity of the holder of each Lease that is held, by its name:
// those of leaders are among them.
func leadersOf(leases []*coordinationv1.Lease, now time.Time) map[types.NamespacedName]string {
	leaders := map[types.NamespacedName]string{}
	for _, lease := range leases {
		if c := controllerOf(lease, now); c.Alive {
			leaders[client.ObjectKeyFromObject(lease)] = c.Identity
		}
	}
	return leaders
}

func controllerOf(lease *coordinationv1.Lease, now time.Time) Controller {
	c := Controller{Namespace: lease.Namespace}
	if lease.Spec.HolderIdentity != nil {
		c.Identity = *lease.Spec.HolderIdentity
	}
	duration := replica.Duration
	if lease.Spec.LeaseDurationSeconds != nil {
		duration = time.Duration(*lease.Spec.LeaseDurationSeconds) * time.Second
	}
	if lease.Spec.RenewTime != nil {
		c.Renewed = lease.Spec.RenewTime.Time
		c.Alive = now.Sub(c.Renewed) < duration+grace
	}
	return c
}

// EnvoysOf counts the connected Envoys of a gateway, and those of them that have
// caught up.
func (r *Replicas) EnvoysOf(gateway route.Gateway) (envoys, synced int) {
	for _, report := range r.alive {
		envoys += report.Gateways[gateway].Envoys
		synced += report.Gateways[gateway].Synced
	}
	return envoys, synced
}

// versionsOf returns the versions of the Envoys of a gateway, each once.
func (r *Replicas) versionsOf(gateway route.Gateway) []string {
	versions := []string{}
	for _, report := range r.alive {
		versions = append(versions, report.Gateways[gateway].Versions...)
	}
	slices.Sort(versions)
	return slices.Compact(versions)
}

// UnprovedOf counts the certificates that clients of a gateway should get but do
// not.
func (r *Replicas) UnprovedOf(gateway route.Gateway) int {
	unproved := 0
	for _, report := range r.alive {
		unproved += report.Gateways[gateway].Unproved
	}
	return unproved
}

// problems returns those that only the controllers can find.
func (r *Replicas) problems() []problem.Problem {
	var all []problem.Problem
	for _, report := range r.alive {
		all = append(all, report.Problems...)
	}
	return all
}

// StateOf returns whether every Envoy of the gateway serves the Ingress as it
// stands, and why not.
func (r *Replicas) StateOf(ing *networkingv1.Ingress, gateway route.Gateway) (State, string) {
	switch {
	case !r.known:
		return Unknown, ""
	case len(r.alive) == 0:
		return Down, "no controller runs"
	}
	version, err := replica.ParseVersion(ing.ResourceVersion)
	if err != nil {
		return Unknown, err.Error()
	}
	synced := 0
	for _, report := range r.alive {
		if report.broken != nil {
			return Unknown, fmt.Sprintf("the Lease of controller %s cannot be read", report.identity)
		}
		if report.Scope != r.alive[0].Scope {
			return HeldUp, "the controllers do not yet agree on which Ingresses are theirs"
		}
		verdict, envoys := report.judge(client.ObjectKeyFromObject(ing), version, gateway)
		if !verdict.Served {
			return HeldUp, fmt.Sprintf("controller %s: %s: %s", report.identity, verdict.Reason, verdict.Detail)
		}
		synced += envoys
	}
	if synced == 0 {
		return Down, fmt.Sprintf("no Envoy of gateway %s is connected", gateway)
	}
	return Served, ""
}

// judge returns whether the Envoys of a replica serve a version of an Ingress, in
// the replicas' own words, and how many of them there are.
func (r report) judge(name client.ObjectKey, version replica.Version, gateway route.Gateway) (replica.Verdict, int) {
	var held *replica.HeldUp
	for i := range r.HeldUp {
		if r.HeldUp[i].Ingress == name {
			held = &r.HeldUp[i]
		}
	}
	return replica.Judge(r.Gateways[gateway], r.Watermark >= version, held)
}
