// Package issuer keeps, for each Issuer, the account with which certificates are
// ordered. It writes the state of the account into the Issuer's status.
//
// Its key is the name of an Issuer. It orders nothing
// (controllers/certificates/order) and does not know the protocol of an authority
// (tls/acme); only the leader runs it. Its invariant: a key is stored before an
// authority hears of it, so that no account is ever lost or made twice.
package issuer

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/fairwaynet/fairway/api/installation"
	"github.com/fairwaynet/fairway/api/problem"
	"github.com/fairwaynet/fairway/api/v1alpha1"
	"github.com/fairwaynet/fairway/controllers/certificates/order"
	"github.com/fairwaynet/fairway/controllers/objects/index"
	"github.com/fairwaynet/fairway/controllers/objects/secretstore"
	"github.com/fairwaynet/fairway/tls/acme"
)

const (
	// recheck is when to look again at an Issuer that is ready. recheckAway is for
	// an authority that cannot be reached; recheckRefused is for what only a
	// person can mend.
	recheck        = time.Hour
	recheckAway    = time.Minute
	recheckRefused = 5 * time.Minute
	// leastWrite is the time between two writes of an Issuer's status.
	leastWrite = time.Second
	// patience bounds one look at an authority.
	patience = 2 * time.Minute
)

// Statuses writes the status of Issuers.
type Statuses interface {
	// Write makes status that of the Issuer. An Issuer that is gone is no error.
	Write(ctx context.Context, issuer *v1alpha1.Issuer, status v1alpha1.IssuerStatus) error
	// Withdraw removes what we have written, if anything is left of it: another
	// installation writes the status from now on.
	Withdraw(ctx context.Context, issuer *v1alpha1.Issuer) error
}

// Reporter takes all that is wrong with a key; that replaces its last report.
type Reporter interface {
	Report(ctx context.Context, key any, problems []problem.Problem)
}

// key is the Reporter's key of an Issuer.
type key struct{ issuer string }

// Options are what a Reconciler reads, writes and asks.
type Options struct {
	Objects index.Objects
	// Secrets is where accounts are kept. With secretstore.Nowhere nothing can be
	// ordered.
	Secrets      secretstore.Store
	Installation installation.Name
	Namespace    string // of the Secrets of Issuers
	Accounts     *Accounts
	States       *order.States
	Limiter      *order.Limiter
	Statuses     Statuses
	Reporter     Reporter
	UserAgent    string
	Now          func() time.Time
	Random       io.Reader
	Log          logr.Logger
}

// Reconciler keeps the account of one Issuer, for one term of the leader. Use
// New.
type Reconciler struct {
	Options

	mu    sync.Mutex
	known map[string]*issuerState
}

// issuerState is the state of an Issuer when it was last looked at.
type issuerState struct {
	uid        types.UID
	generation int64
	settings   acme.Settings
	client     *acme.Client // nil: no authority can be asked
	account    acme.Account
	ready      bool   // it was ready at some time of this term
	reason     string // of the condition
	message    string
	next       time.Time // when to look again
	wrote      time.Time
	status     v1alpha1.IssuerStatus
}

// New makes a Reconciler for a term.
func New(options Options) *Reconciler {
	return &Reconciler{Options: options, known: map[string]*issuerState{}}
}

// Keys returns all Issuers. Those of other installations are among them, because one
// of them may have been ours.
func (r *Reconciler) Keys(ctx context.Context) ([]string, error) {
	issuers, err := r.Objects.Issuers(ctx)
	names := make([]string, 0, len(issuers))
	for _, issuer := range issuers {
		names = append(names, issuer.Name)
	}
	return names, err
}

// Resign forgets and withdraws everything that the term knew.
func (r *Reconciler) Resign(ctx context.Context) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for name, s := range r.known {
		r.forget(ctx, name, s)
	}
	clear(r.known)
}

func (r *Reconciler) forget(ctx context.Context, name string, s *issuerState) {
	r.Accounts.set(name, nil, "")
	r.Limiter.Leave(key{name})
	r.Reporter.Report(ctx, key{name}, nil)
	if s.client != nil {
		s.client.Close()
	}
}

// Reconcile brings the account and the status of an Issuer up to date. One worker
// at a time runs it for an Issuer, so it needs no lock on its issuerState.
func (r *Reconciler) Reconcile(ctx context.Context, name string) (reconcile.Result, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	issuer, err := r.Objects.Issuer(ctx, name)
	if err != nil {
		return reconcile.Result{}, err
	}
	if issuer == nil || !r.Objects.OwnsIssuer(issuer) {
		return reconcile.Result{}, r.leave(ctx, name, issuer)
	}
	s := r.standing(name)
	now := r.Now()
	if s.uid != issuer.UID || s.generation != issuer.Generation || !now.Before(s.next) {
		before := s.reason
		if err := r.look(ctx, issuer, s); err != nil {
			return reconcile.Result{}, fmt.Errorf("look at issuer %s: %w", name, err)
		}
		if s.reason == "" { // it has no permit yet, and nothing new is known
			s.reason = before
		}
		s.uid, s.generation = issuer.UID, issuer.Generation
	}
	wait, err := r.write(ctx, issuer, s)
	return reconcile.Result{RequeueAfter: max(min(s.next.Sub(now), wait), leastWrite)}, err
}

