package ingressstatus

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	acv1 "k8s.io/client-go/applyconfigurations/networking/v1"
	typedv1 "k8s.io/client-go/kubernetes/typed/networking/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/fairwaynet/fairway/api/problem"
	"github.com/fairwaynet/fairway/controllers/edge/ingress"
	"github.com/fairwaynet/fairway/controllers/objects/fieldmanager"
	"github.com/fairwaynet/fairway/controllers/objects/index"
	"github.com/fairwaynet/fairway/controllers/replicas/replica"
	"github.com/fairwaynet/fairway/xds/route"
)

// NotServed is the reason of the Problem on an Ingress that gets no address.
const NotServed problem.Reason = "NotServed"

const (
	// patience is how long an Ingress may wait for its address before a Problem
	// tells its owner why.
	patience = 10 * time.Second
	// rewriteInterval is the time between two writes of the same addresses, when
	// somebody else overwrites them.
	rewriteInterval = 10 * time.Second
)

// Verdicts says whether every Envoy serves an Ingress. It is *replica.View.
type Verdicts interface {
	Served(name types.NamespacedName, version replica.Version, gateway route.Gateway) replica.Verdict
}

// Reporter takes all that is wrong with a key; that replaces its last report.
type Reporter interface {
	Report(ctx context.Context, key any, problems []problem.Problem)
}

// withheld is the Reporter's key of an Ingress that gets no address.
type withheld struct{ ingress types.NamespacedName }

// Reconciler keeps the addresses in the status of one Ingress, for one term of
// the leader.
type Reconciler struct {
	Objects   index.Objects
	Ingresses typedv1.IngressesGetter
	Manager   fieldmanager.Status // owns the addresses that we write
	Addresses *Addresses
	Verdicts  Verdicts
	Tracker   *replica.Tracker
	Hosts     replica.Hosts
	Reporter  Reporter
	Metrics   *Metrics // may be nil
	Now       func() time.Time

	mu      sync.Mutex
	waiting map[types.NamespacedName]time.Time // since when each waits for its address
	written map[types.NamespacedName]lastWrite
}

// lastWrite is the last time that we gave an Ingress its addresses.
type lastWrite struct {
	to types.UID
	at time.Time
}

// Reconcile brings the addresses of one Ingress up to date.
func (r *Reconciler) Reconcile(ctx context.Context, name types.NamespacedName) (reconcile.Result, error) {
	ing, err := r.Objects.Ingress(ctx, name)
	if err != nil {
		return reconcile.Result{}, err
	}
	if ing == nil {
		r.forget(ctx, name)
		return reconcile.Result{}, nil
	}
	f, gateway, err := r.gather(ctx, ing)
	if err != nil {
		return reconcile.Result{}, err
	}
	switch next(f) {
	case await:
		return r.await(ctx, ing, gateway, f.wanted)
	case give:
		return reconcile.Result{}, r.write(ctx, ing, f.wanted)
	case withdraw:
		r.forget(ctx, name)
		return reconcile.Result{}, r.write(ctx, ing, nil)
	default:
		r.stopWaiting(ctx, name)
		return reconcile.Result{RequeueAfter: r.lapse(name)}, nil // our own write is an event too, and ends up here
	}
}

func (r *Reconciler) gather(ctx context.Context, ing *networkingv1.Ingress) (facts, route.Gateway, error) {
	classes, err := r.Objects.Classes(ctx)
	if err != nil {
		return facts{}, "", err
	}
	looked, err := r.Objects.Selects(ctx, ing.Namespace)
	if err != nil {
		return facts{}, "", err
	}
	gateway, ours := classes.Gateway(ing)
	return facts{
		ours:    ours && looked,
		foreign: classes.Foreign(ing),
		owned:   r.Manager.Owns(ing),
		leaving: ing.DeletionTimestamp != nil,
		current: ing.Status.LoadBalancer.Ingress,
		moved:   r.Addresses.elsewhere(ing.Status.LoadBalancer.Ingress, gateway),
		wanted:  r.Addresses.Of(gateway),
	}, gateway, nil
}

