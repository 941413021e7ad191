// Package servercert keeps the certificates that are served under the server names
// for which Ingresses ask in spec.tls.
//
// Its key is a server name of a gateway, because that is what an Envoy asks for; a
// Secret may be served under many names. It does not read X.509 itself
// (tls/certificate). Nor does it decide who owns a name (xds/route), or what is
// served under a name without a certificate (xds/server). Its invariant: a
// certificate that cannot be used never displaces one that can.
package servercert

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/fairwaynet/fairway/api/problem"
	"github.com/fairwaynet/fairway/controllers/objects/hostkeys"
	"github.com/fairwaynet/fairway/controllers/objects/index"
	"github.com/fairwaynet/fairway/controllers/objects/secretcache"
	"github.com/fairwaynet/fairway/tls/certificate"
	"github.com/fairwaynet/fairway/xds/route"
)

// Key is a server name of a gateway. A key without a gateway is the default
// certificate, which all gateways share.
type Key route.Key

// String returns text such as "default/shop.test".
func (k Key) String() string { return route.Key(k).String() }

// isDefault reports whether the key is that of the default certificate.
func (k Key) isDefault() bool { return k.Gateway == "" }

// Publisher takes the certificates.
type Publisher interface {
	// PublishCertificate makes certificate what is served under the name; nil
	// withdraws it. Publishing the same again costs nothing.
	PublishCertificate(key route.Key, certificate *route.Certificate)
}

// Reporter takes all that is wrong with a key; that replaces its last report.
type Reporter interface {
	Report(ctx context.Context, key any, problems []problem.Problem)
}

// Options say what the default certificate is, and hold the clock.
type Options struct {
	// Default is the Secret of the default certificate; zero: none.
	Default types.NamespacedName
	// SelfSigned replaces it where it is missing; nil: nothing does.
	SelfSigned *certificate.Certificate
	// Metrics hears what is served; may be nil.
	Metrics *Metrics
	// Now is the clock; nil: time.Now.
	Now func() time.Time
}

// Reconciler keeps the certificate of one name. Use New.
type Reconciler struct {
	objects   index.Objects
	secrets   *secretcache.Reader[Key, content]
	options   Options
	publisher Publisher
	reporter  Reporter

	known hostkeys.Set

	mu     sync.Mutex
	silent map[route.Gateway]bool // gateways that do not listen for TLS
	turns  int                    // how often silent has changed
	served map[Key]served
	queue  workqueue.TypedRateLimitingInterface[Key] // nil until the sources start
}

// served is what is published under a key that is asked for.
type served struct {
	*certificate.Certificate // nil: that of another name or the default one is served

	secret types.NamespacedName
	other  *served // of the other kind of key; nil: none
}

// New makes a Reconciler.
func New(objects index.Objects, secrets *secretcache.Cache, publisher Publisher, reporter Reporter, options Options) *Reconciler {
	if options.Now == nil {
		options.Now = time.Now
	}
	r := &Reconciler{
		objects: objects, options: options,
		publisher: publisher, reporter: reporter, served: map[Key]served{}, silent: map[route.Gateway]bool{},
	}
	r.secrets = secretcache.NewReader(secrets, func(key Key) { r.later(key, 0) }, contentOf, corev1.TLSCertKey, corev1.TLSPrivateKeyKey)
	return r
}

// Reconcile brings the certificate of key up to date.
func (r *Reconciler) Reconcile(ctx context.Context, key Key) (reconcile.Result, error) {
	r.note(key, true) // before looking: an event from now on finds it there
	turns := r.turned()
	found, err := r.find(ctx, key)
	if err != nil {
		return reconcile.Result{}, fmt.Errorf("gather %s: %w", key, err)
	}
	if found.pending {
		return reconcile.Result{}, nil
	}
	r.publisher.PublishCertificate(route.Key(key), found.value())
	r.reporter.Report(ctx, key, found.problems)
	r.keep(key, found)
	if r.turned() != turns {
		found.again = time.Millisecond // Listens did not find the key among those to wake
	}
	return reconcile.Result{RequeueAfter: found.again}, nil
}

// Listens says whether a gateway listens for TLS; by default it does. When that
// changes, the names that are asked for there are looked at again.
func (r *Reconciler) Listens(gateway route.Gateway, forTLS bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.silent[gateway] == !forTLS {
		return
	}
	r.turns++
	if forTLS {
		delete(r.silent, gateway)
	} else {
		r.silent[gateway] = true
	}
	if r.queue == nil {
		return
	}
	for key := range r.served {
		if key.Gateway == gateway {
			r.queue.Add(key)
		}
	}
}

func (r *Reconciler) turned() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.turns
}

func (r *Reconciler) isSilent(gateway route.Gateway) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.silent[gateway]
}

// Build returns what Reconcile publishes and reports for key when nothing is
// published yet. A key that waits for a Secret is among Waiting: the delay affects
// that name but not the whole picture.
func (r *Reconciler) Build(ctx context.Context, key Key) (*route.Certificate, []problem.Problem, error) {
	r.note(key, true)
	found, err := r.find(ctx, key)
	if err != nil {
		return nil, nil, fmt.Errorf("gather %s: %w", key, err)
	}
	if found.pending {
		return nil, nil, nil
	}
	r.keep(key, found)
	if found.again > 0 {
		r.later(key, found.again)
	}
	return found.value(), found.problems, nil
}

// Waiting returns the keys of which Build knew nothing and may know something now.
func (r *Reconciler) Waiting() []Key { return r.secrets.Waiting() }

// later queues key after d, if the controller has started.
func (r *Reconciler) later(key Key, d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.queue != nil {
		r.queue.AddAfter(key, d)
	}
}

