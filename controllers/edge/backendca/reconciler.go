// Package backendca keeps the certificates that vouch for backends, as the
// annotations of Services name them.
//
// Its key is an Authority: a Secret, or the machine's trust store. It knows
// neither which backends there are (controllers/edge/ingress) nor how they are
// verified (xds/envoy). Its invariant: what is published for a key is what the
// Secret holds now. If that cannot be used, nothing is published: then no
// certificate vouches, and no backend is spoken to unverified. Served certificates
// fall back on the last good one; these do not, because deleting a Secret
// withdraws its trust. But while the API server does not say what a Secret holds
// now, its last answer counts.
package backendca

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/fairwaynet/fairway/api/problem"
	"github.com/fairwaynet/fairway/controllers/objects/index"
	"github.com/fairwaynet/fairway/controllers/objects/secretcache"
	"github.com/fairwaynet/fairway/controllers/objects/watch"
	"github.com/fairwaynet/fairway/tls/certificate"
	"github.com/fairwaynet/fairway/xds/route"
)

// refused ends the message of each Problem, but meanwhile ends that of a Secret
// which the API server does not give.
const (
	refused   = "; its backends are not spoken to, requests are answered 503"
	meanwhile = "; what was read last counts; if nothing ever was, its backends are not spoken to, requests are answered 503"
)

// Publisher takes the certificates.
type Publisher interface {
	// PublishAuthority makes certificates (PEM) what vouches for the backends of
	// the authority; if there are none, nothing vouches. Publishing the same again
	// costs nothing.
	PublishAuthority(authority route.Authority, certificates []byte)
}

// Reporter takes all that is wrong with a key; that replaces its last report.
type Reporter interface {
	Report(ctx context.Context, key any, problems []problem.Problem)
}

// Reconciler keeps the certificates of one Authority. Use New.
type Reconciler struct {
	objects   index.Objects
	secrets   *secretcache.Reader[route.Authority, content]
	publisher Publisher
	reporter  Reporter
	system    []byte

	mu    sync.Mutex
	queue workqueue.TypedRateLimitingInterface[route.Authority] // nil until the sources start
}

// New makes a Reconciler. system is the certificates, in PEM, that the machine
// trusts. It is empty if the machine trusts none, and nil if that is unknown.
func New(objects index.Objects, secrets *secretcache.Cache, publisher Publisher, reporter Reporter, system []byte) *Reconciler {
	r := &Reconciler{objects: objects, publisher: publisher, reporter: reporter, system: system}
	r.secrets = secretcache.NewReader(secrets, r.wake, contentOf, route.CAKey)
	return r
}

// content is the part of a Secret that concerns this package.
type content struct {
	certificates []byte // none: see reason
	reason       problem.Reason
	fault        string // for people, with the name of the Secret
}

// findings are the certificates of an authority, and what is wrong with it.
type findings struct {
	certificates []byte
	pending      bool // the Secret is being asked for: nothing is known until it comes
	unknown      bool // the last known certificates stay
	problems     []problem.Problem
}

// Reconcile brings the certificates of key up to date.
func (r *Reconciler) Reconcile(ctx context.Context, key route.Authority) (reconcile.Result, error) {
	found, err := r.find(ctx, key)
	if err != nil {
		return reconcile.Result{}, fmt.Errorf("gather authority %s: %w", key, err)
	}
	if found.pending {
		return reconcile.Result{}, nil
	}
	if !found.unknown {
		r.publisher.PublishAuthority(key, found.certificates)
	}
	r.reporter.Report(ctx, key, found.problems)
	return reconcile.Result{}, nil
}

// Build returns the certificates of key, nil if there are none or no Service names
// it. A key that waits for its Secret is among Waiting.
func (r *Reconciler) Build(ctx context.Context, key route.Authority) (*[]byte, []problem.Problem, error) {
	found, err := r.find(ctx, key)
	if err != nil {
		return nil, nil, fmt.Errorf("gather authority %s: %w", key, err)
	}
	if len(found.certificates) == 0 {
		return nil, found.problems, nil
	}
	return &found.certificates, found.problems, nil
}

// Waiting returns the keys of which Build knew nothing and may know something now.
func (r *Reconciler) Waiting() []route.Authority { return r.secrets.Waiting() }

// wake queues key, if the controller has started.
func (r *Reconciler) wake(key route.Authority) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.queue != nil {
		r.queue.Add(key)
	}
}

