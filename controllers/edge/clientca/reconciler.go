// Package clientca keeps the authorities by which clients are verified. They come
// from the Secrets that Ingresses name as client CA.
//
// Its key is such a Secret. It does not decide which hosts demand what of clients:
// that follows from the Ingresses alone (xds/route). Nor does it decide what
// happens to connections while there are no authorities (xds/server). Its
// invariant: what is published follows from the Secret as it is now. Authorities
// that cannot be used are withdrawn, and clients are refused. Earlier authorities
// do not stay, as an earlier certificate of our own would: they could let in a
// client that the owner has just shut out. But while the API server does not say
// what a Secret holds now, its last answer counts.
package clientca

import (
	"context"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/fairwaynet/fairway/api/problem"
	"github.com/fairwaynet/fairway/controllers/objects/index"
	"github.com/fairwaynet/fairway/controllers/objects/secretcache"
	"github.com/fairwaynet/fairway/tls/certificate"
	"github.com/fairwaynet/fairway/xds/route"
)

// Key is the Secret.
type Key types.NamespacedName

// String returns "client CA shop/staff-ca", which no other kind of key looks like.
func (k Key) String() string { return "client CA " + types.NamespacedName(k).String() }

// Publisher takes the authorities.
type Publisher interface {
	// PublishClientCA makes authorities, in PEM, those of the Secret; nil
	// withdraws them. Publishing the same again costs nothing.
	PublishClientCA(secret types.NamespacedName, authorities []byte)
}

// Reporter takes all that is wrong with a key; that replaces its last report.
type Reporter interface {
	Report(ctx context.Context, key any, problems []problem.Problem)
}

// Reconciler keeps the authorities of one Secret. Use New.
type Reconciler struct {
	objects   index.Objects
	secrets   *secretcache.Reader[Key, content]
	now       func() time.Time
	publisher Publisher
	reporter  Reporter

	mu    sync.Mutex
	known map[Key]bool                              // an Ingress names it
	queue workqueue.TypedRateLimitingInterface[Key] // nil until the sources start
}

// New makes a Reconciler. now is the clock; nil: time.Now.
func New(objects index.Objects, secrets *secretcache.Cache, publisher Publisher, reporter Reporter, now func() time.Time) *Reconciler {
	if now == nil {
		now = time.Now
	}
	r := &Reconciler{objects: objects, now: now, publisher: publisher, reporter: reporter, known: map[Key]bool{}}
	r.secrets = secretcache.NewReader(secrets, r.wake, contentOf, route.CAKey)
	return r
}

// Reconcile brings the authorities of key up to date.
func (r *Reconciler) Reconcile(ctx context.Context, key Key) (reconcile.Result, error) {
	r.note(key, true) // before looking: an event from now on finds it there
	found, err := r.find(ctx, key)
	if err != nil {
		return reconcile.Result{}, fmt.Errorf("gather %s: %w", key, err)
	}
	if found.pending {
		return reconcile.Result{}, nil
	}
	if !found.unknown {
		r.publisher.PublishClientCA(types.NamespacedName(key), found.authorities)
	}
	r.reporter.Report(ctx, key, found.problems)
	r.note(key, found.asked)
	return reconcile.Result{RequeueAfter: found.again}, nil
}

// Build returns what Reconcile publishes and reports for key. A key that waits for
// its Secret is among Waiting.
func (r *Reconciler) Build(ctx context.Context, key Key) (*[]byte, []problem.Problem, error) {
	found, err := r.find(ctx, key)
	if err != nil {
		return nil, nil, fmt.Errorf("gather %s: %w", key, err)
	}
	r.note(key, found.asked)
	r.later(key, found.again)
	if found.authorities == nil {
		return nil, found.problems, nil
	}
	return &found.authorities, found.problems, nil
}

// Waiting returns the keys of which Build knew nothing and may know something now.
func (r *Reconciler) Waiting() []Key { return r.secrets.Waiting() }

func (r *Reconciler) note(key Key, known bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if known {
		r.known[key] = true
	} else {
		delete(r.known, key)
	}
}

// wake queues key, if the controller has started.
func (r *Reconciler) wake(key Key) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.queue != nil {
		r.queue.Add(key)
	}
}

// later queues key after d; 0: never.
func (r *Reconciler) later(key Key, d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.queue != nil && d > 0 {
		r.queue.AddAfter(key, d)
	}
}

func (r *Reconciler) knows(key Key) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.known[key]
}