// keep remembers what is served under key, and whether any Ingress asks for it.
func (r *Reconciler) keep(key Key, found findings) {
	r.mu.Lock()
	if found.asked {
		r.served[key] = found.served
	} else {
		delete(r.served, key)
	}
	r.mu.Unlock()
	r.options.Metrics.note(key, found.served, found.asked)
	r.note(key, found.asked || len(found.problems) > 0)
}

func (r *Reconciler) note(key Key, known bool) {
	if !key.isDefault() {
		r.known.Note(route.Key(key), known)
	}
}

// last returns what is served under key now.
func (r *Reconciler) last(key Key) served {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.served[key]
}

// find returns what is to be served under key.
func (r *Reconciler) find(ctx context.Context, key Key) (findings, error) {
	if key.isDefault() {
		return r.findDefault(ctx, key)
	}
	ingresses, err := r.ingresses(ctx, key)
	if err != nil {
		return findings{}, err
	}
	uses, asked, problems := route.SecretsFor(key.Host, ingresses)
	contents, err := r.contents(ctx, key, secretsOf(uses), r.secrets.Read)
	if err != nil || contents == nil {
		return findings{pending: true}, err
	}
	isUnread := func(use route.SecretUse) bool { return contents[use.Secret].partial }
	all := uses
	uses = slices.DeleteFunc(slices.Clone(all), isUnread)
	if r.isSilent(key.Gateway) {
		for _, ingress := range ingresses {
			problems = append(problems, route.TLSNotServed(ingress, key.Gateway))
		}
	}
	if err := r.excuse(ctx, ingresses, uses, contents); err != nil {
		return findings{}, err
	}
	found := judge(key.Host, uses, contents, r.last(key), r.options.Now())
	found.asked, found.unread = asked, before(found, all, isUnread, contents, key.Host, r.options.Now())
	found.problems = problem.Sort(append(found.problems, problems...))
	return found, nil
}

// contents returns what the Secrets hold that key names, nil while any of them is
// unknown. If the API server does not give a Secret, what is served from it counts
// as its content.
func (r *Reconciler) contents(
	ctx context.Context, key Key, names []types.NamespacedName,
	read func(context.Context, Key, types.NamespacedName) (secretcache.Answer[content], error),
) (map[types.NamespacedName]content, error) {
	r.secrets.Hold(key, names)
	contents, pending := make(map[types.NamespacedName]content, len(names)), false
	for _, name := range names {
		answer, err := read(ctx, key, name)
		if err != nil {
			return nil, err
		}
		pending = pending || !answer.Known && answer.Err == nil
		c := answer.Content
		if !answer.Known {
			c = content{certificate: r.last(key).of(name)}
		}
		c.unread, c.partial = secretcache.Why(answer.Err), answer.Partial
		if c.certificate == nil && c.unread != "" {
			c.reason, c.fault = route.ReasonSecretUnreadable, c.unread
		}
		contents[name] = c
	}
	if pending {
		return nil, nil
	}
	return contents, nil
}

// of returns the certificate that is served from a Secret; nil: none.
func (s served) of(secret types.NamespacedName) *certificate.Certificate {
	switch {
	case s.Certificate != nil && s.secret == secret:
		return s.Certificate
	case s.other != nil && s.other.secret == secret:
		return s.other.Certificate
	}
	return nil
}

// before returns the unread Secrets that would take precedence over what was
// found. If what was found is not good itself, these are all unread Secrets.
func before(
	found findings, all []route.SecretUse, isUnread func(route.SecretUse) bool,
	contents map[types.NamespacedName]content, name route.Hostname, now time.Time,
) []types.NamespacedName {
	var unread []route.SecretUse
	for _, use := range all {
		if isUnread(use) {
			unread = append(unread, use)
			continue
		}
		if _, fault, _ := contents[use.Secret].check(name, now); fault == "" && use.Secret == found.secret {
			break
		}
	}
	return secretsOf(unread)
}

// secretsOf returns the Secrets that are used, each once.
func secretsOf(uses []route.SecretUse) []types.NamespacedName {
	var secrets []types.NamespacedName
	for _, use := range uses {
		if !slices.Contains(secrets, use.Secret) {
			secrets = append(secrets, use.Secret)
		}
	}
	return secrets
}

// ingresses returns the Ingresses of the key's gateway that ask for its name.
func (r *Reconciler) ingresses(ctx context.Context, key Key) ([]*networkingv1.Ingress, error) {
	classes, err := r.objects.Classes(ctx)
	if err != nil {
		return nil, err
	}
	all, err := r.objects.IngressesOfTLS(ctx, key.Host)
	if err != nil {
		return nil, err
	}
	var ours []*networkingv1.Ingress
	for _, ingress := range all {
		if gateway, ok := classes.Gateway(ingress); ok && gateway == key.Gateway {
			ours = append(ours, ingress)
		}
	}
	return ours, nil
}

// findDefault returns the default certificate: the configured one, else what was
// served last, else the self-signed one.
func (r *Reconciler) findDefault(ctx context.Context, key Key) (findings, error) {
	name := r.options.Default
	if name == (types.NamespacedName{}) {
		return findings{asked: true, served: served{Certificate: r.options.SelfSigned}}, nil
	}
	contents, err := r.contents(ctx, key, []types.NamespacedName{name}, r.secrets.ReadUnwatched)
	if err != nil || contents == nil {
		return findings{pending: true}, err
	}
	use := route.SecretUse{Secret: name}
	found := judge(key.Host, []route.SecretUse{use}, contents, r.last(key), r.options.Now())
	found.asked = true
	for i := range found.problems {
		found.problems[i].Object = problem.Object{Kind: "Secret", Name: name}
	}
	if found.Certificate == nil {
		found.Certificate = r.options.SelfSigned
	}
	return found, nil
}
