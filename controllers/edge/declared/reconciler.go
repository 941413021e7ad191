// Package declared makes the objects that a ConfigMap declares: Issuers,
// ClusterGatewayConfigs and AddressPools. The Helm chart writes the ConfigMap from its values,
// because it cannot contain objects of kinds that it installs itself
// (docs/adr/0017-the-chart.md).
//
// Its key is a declared object; the zero key is the ConfigMap as a whole. It does
// not know what the objects mean, and leaves the check of their fields to the API
// server. Only the leader runs it. Its invariants: it never changes or deletes an
// object without its own label; and it deletes nothing while it does not know all
// that is declared.
package declared

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/fairwaynet/fairway/api/problem"
	"github.com/fairwaynet/fairway/api/v1alpha1"
)

const (
	// An object that could not be made is tried again after firstTry, then after
	// twice that, up to lastTry, or up to lastRefused if the API server refuses
	// it.
	firstTry    = 250 * time.Millisecond
	lastTry     = 4 * time.Second
	lastRefused = time.Minute
	// grace is how long a kind may be missing before that is a Problem: a first
	// install makes it at the same time.
	grace = 10 * time.Second
	// spacing is the least time between two writes of an object whose manifest
	// stays the same: somebody else may write it, too, as often as we do.
	spacing = time.Second
)

// Reporter takes all that is wrong with a key; that replaces its last report.
type Reporter interface {
	Report(ctx context.Context, key any, problems []problem.Problem)
}

// Options are what a Reconciler reads and writes.
type Options struct {
	ConfigMap types.NamespacedName
	// ConfigMaps is a cache with the ConfigMap; Objects is one with the kinds that
	// can be declared.
	ConfigMaps, Objects client.Reader
	// Live reads from the API server directly.
	Live   client.Reader
	Writer client.Writer
	// Knows reports whether Objects has all objects of a kind.
	Knows    func(kind string) bool
	Reporter Reporter
	Now      func() time.Time
	Log      logr.Logger
}

// Reconciler keeps declared objects for one term of the leader. Use New.
type Reconciler struct {
	Options

	mu     sync.Mutex
	parsed parsed
	known  map[Key]*attempt
}

// parsed is what a version of the ConfigMap declares.
type parsed struct {
	uid         types.UID
	version     string
	declaration *Declaration
}

// attempt is what a term remembers of a key, so that it asks the API server only
// when something has changed. One worker at a time runs a key, so it needs no
// lock.
type attempt struct {
	wish     string    // the manifest and the owner
	applied  *standing // nil: the API server has not accepted the wish
	at       time.Time // of the last write
	failures int       // since the last change
	missing  time.Time // since when the kind is missing; zero: it is not
	// problems are what the API server said last.
	problems []problem.Problem
}

// New makes a Reconciler for a term.
func New(options Options) *Reconciler {
	return &Reconciler{Options: options, known: map[Key]*attempt{}}
}

// Keys returns the ConfigMap, all that it declares, all objects that it declared
// once, and what has been looked at in this term.
func (r *Reconciler) Keys(ctx context.Context) ([]Key, error) {
	declaration, err := r.declaration(ctx)
	if err != nil {
		return nil, err
	}
	all := map[Key]bool{{}: true}
	if declaration != nil {
		for key := range declaration.Objects {
			all[key] = true
		}
	}
	made, err := marked(ctx, r.Objects, r.Knows, Mark(r.ConfigMap))
	if err != nil {
		return nil, err
	}
	for _, key := range made {
		all[key] = true
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for key := range r.known {
		all[key] = true
	}
	keys := make([]Key, 0, len(all))
	for key := range all {
		keys = append(keys, key)
	}
	return keys, nil
}

// Resign withdraws what the term has reported. The objects stay.
func (r *Reconciler) Resign(ctx context.Context) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for key := range r.known {
		r.Reporter.Report(ctx, key, nil)
	}
	clear(r.known)
}

// Reconcile brings the object of a key up to date.
//
// Without the ConfigMap it does nothing. The ConfigMap goes when the installation
// is removed, and then Kubernetes deletes the objects after their owner. It can
// also be gone by mistake. Deleting here would then take every setting and every
// Issuer along, and with them certificates that nobody renews.
func (r *Reconciler) Reconcile(ctx context.Context, key Key) (reconcile.Result, error) {
	declaration, err := r.declaration(ctx)
	if err != nil {
		return reconcile.Result{}, err
	}
	var problems []problem.Problem
	var again time.Duration
	switch {
	case key == Key{}:
		problems = r.ofConfigMap(declaration)
	case declaration != nil:
		if problems, again, err = r.bring(ctx, declaration, key); err != nil {
			return reconcile.Result{}, err
		}
	}
	r.report(ctx, declaration, key, problems)
	return reconcile.Result{RequeueAfter: again}, nil
}