// findings are the authorities of a Secret, and what is wrong with it.
type findings struct {
	asked       bool   // the Secret is being asked for: nothing is known until it comes
	authorities []byte // nil: clients cannot be verified
	pending     bool   // the Secret is being asked for: nothing is known until then
	unknown     bool   // the last known authorities stay
	problems    []problem.Problem
	again       time.Duration // when to look again even if nothing changes; 0: never
}

func (r *Reconciler) find(ctx context.Context, key Key) (findings, error) {
	ingresses, err := r.ingresses(ctx, key)
	if err != nil {
		return findings{}, err
	}
	if len(ingresses) == 0 {
		r.secrets.Hold(key, nil)
		return findings{}, nil
	}
	r.secrets.Hold(key, []types.NamespacedName{types.NamespacedName(key)})
	answer, err := r.secrets.Read(ctx, key, types.NamespacedName(key))
	if err != nil {
		return findings{}, err
	}
	found := findings{asked: true, unknown: !answer.Known, pending: !answer.Known && answer.Err == nil}
	if found.pending {
		return found, nil
	}
	fault := answer.Content.mistake
	if answer.Known {
		found.authorities, found.again, fault = answer.Content.at(r.now())
	}
	message := fmt.Sprintf("Secret %s cannot be used: %s; as clients cannot be verified by it, they are refused", key.Name, fault.message)
	switch {
	case answer.Err != nil:
		fault.reason = route.ReasonSecretUnreadable
		message = fmt.Sprintf("Secret %s cannot be read: %s; what was read last counts; if nothing ever was, clients are refused",
			key.Name, secretcache.Why(answer.Err))
	case fault.message == "" || answer.Partial:
		return found, nil
	}
	for _, ingress := range ingresses {
		found.problems = append(found.problems, problem.Problem{
			Object: problem.Object{Kind: "Ingress", Name: client.ObjectKeyFromObject(ingress)},
			Field:  route.FieldOfAnnotation(route.AnnotationClientCA), Reason: fault.reason, Message: message,
		})
	}
	found.problems = problem.Sort(found.problems)
	return found, nil
}

// ingresses returns those of our Ingresses that name the Secret.
func (r *Reconciler) ingresses(ctx context.Context, key Key) ([]*networkingv1.Ingress, error) {
	classes, err := r.objects.Classes(ctx)
	if err != nil {
		return nil, err
	}
	all, err := r.objects.IngressesOfSecret(ctx, types.NamespacedName(key))
	if err != nil {
		return nil, err
	}
	var ours []*networkingv1.Ingress
	for _, ingress := range all {
		ca, named := route.ClientCAOf(ingress)
		if _, mine := classes.Gateway(ingress); mine && named && Key(ca) == key {
			ours = append(ours, ingress)
		}
	}
	return ours, nil
}

// mistake is the reason why a Secret cannot be used.
type mistake struct {
	reason  problem.Reason
	message string // completes "the Secret cannot be used: "
}

// content is the part of a Secret that concerns this package.
type content struct {
	parsed *certificate.ClientAuthorities // nil: see mistake
	mistake
}

// contentOf reads a Secret; nil: it does not exist.
func contentOf(_ types.NamespacedName, secret *corev1.Secret) content {
	if secret == nil {
		return content{mistake: mistake{route.ReasonSecretNotFound, "it does not exist"}}
	}
	if secret.Type != corev1.SecretTypeTLS && secret.Type != corev1.SecretTypeOpaque && secret.Type != "" {
		return content{mistake: mistake{route.ReasonSecretInvalid, fmt.Sprintf(
			"it is of type %q; authorities are in one of type %q or %q", secret.Type, corev1.SecretTypeTLS, corev1.SecretTypeOpaque)}}
	}
	text := secret.Data[route.CAKey]
	if len(text) == 0 {
		return content{mistake: mistake{route.ReasonSecretInvalid, "it has no " + route.CAKey}}
	}
	parsed, fault := certificate.ParseClientAuthorities(text)
	if fault != "" {
		return content{mistake: mistake{route.ReasonClientCAInvalid, fault}}
	}
	return content{parsed: parsed}
}

// at returns the authorities at a time, nil if they cannot be used. again is when
// that may change by itself; 0: never.
func (c content) at(now time.Time) (authorities []byte, again time.Duration, fault mistake) {
	if c.parsed == nil {
		return nil, 0, c.mistake
	}
	if fault := c.parsed.ExpiredAt(now); fault != "" {
		return c.parsed.PEM, 0, mistake{route.ReasonClientCAInvalid, fault}
	}
	return c.parsed.PEM, c.parsed.NotAfter.Sub(now) + time.Second, mistake{}
}