// find returns the certificates of key and what is wrong with it.
func (r *Reconciler) find(ctx context.Context, key route.Authority) (findings, error) {
	services, err := r.objects.ServicesOfAuthority(ctx, key)
	if err != nil {
		return findings{}, err
	}
	if len(services) == 0 {
		r.secrets.Hold(key, nil)
		return findings{}, nil
	}
	found, err := r.read(ctx, key)
	if err != nil {
		return findings{}, err
	}
	known := findings{certificates: found.Content.certificates, unknown: !found.Known, pending: !found.Known && found.Err == nil}
	if known.pending {
		return known, nil
	}
	fault, reason := found.Content.fault, found.Content.reason
	switch {
	case found.Err != nil:
		reason = route.ReasonSecretUnreadable
		fault = fmt.Sprintf("Secret %s cannot be read: %s%s", key.Name, secretcache.Why(found.Err), meanwhile)
	case fault == "" || found.Partial:
		return known, nil
	default:
		fault += refused
	}
	for _, service := range services {
		name := types.NamespacedName{Namespace: service.Namespace, Name: service.Name}
		known.problems = append(known.problems, route.AuthorityProblem(name, reason, fault))
	}
	known.problems = problem.Sort(known.problems)
	return known, nil
}

// read returns what the authority holds now.
func (r *Reconciler) read(ctx context.Context, key route.Authority) (secretcache.Answer[content], error) {
	if key != route.SystemAuthority() {
		r.secrets.Hold(key, []types.NamespacedName{types.NamespacedName(key)})
		return r.secrets.Read(ctx, key, types.NamespacedName(key))
	}
	system := content{certificates: r.system}
	if len(r.system) == 0 {
		system = content{reason: route.ReasonBackendTLS, fault: "the controller's machine trusts nobody: it has no file of certificates"}
	}
	return secretcache.Answer[content]{Content: system, Known: true, Partial: r.system == nil}, nil
}

// contentOf reads a Secret; nil: it does not exist.
func contentOf(name types.NamespacedName, secret *corev1.Secret) content {
	if secret == nil {
		return content{reason: route.ReasonSecretNotFound, fault: fmt.Sprintf("Secret %s does not exist", name.Name)}
	}
	text := secret.Data[route.CAKey]
	if len(text) == 0 {
		return content{reason: route.ReasonSecretInvalid, fault: fmt.Sprintf("Secret %s has no %s", name.Name, route.CAKey)}
	}
	certificates, fault := certificate.ParseAuthorities(text)
	if fault != "" {
		return content{reason: route.ReasonCertificateInvalid, fault: fmt.Sprintf(
			"%s of Secret %s cannot be used: %s", route.CAKey, name.Name, fault)}
	}
	return content{certificates: certificates}
}

// Sources returns all that the reconciler watches.
func (r *Reconciler) Sources(objects cache.Cache) []source.TypedSource[route.Authority] {
	return []source.TypedSource[route.Authority]{
		source.TypedFunc[route.Authority](r.start),
		watch.Source(objects, &corev1.Service{}, watch.Service, r.serviceKeys),
		watch.Source(objects, &corev1.Secret{}, watch.Secret, r.secretKeys),
	}
}

func (r *Reconciler) start(_ context.Context, queue workqueue.TypedRateLimitingInterface[route.Authority]) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.queue = queue
	return nil
}

// Keys returns all authorities that Services name.
func (r *Reconciler) Keys(ctx context.Context) ([]route.Authority, error) {
	services, err := r.objects.ServicesWithAuthority(ctx)
	if err != nil {
		return nil, err
	}
	var keys []route.Authority
	for _, service := range services {
		keys = append(keys, route.AuthorityOf(service))
	}
	slices.SortFunc(keys, func(a, b route.Authority) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	return slices.Compact(keys), nil
}

func (r *Reconciler) serviceKeys(_ context.Context, service *corev1.Service) ([]route.Authority, error) {
	if key := route.AuthorityOf(service); key != (route.Authority{}) {
		return []route.Authority{key}, nil
	}
	return nil, nil
}

func (r *Reconciler) secretKeys(ctx context.Context, secret *corev1.Secret) ([]route.Authority, error) {
	r.secrets.Saw(ctx, secret)
	key := route.Authority{Namespace: secret.Namespace, Name: secret.Name}
	services, err := r.objects.ServicesOfAuthority(ctx, key)
	if err != nil || len(services) == 0 {
		return nil, err
	}
	return []route.Authority{key}, nil
}