// report tells what is wrong with a key, and forgets the key if nobody needs it
// any more.
func (r *Reconciler) report(ctx context.Context, declaration *Declaration, key Key, problems []problem.Problem) {
	r.mu.Lock()
	defer r.mu.Unlock()
	wanted := false
	if declaration != nil {
		_, wanted = declaration.Objects[key]
	}
	if len(problems) == 0 && !wanted {
		delete(r.known, key)
	} else if r.known[key] == nil {
		r.known[key] = &attempt{}
	}
	r.Reporter.Report(ctx, key, problems)
}

// declaration returns what the ConfigMap declares, nil if there is none. It parses
// each version once.
func (r *Reconciler) declaration(ctx context.Context) (*Declaration, error) {
	from := &corev1.ConfigMap{}
	switch err := r.ConfigMaps.Get(ctx, r.ConfigMap, from, client.UnsafeDisableDeepCopy); {
	case apierrors.IsNotFound(err):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("get configmap %s: %w", r.ConfigMap, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if p := r.parsed; p.declaration == nil || p.uid != from.UID || p.version != from.ResourceVersion {
		r.parsed = parsed{from.UID, from.ResourceVersion, Parse(from)}
	}
	return r.parsed.declaration, nil
}

// ofConfigMap returns what is wrong with the ConfigMap itself.
func (r *Reconciler) ofConfigMap(declaration *Declaration) []problem.Problem {
	if declaration != nil {
		return declaration.Problems
	}
	return []problem.Problem{problemOf(r.ConfigMap, "", ReasonConfigMapNotFound,
		"there is no such ConfigMap, although --declared names it; the objects that it declared stay as they are, and nothing restores them")}
}

func (r *Reconciler) attempt(key Key) *attempt {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.known[key] == nil {
		r.known[key] = &attempt{}
	}
	return r.known[key]
}

// bring makes the object what the manifest says. again is when to come back
// without an event; zero: never.
func (r *Reconciler) bring(ctx context.Context, d *Declaration, key Key) (problems []problem.Problem, again time.Duration, err error) {
	manifest, wanted := d.Objects[key]
	if !r.Knows(key.Kind) {
		if !wanted {
			return nil, 0, nil
		}
		problems, again = r.withoutKind(key, manifest)
		return problems, again, nil
	}
	found, err := find(ctx, r.Objects, key)
	if err != nil {
		return nil, 0, err
	}
	switch decide(d, Mark(r.ConfigMap), key, found) {
	case apply:
		return r.apply(ctx, d, key, found)
	case remove:
		return r.remove(ctx, key, found)
	case conflict:
		message := fmt.Sprintf("there is %s already, and it stays as it is: %s", key, makerOf(key, r.asStored(ctx, key, found), r.ConfigMap))
		return []problem.Problem{problemOf(r.ConfigMap, manifest.Entry, ReasonObjectNotOurs, message)}, 0, nil
	case leave:
	}
	return nil, 0, nil
}

// withoutKind says that the cluster does not have the kind, once it should have.
func (r *Reconciler) withoutKind(key Key, manifest Manifest) ([]problem.Problem, time.Duration) {
	a, now := r.attempt(key), r.Now()
	if a.missing.IsZero() {
		a.missing = now
	}
	if left := grace - now.Sub(a.missing); left > 0 {
		return nil, left
	}
	message := fmt.Sprintf("the cluster does not have the kind %s, or the controller may not list it: %s is made when the "+
		"custom resource definitions are installed", key.Kind, key)
	return []problem.Problem{problemOf(r.ConfigMap, manifest.Entry, ReasonKindNotInstalled, message)}, 0
}

// apply applies the manifest unless the object still is what came of it.
func (r *Reconciler) apply(ctx context.Context, d *Declaration, key Key, found client.Object) ([]problem.Problem, time.Duration, error) {
	manifest, a, now := d.Objects[key], r.attempt(key), r.Now()
	if wish := d.Owner + "\n" + manifest.Text; a.wish != wish {
		*a = attempt{wish: wish, missing: a.missing}
	}
	if a.applied != nil && found != nil && equality.Semantic.DeepEqual(*a.applied, standingOf(found)) {
		return nil, 0, nil
	}
	if since := now.Sub(a.at); a.applied != nil && since >= 0 && since < spacing {
		return nil, spacing - since, nil
	}
	owner, wrong, err := r.owner(ctx, d)
	if err != nil {
		return nil, 0, err
	}
	if wrong != "" {
		return []problem.Problem{problemOf(r.ConfigMap, ownerEntry, ReasonOwnerNotFound, wrong)}, a.later(lastTry), nil
	}
	object := manifest.object(r.ConfigMap, owner, found)
	err = r.Writer.Apply(ctx, client.ApplyConfigurationFromUnstructured(object), client.FieldOwner(fieldOwner), client.ForceOwnership)
	if err != nil {
		return r.failed(key, manifest, a, found, err)
	}
	if found == nil || found.GetResourceVersion() != object.GetResourceVersion() {
		r.Log.Info("declared object applied", "kind", key.Kind, "object", key.Name, "new", found == nil)
	}
	*a = attempt{wish: a.wish, applied: new(standingOf(object)), at: now}
	return nil, 0, nil
}

// failed returns what an error of a write means to the user, and when to try
// again. Only an error that is nobody's fault is returned as one.
func (r *Reconciler) failed(key Key, manifest Manifest, a *attempt, found client.Object, err error) ([]problem.Problem, time.Duration, error) {
	a.applied = nil
	switch verdict, message := judge(err); verdict {
	case moved:
		return a.problems, a.later(lastTry), nil // the cache will have what is there
	case missing:
		problems, _ := r.withoutKind(key, manifest)
		return problems, a.later(lastTry), nil
	case refused:
		instead := "there is no such object until it accepts the manifest"
		if found != nil {
			instead = "the object stays as it is"
		}
		a.problems = []problem.Problem{problemOf(r.ConfigMap, manifest.Entry, ReasonManifestRefused,
			fmt.Sprintf("the API server refuses %s, and %s: %s", key, instead, message))}
		return a.problems, a.later(lastRefused), nil
	default:
		return nil, 0, fmt.Errorf("apply %s: %w", key, err)
	}
}

// later returns when to try again.
func (a *attempt) later(most time.Duration) time.Duration {
	wait := firstTry << min(a.failures, 16)
	a.failures++
	return min(wait, most)
}

// owner returns the reference to the owner that the ConfigMap names, nil if it
// names none. While it cannot be read, nothing may be made: an object without its
// owner would stay after the installation is removed, and while that happens the
// owner goes first.
func (r *Reconciler) owner(ctx context.Context, d *Declaration) (owner *metav1.OwnerReference, wrong string, err error) {
	if d.Owner == "" {
		return nil, "", nil
	}
	role := &metav1.PartialObjectMetadata{}
	role.SetGroupVersionKind(rbacv1.SchemeGroupVersion.WithKind("ClusterRole"))
	const until = "until it can be read, Fairway makes nothing of what is declared"
	switch err := r.Live.Get(ctx, client.ObjectKey{Name: d.Owner}, role); {
	case apierrors.IsNotFound(err), err == nil && role.DeletionTimestamp != nil:
		return nil, fmt.Sprintf("there is no ClusterRole %s, which is to own the objects; %s", d.Owner, until), nil
	case apierrors.IsForbidden(err):
		return nil, fmt.Sprintf("the controller may not read ClusterRole %s, which is to own the objects; %s", d.Owner, until), nil
	case err != nil:
		return nil, "", fmt.Errorf("get cluster role %s: %w", d.Owner, err)
	}
	return &metav1.OwnerReference{
		APIVersion: rbacv1.SchemeGroupVersion.String(), Kind: "ClusterRole", Name: role.Name, UID: role.UID,
	}, "", nil
}

// remove deletes an object that is no longer declared, if it still is as it was
// found.
func (r *Reconciler) remove(ctx context.Context, key Key, found client.Object) ([]problem.Problem, time.Duration, error) {
	object := &metav1.PartialObjectMetadata{}
	object.SetGroupVersionKind(v1alpha1.SchemeGroupVersion().WithKind(key.Kind))
	object.SetName(key.Name)
	err := r.Writer.Delete(ctx, object, client.Preconditions{UID: new(found.GetUID()), ResourceVersion: new(found.GetResourceVersion())})
	if err == nil {
		r.Log.Info("object deleted that is no longer declared", "kind", key.Kind, "object", key.Name)
		return nil, 0, nil
	}
	switch verdict, message := judge(err); verdict {
	case moved:
		return nil, firstTry, nil
	case missing:
		return nil, 0, nil
	case refused:
		return []problem.Problem{problemOf(r.ConfigMap, "", ReasonManifestRefused,
			fmt.Sprintf("the API server refuses to delete %s, which is no longer declared: %s", key, message))}, lastRefused, nil
	default:
		return nil, 0, fmt.Errorf("delete %s: %w", key, err)
	}
}

// asStored returns the object with its managed fields, which the cache does not
// keep. It lists, because the controller has no right to get the object. If that
// fails, the object of the cache must do.
func (r *Reconciler) asStored(ctx context.Context, key Key, found client.Object) client.Object {
	list := &metav1.PartialObjectMetadataList{}
	list.SetGroupVersionKind(v1alpha1.SchemeGroupVersion().WithKind(key.Kind + "List"))
	err := r.Live.List(ctx, list, client.MatchingFields{"metadata.name": key.Name})
	if err != nil || len(list.Items) != 1 {
		return found
	}
	return &list.Items[0]
}