// await gives the addresses once every Envoy serves the Ingress.
func (r *Reconciler) await(
	ctx context.Context, ing *networkingv1.Ingress, gateway route.Gateway, wanted []networkingv1.IngressLoadBalancerIngress,
) (reconcile.Result, error) {
	name := types.NamespacedName{Namespace: ing.Namespace, Name: ing.Name}
	since, wait := r.startWaiting(name, ing.UID)
	if wait > 0 {
		return reconcile.Result{RequeueAfter: wait}, nil
	}
	verdict, err := r.judge(ctx, ing, gateway)
	if err != nil {
		return reconcile.Result{}, err
	}
	if verdict.Served {
		if err := r.write(ctx, ing, wanted); err != nil {
			return reconcile.Result{}, err
		}
		r.Metrics.gave(r.Now().Sub(since))
		r.stopWaiting(ctx, name)
		return reconcile.Result{}, nil
	}
	left := patience - r.Now().Sub(since)
	if left <= 0 {
		r.Reporter.Report(ctx, withheld{name}, explain(name, gateway, verdict))
		left = patience
	}
	return reconcile.Result{RequeueAfter: min(left, verdict.Again)}, nil
}

// judge adds to the replicas' verdict what must be true here: the Ingress as we
// have read it was reconciled, and some host of it is published.
func (r *Reconciler) judge(ctx context.Context, ing *networkingv1.Ingress, gateway route.Gateway) (replica.Verdict, error) {
	version, err := replica.ParseVersion(ing.ResourceVersion)
	if err != nil {
		return replica.Verdict{}, err
	}
	classes, err := r.Objects.AllClasses(ctx)
	if err != nil {
		return replica.Verdict{}, err
	}
	states := map[string]string{}
	for _, class := range classes {
		states[class.Name] = ingress.ClassState(class, false)
	}
	if !r.Tracker.Knows(ingress.ClassKind, states) {
		return replica.Verdict{Reason: replica.NotYet, Again: time.Second}, nil
	}
	verdict := r.Verdicts.Served(types.NamespacedName{Namespace: ing.Namespace, Name: ing.Name}, version, gateway)
	published := slices.ContainsFunc(route.HostsOf(ing), func(host route.Hostname) bool {
		return r.Hosts.Host(route.Key{Gateway: gateway, Host: host}).Published
	})
	if verdict.Served && !published {
		return replica.Verdict{Reason: nothingServed, Again: time.Hour}, nil
	}
	return verdict, nil
}

// nothingServed is the obstacle of an Ingress without a host that can be served.
// Its other Problems say why.
const nothingServed replica.Obstacle = "NothingServed"

// explain returns the Problem of an Ingress that waits for its address. Its
// message stays the same while the reason does.
func explain(name types.NamespacedName, gateway route.Gateway, verdict replica.Verdict) []problem.Problem {
	var why string
	switch verdict.Reason {
	case nothingServed:
		return nil
	case replica.NoEnvoy:
		why = fmt.Sprintf("no Envoy of gateway %q is connected", gateway)
	case replica.Homeless:
		why = "controllers have just started or stopped, and Envoys may not be connected again yet"
	case replica.Unreadable:
		why = fmt.Sprintf("nobody knows what the Envoys of controller %s serve: %s", verdict.Replica, verdict.Detail)
	case replica.Refused:
		why = "an Envoy refuses one of its hosts: " + verdict.Detail
	default:
		why = "some Envoy has not accepted all of its hosts yet"
	}
	return []problem.Problem{{
		Object:  problem.Object{Kind: "Ingress", Name: name},
		Reason:  NotServed,
		Message: "the Ingress is given no address until every Envoy serves it; " + why,
	}}
}

