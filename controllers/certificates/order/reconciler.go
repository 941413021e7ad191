// Package order gets certificates for the Ingresses that ask an Issuer for one,
// and keeps them valid.
//
// Its key is the Secret that is to hold a certificate. It does not know the
// protocol of an authority (tls/acme), how challenges are answered
// (controllers/certificates/challenge), or what is served from a Secret
// (controllers/certificates/servercert). Only the leader runs it. Its invariants:
// a Secret that we have not made is never written; a certificate stays until its
// successor is there; and an order is saved before each step, so that the next
// leader continues it and never begins another.
package order

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/fairwaynet/fairway/api/installation"
	"github.com/fairwaynet/fairway/api/problem"
	"github.com/fairwaynet/fairway/controllers/objects/index"
	"github.com/fairwaynet/fairway/controllers/objects/secretstore"
	"github.com/fairwaynet/fairway/tls/acme"
	"github.com/fairwaynet/fairway/tls/challenge"
	"github.com/fairwaynet/fairway/tls/challenge/obstacle"
)

// Accounts are our accounts with the Issuers.
type Accounts interface {
	// Account returns how certificates of an Issuer are ordered. It is nil if they
	// cannot be ordered now; why says so for people. Without a reason, it is not
	// known yet.
	Account(issuer string) (account *Account, why string)
}

// Account is our account with one Issuer.
type Account struct {
	Client   *acme.Client
	Settings acme.Settings
}

// Presenter says whether challenges are answered.
type Presenter interface {
	// Presented reports whether a client that asks for the challenge gets its
	// answer, and if not, why, for people. An obstacle is a fault that is certain.
	Presented(ctx context.Context, issuer string, c challenge.Challenge) (Presented, error)
	// Remove removes what was set up for a challenge that is over. It leaves what
	// goes with the order anyway.
	Remove(ctx context.Context, issuer string, c challenge.Challenge) error
}

// Prechecker looks, before an order is placed, for what would make it fail.
type Prechecker interface {
	// Obstacle returns what is known to keep a name from being proved; nil if
	// nothing is known.
	Obstacle(ctx context.Context, account *Account, name string) *obstacle.Obstacle
}

// Presented is whether a challenge is answered.
type Presented struct {
	OK       bool
	Why      string             // why it is not
	Obstacle *obstacle.Obstacle // that somebody must remove; nil: none
}

// Events records events on objects, for their owners. It is a
// record.EventRecorder.
type Events interface {
	Event(object runtime.Object, kind, reason, message string)
}

// Reporter takes all that is wrong with a key; that replaces its last report.
type Reporter interface {
	Report(ctx context.Context, key any, problems []problem.Problem)
}

// found is the Reporter's key of what is wrong with a certificate.
type found struct{ key Key }

// The reasons of events on Ingresses.
const (
	eventOrdered = "CertificateOrdered"
	eventIssued  = "CertificateIssued"
)

// Options are what a Reconciler reads, writes and asks.
type Options struct {
	Objects      index.Objects
	Secrets      secretstore.Store
	Installation installation.Name
	// Namespace is where orders are kept.
	Namespace  string
	Accounts   Accounts
	Presenter  Presenter
	Prechecker Prechecker // may be nil
	Reporter   Reporter
	Events     Events
	States     *States
	Limiter    *Limiter
	// Wake queues keys; it must not block, and may be nil.
	Wake    func(...Key)
	Metrics *Metrics // may be nil
	Now     func() time.Time
	Log     logr.Logger
}

// Reconciler keeps the certificate of one Secret, for one term of the leader.
// Use New.
type Reconciler struct {
	Options

	certificates certificateSecrets
	orders       orders
	polls        *polls

	mu       sync.Mutex
	reported map[Key]bool
	underWay map[Key]bool           // there is an order
	nameSets map[acme.NameSet]Key   // of the orders that are under way
	budgets  map[string]acme.Budget // by Issuer
}

// New makes a Reconciler for a term.
func New(options Options) *Reconciler {
	return &Reconciler{
		Options:      options,
		certificates: certificateSecrets{options.Objects, options.Secrets},
		orders:       orders{options.Secrets, options.Installation, options.Namespace},
		polls:        newPolls(options.Limiter),
		reported:     map[Key]bool{}, underWay: map[Key]bool{},
		nameSets: map[acme.NameSet]Key{}, budgets: map[string]acme.Budget{},
	}
}

// Keys returns all Secrets that Ingresses of ours name, and those of orders that
// are under way.
func (r *Reconciler) Keys(ctx context.Context) ([]Key, error) {
	asks, err := r.Objects.Asks(ctx)
	if err != nil {
		return nil, err
	}
	ingresses, err := r.Objects.Ingresses(ctx)
	if err != nil {
		return nil, err
	}
	var keys []Key
	for _, ing := range ingresses {
		if asks.Of(ing).Issuer != "" {
			keys = append(keys, secretsOf(ing)...)
		}
	}
	underWay, err := r.orders.list(ctx)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	for _, key := range underWay {
		r.underWay[key] = true
	}
	r.mu.Unlock()
	keys = unique(append(keys, underWay...))
	r.States.expect(keys)
	return keys, nil
}

