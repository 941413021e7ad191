// Package authority keeps the certificates that vouch for backends, as the
// annotations of Services name them.
//
// Its key is an Authority: a Secret, or what the machine trusts. It knows neither
// which backends there are (controllers/ingress) nor how they are verified
// (xds/envoy). Its invariant: what is published for a key is what the Secret holds
// now; if that cannot be used it is nothing, and then nobody vouches, so that no
// backend is spoken to unverified. There is no last good one, as there is of served
// certificates: who takes a Secret away takes his trust away.
package authority

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/fairwaynet/fairway/api/problem"
	"github.com/fairwaynet/fairway/controllers/index"
	"github.com/fairwaynet/fairway/controllers/watch"
	"github.com/fairwaynet/fairway/tls/certificate"
	"github.com/fairwaynet/fairway/xds/route"
)

// reread is when a Secret is read again of whose changes no watch tells: the watch
// has those with certificates that are served (type kubernetes.io/tls).
const reread = 30 * time.Second

// refused ends the message of each Problem.
const refused = "; its backends are not spoken to, requests are answered 503"

// Publisher takes the certificates.
type Publisher interface {
	// PublishAuthority makes certificates (PEM) what vouches for the backends of
	// the authority; with none nobody does. Publishing what is published already
	// costs nothing.
	PublishAuthority(authority route.Authority, certificates []byte)
}

// Reporter takes all that is wrong with a key, in place of what it was told
// before.
type Reporter interface {
	Report(ctx context.Context, key any, problems []problem.Problem)
}

// Reconciler keeps the certificates of one Authority.
type Reconciler struct {
	Objects index.Objects
	// Live reads the API server itself; nil where there is none.
	Live      client.Reader
	Publisher Publisher
	Reporter  Reporter
	// System is what the machine trusts, in PEM; may be empty.
	System []byte
	// WithoutSecrets says that a Secret which is not there may be there
	// nevertheless, and that another machine's trust counts: neither is a Problem.
	WithoutSecrets bool

	mu    sync.Mutex
	known map[route.Authority]remembered
	queue workqueue.TypedRateLimitingInterface[route.Authority] // nil until the sources start
}

// remembered is a Secret that was read, by its version.
type remembered struct {
	uid     types.UID
	version string
	content content
}

// content is what a Secret holds, as far as it concerns us.
type content struct {
	certificates []byte // none: see reason
	reason       problem.Reason
	fault        string
	unwatched    bool // nothing tells of its changes
}

// findings are what an authority is known by, and what is wrong with it.
type findings struct {
	content

	problems []problem.Problem
}

// Reconcile brings the certificates of key up to date.
func (r *Reconciler) Reconcile(ctx context.Context, key route.Authority) (reconcile.Result, error) {
	found, err := r.find(ctx, key)
	if err != nil {
		return reconcile.Result{}, fmt.Errorf("gather authority %s: %w", key, err)
	}
	r.Publisher.PublishAuthority(key, found.certificates)
	r.Reporter.Report(ctx, key, found.problems)
	if found.unwatched {
		return reconcile.Result{RequeueAfter: reread}, nil
	}
	return reconcile.Result{}, nil
}

// Build is the certificates of key, nil if there are none, or if nobody names it.
func (r *Reconciler) Build(ctx context.Context, key route.Authority) (*[]byte, []problem.Problem, error) {
	found, err := r.find(ctx, key)
	if err != nil {
		return nil, nil, fmt.Errorf("gather authority %s: %w", key, err)
	}
	if found.unwatched {
		r.later(key)
	}
	if len(found.certificates) == 0 {
		return nil, found.problems, nil
	}
	return &found.certificates, found.problems, nil
}

// later has key reconciled after a while, if anybody works on keys at all.
func (r *Reconciler) later(key route.Authority) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.queue != nil {
		r.queue.AddAfter(key, reread)
	}
}

// find finds out what key is known by.
func (r *Reconciler) find(ctx context.Context, key route.Authority) (findings, error) {
	services, err := r.Objects.ServicesOfAuthority(ctx, key)
	if err != nil {
		return findings{}, err
	}
	if len(services) == 0 {
		r.forget(key)
		return findings{}, nil
	}
	found, err := r.read(ctx, key)
	if err != nil {
		return findings{}, err
	}
	excused := r.WithoutSecrets && (found.reason == route.ReasonSecretNotFound || key == route.SystemAuthority())
	if found.fault == "" || excused {
		return findings{content: found}, nil
	}
	var problems []problem.Problem
	for _, service := range services {
		name := types.NamespacedName{Namespace: service.Namespace, Name: service.Name}
		problems = append(problems, route.AuthorityProblem(name, found.reason, found.fault+refused))
	}
	return findings{content: found, problems: problem.Sort(problems)}, nil
}

// read is what the authority is known by now.
func (r *Reconciler) read(ctx context.Context, key route.Authority) (content, error) {
	if key == route.SystemAuthority() {
		if len(r.System) == 0 {
			return content{reason: route.ReasonBackendTLS, fault: "the controller's machine trusts nobody: it has no file of certificates"}, nil
		}
		return content{certificates: r.System}, nil
	}
	from := r.Live
	if from == nil {
		from = r.Objects.Cluster
	}
	secret := &corev1.Secret{}
	switch err := from.Get(ctx, types.NamespacedName(key), secret); {
	case apierrors.IsNotFound(err):
		r.forget(key)
		return content{reason: route.ReasonSecretNotFound, fault: fmt.Sprintf("Secret %s does not exist", key.Name), unwatched: r.Live != nil}, nil
	case err != nil:
		return content{}, fmt.Errorf("get secret: %w", err)
	}
	return r.open(key, secret), nil
}

// open is what a Secret holds. One whose version has not changed is not parsed
// again.
func (r *Reconciler) open(key route.Authority, secret *corev1.Secret) content {
	r.mu.Lock()
	defer r.mu.Unlock()
	last, ok := r.known[key]
	if ok && last.uid == secret.UID && last.version == secret.ResourceVersion && last.version != "" {
		return last.content
	}
	found := contentOf(secret)
	found.unwatched = r.Live != nil && secret.Type != corev1.SecretTypeTLS
	if r.known == nil {
		r.known = map[route.Authority]remembered{}
	}
	r.known[key] = remembered{secret.UID, secret.ResourceVersion, found}
	return found
}

func (r *Reconciler) forget(key route.Authority) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.known, key)
}

func contentOf(secret *corev1.Secret) content {
	text := secret.Data[route.CAKey]
	if len(text) == 0 {
		return content{reason: route.ReasonSecretInvalid, fault: fmt.Sprintf("Secret %s has no %s", secret.Name, route.CAKey)}
	}
	certificates, fault := certificate.ParseAuthorities(text)
	if fault != "" {
		return content{reason: route.ReasonCertificateInvalid, fault: fmt.Sprintf(
			"%s of Secret %s cannot be used: %s", route.CAKey, secret.Name, fault)}
	}
	return content{certificates: certificates}
}

// Sources is all that the reconciler watches.
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

// Keys is all authorities that Services name.
func (r *Reconciler) Keys(ctx context.Context) ([]route.Authority, error) {
	services, err := r.Objects.ServicesWithAuthority(ctx)
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
	key := route.Authority{Namespace: secret.Namespace, Name: secret.Name}
	services, err := r.Objects.ServicesOfAuthority(ctx, key)
	if err != nil || len(services) == 0 {
		return nil, err
	}
	return []route.Authority{key}, nil
}