// leave forgets an Issuer that is gone, or belongs to another installation now.
func (r *Reconciler) leave(ctx context.Context, name string, issuer *v1alpha1.Issuer) error {
	r.mu.Lock()
	s := r.known[name]
	delete(r.known, name)
	r.mu.Unlock()
	if s != nil {
		r.forget(ctx, name, s)
	}
	if issuer == nil {
		return nil
	}
	return r.Statuses.Withdraw(ctx, issuer)
}

func (r *Reconciler) standing(name string) *issuerState {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.known[name] == nil {
		r.known[name] = &issuerState{}
	}
	return r.known[name]
}

// look makes it possible to order certificates, and finds out whether it is. It
// returns only errors of our own; what is wrong with the Issuer goes into s.
func (r *Reconciler) look(ctx context.Context, issuer *v1alpha1.Issuer, s *issuerState) error {
	if err := r.prepare(ctx, issuer, s); err != nil {
		return err
	}
	if s.client != nil && s.reason == "" {
		if waits, err := r.ask(ctx, issuer, s); waits || err != nil {
			return err
		}
	}
	var problems []problem.Problem
	if s.reason == v1alpha1.ReasonRegistered {
		s.ready = true
		s.next = r.Now().Add(recheck)
	} else {
		problems = append(problems, notReady(issuer.Name, s.message))
	}
	r.Reporter.Report(ctx, key{issuer.Name}, problems)
	if s.client != nil && s.ready {
		r.Accounts.set(issuer.Name, &order.Account{Client: s.client, Settings: s.settings}, "")
	} else {
		r.Accounts.set(issuer.Name, nil, s.message)
	}
	return nil
}

// ask runs check once this Issuer has a permit to ask the authority.
func (r *Reconciler) ask(ctx context.Context, issuer *v1alpha1.Issuer, s *issuerState) (waits bool, err error) {
	at := order.Requester{Issuer: issuer.Name, Directory: s.settings.Directory}
	permit, denial := r.Limiter.Take(key{issuer.Name}, at, nil)
	switch {
	case permit != nil:
		outcome := order.Outcome{Idle: true}
		defer func() { permit.End(outcome) }()
		wrong, err := r.check(ctx, issuer, s)
		outcome = order.Outcome{Authority: wrong}
		return false, err
	case denial.Failing != "":
		s.is(v1alpha1.ReasonUnreachable, denial.Failing, denial.Until)
		return false, nil
	}
	s.next = r.Now().Add(leastWrite) // it keeps its place in the line
	return true, nil
}

// is notes the state of an Issuer, and when to look again.
func (s *issuerState) is(reason, message string, next time.Time) {
	s.reason, s.message, s.next = reason, message, next
}

// prepare reads the Issuer's settings and our account's key, and makes a client of
// them. It keeps a client whose settings are the same.
func (r *Reconciler) prepare(ctx context.Context, issuer *v1alpha1.Issuer, s *issuerState) error {
	if _, nowhere := r.Secrets.(secretstore.Nowhere); nowhere {
		s.is(v1alpha1.ReasonNoState, "there is nowhere to keep an account's key and certificates: give --state a folder", r.Now().Add(recheck))
		return nil
	}
	settings, fault, err := r.settings(ctx, issuer)
	if err != nil {
		return err
	}
	if fault != "" {
		s.drop()
		s.is(v1alpha1.ReasonInvalidIssuer, fault, r.Now().Add(recheckRefused))
		return nil
	}
	s.reason = ""
	if s.client != nil && same(s.settings, settings) {
		return nil
	}
	account, fault, err := r.account(ctx, issuer.Name)
	if err != nil {
		return err
	}
	if fault != "" {
		s.drop()
		s.is(v1alpha1.ReasonInvalidIssuer, fault, r.Now().Add(recheckRefused))
		return nil
	}
	s.drop()
	s.client, err = acme.New(acme.Options{
		Settings: settings, Account: account, Now: r.Now, Random: r.Random, UserAgent: r.UserAgent,
	})
	s.settings, s.account = settings, account
	return err
}

func (s *issuerState) drop() {
	if s.client != nil {
		s.client.Close()
	}
	s.client, s.ready = nil, false
}