// write makes list the addresses of the Ingress that we own.
func (r *Reconciler) write(ctx context.Context, ing *networkingv1.Ingress, list []networkingv1.IngressLoadBalancerIngress) error {
	// The UID protects a recreated Ingress from getting the addresses of its
	// predecessor.
	object := acv1.Ingress(ing.Name, ing.Namespace).WithUID(ing.UID)
	if len(list) > 0 { // else we own nothing any more, not even an empty status
		object.WithStatus(acv1.IngressStatus().WithLoadBalancer(balancer(list)))
	}
	_, err := r.Ingresses.Ingresses(ing.Namespace).ApplyStatus(ctx, object, metav1.ApplyOptions{FieldManager: string(r.Manager), Force: true})
	switch {
	case apierrors.IsNotFound(err), apierrors.IsConflict(err):
		r.Metrics.wrote(false)
		return nil // it is gone or replaced; its event comes
	case err != nil:
		r.Metrics.wrote(false)
		return fmt.Errorf("write addresses of ingress %s/%s: %w", ing.Namespace, ing.Name, err)
	}
	r.Metrics.wrote(true)
	if len(list) == 0 {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.written == nil {
		r.written = map[types.NamespacedName]lastWrite{}
	}
	r.written[types.NamespacedName{Namespace: ing.Namespace, Name: ing.Name}] = lastWrite{ing.UID, r.Now()}
	return nil
}

func balancer(list []networkingv1.IngressLoadBalancerIngress) *acv1.IngressLoadBalancerStatusApplyConfiguration {
	balancer := acv1.IngressLoadBalancerStatus()
	for i := range list {
		entry := acv1.IngressLoadBalancerIngress()
		if list[i].IP != "" {
			entry.WithIP(list[i].IP)
		}
		if list[i].Hostname != "" {
			entry.WithHostname(list[i].Hostname)
		}
		balancer.WithIngress(entry)
	}
	return balancer
}

// startWaiting returns since when the Ingress waits, and how long it must still
// wait in any case. It must wait if somebody has overwritten addresses that we
// wrote recently.
func (r *Reconciler) startWaiting(name types.NamespacedName, uid types.UID) (since time.Time, wait time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.Now()
	since, ok := r.waiting[name]
	if !ok {
		since = now
		if r.waiting == nil {
			r.waiting = map[types.NamespacedName]time.Time{}
		}
		r.waiting[name] = since
	}
	if given := r.written[name]; given.to == uid {
		wait = max(rewriteInterval-now.Sub(given.at), 0)
	}
	return since, wait
}

// lapse forgets the last write to an Ingress once rewriteInterval is over. Until
// then it returns the time left.
func (r *Reconciler) lapse(name types.NamespacedName) (left time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	given, ok := r.written[name]
	if !ok {
		return 0
	}
	if left = rewriteInterval - r.Now().Sub(given.at); left > 0 {
		return left
	}
	delete(r.written, name)
	return 0
}

func (r *Reconciler) stopWaiting(ctx context.Context, name types.NamespacedName) {
	r.mu.Lock()
	delete(r.waiting, name)
	r.mu.Unlock()
	r.Reporter.Report(ctx, withheld{name}, nil)
}

func (r *Reconciler) forget(ctx context.Context, name types.NamespacedName) {
	r.stopWaiting(ctx, name)
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.written, name)
}

// Waiting returns the Ingresses that wait for their addresses.
func (r *Reconciler) Waiting() []types.NamespacedName {
	r.mu.Lock()
	defer r.mu.Unlock()
	names := make([]types.NamespacedName, 0, len(r.waiting))
	for name := range r.waiting {
		names = append(names, name)
	}
	return names
}

// Keys returns all Ingresses.
func (r *Reconciler) Keys(ctx context.Context) ([]types.NamespacedName, error) {
	var list networkingv1.IngressList
	if err := r.Objects.Cluster.List(ctx, &list, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("list ingresses: %w", err)
	}
	names := make([]types.NamespacedName, len(list.Items))
	for i := range list.Items {
		names[i] = client.ObjectKeyFromObject(&list.Items[i])
	}
	return names, nil
}

// Resign withdraws the Problems of the term: the next leader reports its own.
func (r *Reconciler) Resign(ctx context.Context) {
	for _, name := range r.Waiting() {
		r.stopWaiting(ctx, name)
	}
}