// Resign withdraws the Problems of the term: the next leader reports its own.
func (r *Reconciler) Resign(ctx context.Context) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for key := range r.reported {
		r.Reporter.Report(ctx, found{key}, nil)
	}
	r.States.forget()
}

// Reconcile takes the certificate of key one step further.
func (r *Reconciler) Reconcile(ctx context.Context, key Key) (reconcile.Result, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	objects, err := gather(ctx, r.Objects, key)
	if err != nil {
		return reconcile.Result{}, fmt.Errorf("gather certificate %s: %w", key, err)
	}
	have, err := r.certificates.read(ctx, key)
	if err != nil {
		return reconcile.Result{}, err
	}
	objects.Foreign, objects.MadeBy = have.foreign, have.madeBy
	spec, problems := Wanted(key, objects)
	if spec == nil {
		return r.drop(ctx, key, problems)
	}
	t := &task{Reconciler: r, key: key, spec: spec, objects: objects, have: have, problems: problems}
	err = t.pursue(ctx)
	if t.state.State == "" {
		t.wait("something went wrong, and it is tried again in a moment", time.Time{}) // the log has the error
	}
	r.report(ctx, key, t.problems)
	r.States.set(key, &t.state)
	if err != nil {
		return reconcile.Result{}, err
	}
	return reconcile.Result{RequeueAfter: t.again(r.Now())}, nil
}

// patience bounds one run: an authority that does not answer must not hold a
// worker for long.
const patience = 2 * time.Minute

// drop forgets a certificate that no Ingress asks for. Its Secret stays.
func (r *Reconciler) drop(ctx context.Context, key Key, problems []problem.Problem) (reconcile.Result, error) {
	r.report(ctx, key, problems)
	r.States.set(key, nil)
	r.polls.forget(key)
	r.Limiter.Leave(key)
	if !r.isUnderWay(key) {
		return reconcile.Result{}, nil
	}
	order, err := r.orders.load(ctx, key)
	if err != nil {
		return reconcile.Result{}, err
	}
	if order == nil { // nothing had been ordered yet
		return reconcile.Result{}, r.end(ctx, key, nil)
	}
	// Taking back answers may involve a DNS server that hangs.
	permit, denial := r.Limiter.Take(key, Requester{Issuer: order.issuer(), Directory: "answers of " + order.issuer()}, r.wake(key))
	if permit == nil {
		return reconcile.Result{RequeueAfter: denial.Until.Sub(r.Now())}, nil
	}
	defer permit.End(Outcome{Idle: true})
	return reconcile.Result{}, r.end(ctx, key, order)
}

// wake returns a function that queues key when a permit may be free.
func (r *Reconciler) wake(key Key) func() {
	if r.Wake == nil {
		return nil
	}
	return func() { r.Wake(key) }
}

// end removes an order and the answers to its challenges.
func (r *Reconciler) end(ctx context.Context, key Key, order *storedOrder) error {
	r.takeBack(ctx, order, nil)
	if err := r.orders.remove(ctx, key, order); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.underWay, key)
	for set, owner := range r.nameSets {
		if owner == key {
			delete(r.nameSets, set)
		}
	}
	return nil
}

// claim takes a name set for the order of key. If another key has it, claim
// returns that key.
func (r *Reconciler) claim(set acme.NameSet, key Key) (other Key, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if owner, taken := r.nameSets[set]; taken && owner != key {
		return owner, false
	}
	for of, owner := range r.nameSets {
		if owner == key {
			delete(r.nameSets, of) // of its order for other names
		}
	}
	r.nameSets[set], r.underWay[key] = key, true
	return key, true
}

// take takes one order from an Issuer's budget, or returns when it can.
func (r *Reconciler) take(issuer string) (when time.Time, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	budget, known := r.budgets[issuer]
	if !known {
		budget = acme.DefaultBudget()
	}
	r.budgets[issuer], when, ok = budget.Take(r.Now())
	return when, ok
}

func (r *Reconciler) isUnderWay(key Key) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.underWay[key]
}

func (r *Reconciler) report(ctx context.Context, key Key, problems []problem.Problem) {
	r.mu.Lock()
	if len(problems) > 0 {
		r.reported[key] = true
	} else {
		delete(r.reported, key)
	}
	r.mu.Unlock()
	r.Reporter.Report(ctx, found{key}, problems)
}

// tell records an event on each Ingress that asks for the certificate.
func (r *Reconciler) tell(spec *Spec, objects Objects, reason, message string) {
	for _, request := range objects.Requests {
		ing := request.Ingress
		if !contains(spec.Ingresses, nameOf(ing)) {
			continue
		}
		r.Events.Event(&corev1.ObjectReference{
			APIVersion: "networking.k8s.io/v1", Kind: "Ingress", Namespace: ing.Namespace, Name: ing.Name, UID: ing.UID,
		}, corev1.EventTypeNormal, reason, problem.Shorten(message, maxMessage))
	}
}

func contains(names []types.NamespacedName, name types.NamespacedName) bool {
	for _, n := range names {
		if n == name {
			return true
		}
	}
	return false
}