// check asks the authority. It notes what the authority found wrong in s, and
// returns it as wrong.
func (r *Reconciler) check(ctx context.Context, issuer *v1alpha1.Issuer, s *issuerState) (wrong, err error) {
	if !s.settings.TermsAgreed {
		switch terms, err := s.client.Terms(ctx); {
		case err != nil:
			r.failed(s, err)
			return err, nil
		case terms != "":
			s.is(v1alpha1.ReasonTermsNotAgreed, fmt.Sprintf(
				"read the terms of service at %s, and set spec.termsAgreed to true if you agree", terms), r.Now().Add(recheck))
			return nil, nil
		}
	}
	account, err := s.client.Check(ctx)
	if err != nil {
		r.failed(s, err)
		return err, nil
	}
	if account.URL != s.account.URL || account.Directory != s.account.Directory || account.Orders != s.account.Orders {
		if err := r.save(ctx, issuer.Name, account); err != nil {
			return nil, err
		}
		r.Log.Info("account registered", "issuer", issuer.Name, "account", account.URL)
	}
	s.account = account
	s.is(v1alpha1.ReasonRegistered, "certificates can be ordered", time.Time{})
	return nil, nil
}

func (r *Reconciler) failed(s *issuerState, err error) {
	failure := (*acme.Failure)(nil)
	reason, next := v1alpha1.ReasonUnreachable, r.Now().Add(recheckAway)
	if errors.As(err, &failure) {
		if failure.Kind == acme.Refused || failure.Kind == acme.Bug {
			reason, next = v1alpha1.ReasonRefused, r.Now().Add(recheckRefused)
		}
		if failure.Until.After(next) {
			next = failure.Until
		}
	}
	s.is(reason, err.Error(), next)
}

// The type, data key and annotation of the Secret of an account.
const (
	accountType corev1.SecretType = "fairway.dev/acme-account"
	accountKey  string            = "account.json"
	annotation  string            = "fairway.dev/issuer"
)

// secretOf names the Secret of an Issuer's account.
func (r *Reconciler) secretOf(issuer string) types.NamespacedName {
	name := r.Installation.Object("account-" + issuer)
	if len(name) > 253 {
		sum := sha256.Sum256([]byte(issuer))
		name = r.Installation.Object("account-" + hex.EncodeToString(sum[:]))
	}
	return types.NamespacedName{Namespace: r.Namespace, Name: name}
}

// account returns our account with the Issuer. If there is none, it stores a new
// one.
func (r *Reconciler) account(ctx context.Context, issuer string) (account acme.Account, fault string, err error) {
	object, err := r.Secrets.Get(ctx, r.secretOf(issuer))
	if err != nil {
		return acme.Account{}, "", err
	}
	if object == nil {
		return r.newAccount(ctx, issuer)
	}
	if !r.Installation.Owns(object.Labels) {
		return acme.Account{}, fmt.Sprintf("Secret %s/%s belongs to installation %q: give one of the two another --installation",
			object.Namespace, object.Name, installation.Of(object.Labels)), nil
	}
	if object.Type != accountType {
		return acme.Account{}, fmt.Sprintf("Secret %s/%s is of type %q, not of %q: delete it", object.Namespace, object.Name, object.Type, accountType), nil
	}
	account, err = acme.RestoreAccount(object.Data[accountKey])
	if err != nil {
		return acme.Account{}, fmt.Sprintf("Secret %s/%s cannot be read (%v): restore it, or delete it to have a new account made",
			object.Namespace, object.Name, err), nil
	}
	return account, "", nil
}

func (r *Reconciler) newAccount(ctx context.Context, issuer string) (account acme.Account, fault string, err error) {
	if account, err = acme.NewAccount(r.Random); err != nil {
		return acme.Account{}, "", err
	}
	text, err := account.Save()
	if err != nil {
		return acme.Account{}, "", err
	}
	name := r.secretOf(issuer)
	err = r.Secrets.Create(ctx, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: name.Namespace, Name: name.Name,
			Labels:      r.Installation.Labels(map[string]string{"app.kubernetes.io/managed-by": "fairway"}),
			Annotations: map[string]string{annotation: issuer},
		},
		Type: accountType, Data: map[string][]byte{accountKey: text.Reveal()},
	})
	return account, "", err
}

// save stores what the authority has told us of the account.
func (r *Reconciler) save(ctx context.Context, issuer string, account acme.Account) error {
	object, err := r.Secrets.Get(ctx, r.secretOf(issuer))
	if err != nil {
		return err
	}
	if object == nil {
		return apierrors.NewNotFound(corev1.Resource("secrets"), r.secretOf(issuer).Name)
	}
	text, err := account.Save()
	if err != nil {
		return err
	}
	object.Data = map[string][]byte{accountKey: text.Reveal()}
	return r.Secrets.Update(ctx, object)
}
