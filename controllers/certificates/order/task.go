package order

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/fairwaynet/fairway/api/problem"
	"github.com/fairwaynet/fairway/api/v1alpha1"
	"github.com/fairwaynet/fairway/tls/acme"
	"github.com/fairwaynet/fairway/tls/challenge/obstacle"
)

const (
	// rereadBlocked is when to look again at what only a person can mend and no
	// event tells of: a missing right, a name in DNS.
	rereadBlocked = 5 * time.Minute
	// rereadTaken is when to look again for an order of the same names.
	rereadTaken = 10 * time.Second
	// lookAgain is when to look again at a certificate that is fine.
	lookAgain = 12 * time.Hour
)

// task is one run for one certificate.
type task struct {
	*Reconciler

	key     Key
	spec    *Spec
	objects Objects
	have    storedCertificate
	account *Account

	problems []problem.Problem
	obstacle *obstacle.Obstacle // met when a challenge was to be answered
	outcome  Outcome            // of the permit
	state    State
	next     time.Time // when to look again; zero: at the next event
}

// pursue takes the certificate one step further and notes its state.
func (t *task) pursue(ctx context.Context) error {
	t.state = State{Issuer: t.spec.Issuer, Names: t.spec.Names}
	if t.have.certificate != nil {
		t.state.NotAfter = t.have.certificate.NotAfter
	}
	if t.spec.Blocked != "" {
		t.wait(t.spec.Blocked, time.Time{})
		return nil
	}
	account, why := t.Accounts.Account(t.spec.Issuer)
	if account == nil && why == "" {
		t.wait(fmt.Sprintf("Issuer %q is being looked at", t.spec.Issuer), time.Time{})
		return nil
	}
	if account == nil {
		t.complain(ReasonIssuerNotReady, fmt.Sprintf("Issuer %q is not ready: %s; nothing is ordered until it is", t.spec.Issuer, why))
		t.wait(why, time.Time{})
		return nil
	}
	t.account = account
	verdict := t.judge(ctx)
	if verdict.Issue() && t.isStale(ctx) {
		verdict = t.judge(ctx)
	}
	var order *storedOrder
	if verdict.Issue() || t.isUnderWay(t.key) {
		var err error
		if order, err = t.orders.load(ctx, t.key); err != nil {
			return err
		}
	}
	if verdict.Issue() || t.goesOn(order) {
		return t.issue(ctx, verdict, order)
	}
	t.settle(verdict)
	if order != nil {
		return t.end(ctx, t.key, order)
	}
	return nil
}

// goesOn reports whether to finish an order although nothing asks for it now. A
// new leader does not know yet what the authority has suggested to its
// predecessor.
func (t *task) goesOn(order *storedOrder) bool {
	return order != nil && order.Want.Equal(t.want()) && order.State != acme.Failed
}

// judge decides whether a certificate must be issued.
func (t *task) judge(ctx context.Context) acme.Verdict {
	situation := acme.Situation{Want: t.want(), Directory: t.have.directory, Now: t.Now()}
	if c := t.have.certificate; c != nil {
		situation.Chain, situation.Key = c.Chain, c.Key.Reveal()
		info, err := t.polls.ask(ctx, t.account.Client, t.requester(), t.key, c.Chain, t.Now())
		if err != nil {
			t.Log.V(1).Info("cannot ask when to renew", "secret", t.key.String(), "cause", err.Error())
		}
		situation.Info = info
	}
	return acme.Judge(situation)
}

// requester returns the Issuer and the authority for which the certificate needs a
// permit.
func (t *task) requester() Requester {
	return Requester{Issuer: t.spec.Issuer, Directory: t.account.Settings.Directory}
}

func (t *task) want() acme.Want { return t.account.Settings.Want(t.spec.Names...) }

// isStale reads the Secret from the store itself before anything is ordered for
// it, and reports whether it differs: a cache may not yet have the certificate
// that we have just written.
func (t *task) isStale(ctx context.Context) bool {
	fresh, err := t.certificates.readLive(ctx, t.key)
	if err != nil {
		return false // rehearsing fails too, and says why
	}
	changed := fresh.there != t.have.there || fresh.foreign != t.have.foreign || !fresh.certificate.Equal(t.have.certificate)
	t.have = fresh
	return changed
}

// settle notes that the certificate is there.
func (t *task) settle(verdict acme.Verdict) {
	t.state.State, t.state.Message, t.state.Next = v1alpha1.CertificateIssued, verdict.Text, verdict.At
	t.next = earliest(verdict.At, t.polls.next(t.key), t.Now().Add(lookAgain))
}

// issue takes an order one step further, or begins one.
func (t *task) issue(ctx context.Context, verdict acme.Verdict, order *storedOrder) error {
	if order != nil {
		t.claim(order.Want.NameSet(), t.key) // a new leader does not know the claim
	}
	fresh := order == nil || !order.Want.Equal(t.want())
	if fresh || order.State != acme.Done && !t.Now().Before(order.Due) {
		permit, denial := t.Limiter.Take(t.key, t.requester(), t.wake(t.key))
		if permit == nil {
			t.stand(denial, order)
			return nil
		}
		t.outcome.Idle = true
		defer func() { permit.End(t.outcome) }()
	}
	if fresh {
		var err error
		if order, err = t.begin(ctx, verdict, order); err != nil || order == nil {
			return err
		}
	}
	if goesOn, err := t.steps(ctx, order); err != nil || !goesOn {
		return err
	}
	t.describe(order)
	if order.State == acme.Done {
		return t.deliver(ctx, order)
	}
	return nil
}

// steps takes an order as far as it can go now. goesOn is false if something keeps
// it from succeeding, which is then noted already.
func (t *task) steps(ctx context.Context, order *storedOrder) (goesOn bool, err error) {
	for steps := 0; order.State != acme.Done && !t.Now().Before(order.Due) && steps < maxSteps; steps++ {
		if order.State == acme.Failed {
			if ok, err := t.admit(ctx); err != nil || !ok {
				return false, err
			}
		}
		if err := t.advance(ctx, order); err != nil {
			return false, err
		}
	}
	return true, nil
}

// stand notes that this certificate has no permit yet.
func (t *task) stand(r Denial, order *storedOrder) {
	if order != nil {
		t.describe(order)
	} else {
		t.wait("", time.Time{})
	}
	switch {
	case r.Failures >= manyStumbles:
		t.fail(ReasonNotIssued, r.Failing, r.Until)
	case r.Failing != "":
		t.state.Message = r.Failing + "; it is asked again in a moment"
	default:
		t.state.Message = fmt.Sprintf("many certificates are asked from Issuer %q, or it is slow: this one's turn comes", t.spec.Issuer)
	}
	t.next = r.Until
}

// maxSteps bounds the steps of one run, so that others get a permit.
const maxSteps = 12

// begin plans an order, unless something keeps it from succeeding. It drops an
// earlier order for other names.
func (t *task) begin(ctx context.Context, verdict acme.Verdict, before *storedOrder) (*storedOrder, error) {
	if ok, err := t.admit(ctx); err != nil || !ok {
		return nil, err
	}
	planned, err := t.account.Client.Plan(t.replaces(verdict), t.spec.Names...)
	if err != nil {
		return nil, fmt.Errorf("plan order of %s: %w", t.key, err)
	}
	order := &storedOrder{Order: planned}
	if before != nil {
		order.object = before.object
		t.takeBack(ctx, before, nil)
	}
	if err := t.orders.save(ctx, t.key, t.spec.Issuer, order, nil); err != nil {
		return nil, err
	}
	t.Metrics.attempted(t.spec.Issuer)
	t.tell(t.spec, t.objects, eventOrdered, fmt.Sprintf("A certificate for %s is ordered from Issuer %q: %s",
		short(t.spec.Names), t.spec.Issuer, verdict.Text))
	t.Log.Info("certificate ordered", "secret", t.key.String(), "issuer", t.spec.Issuer, "reason", string(verdict.Reason))
	return order, nil
}

// replaces names the certificate that is being renewed, if the same authority
// issued it.
func (t *task) replaces(verdict acme.Verdict) string {
	if t.have.certificate == nil || verdict.Reason == acme.IssuerChanged {
		return ""
	}
	return t.polls.known(t.key).Replaces()
}

// admit reports whether an attempt may be made now. If not, it notes why.
func (t *task) admit(ctx context.Context) (bool, error) {
	if other, ok := t.claim(t.want().NameSet(), t.key); !ok {
		t.wait(fmt.Sprintf("a certificate for the same names is being ordered for Secret %s", other), t.Now().Add(rereadTaken))
		return false, nil
	}
	if err := t.certificates.rehearse(ctx, t.key, t.spec.Issuer, t.account.Settings.Directory); err != nil {
		return false, t.unwritable(err)
	}
	if t.Prechecker != nil {
		prechecking, cancel := context.WithTimeout(ctx, patienceScouting)
		defer cancel()
		for _, name := range t.spec.Names {
			if found := t.Prechecker.Obstacle(prechecking, t.account, name); found != nil {
				t.fail(problem.Reason(found.Reason), found.Message, t.Now().Add(rereadBlocked))
				return false, nil
			}
		}
	}
	if when, ok := t.take(t.spec.Issuer); !ok {
		t.wait(fmt.Sprintf("many certificates are asked from Issuer %q: this one's turn is at %s", t.spec.Issuer, clock(when)), when)
		return false, nil
	}
	return true, nil
}

// unwritable notes why the Secret cannot be written. It returns err only if a
// person cannot mend it.
func (t *task) unwritable(err error) error {
	switch {
	case apierrors.IsForbidden(err):
		t.complain(ReasonCannotWrite, fmt.Sprintf(
			"nothing is ordered: the controller may not write Secrets in namespace %q. Bind the ClusterRole fairway-controller-certificates there",
			t.key.Namespace))
	case apierrors.IsConflict(err):
		t.complain(ReasonSecretNotOurs, fmt.Sprintf(
			"nothing is ordered: somebody else has written the certificate in Secret %s. To have it replaced, delete the Secret", t.key.Name))
	case apierrors.IsInvalid(err), apierrors.IsNotFound(err):
		t.complain(ReasonCannotWrite, fmt.Sprintf("nothing is ordered: %v", err))
	default:
		return err
	}
	t.wait("the Secret cannot be written", t.Now().Add(rereadBlocked))
	return nil
}

// advance takes the order one step further and saves it.
func (t *task) advance(ctx context.Context, order *storedOrder) error {
	before := order.Order
	t.outcome = Outcome{}
	next, err := t.account.Client.Advance(ctx, order.Order, presenter{t})
	if !t.outcome.Own {
		t.outcome.Authority = err
	}
	if failure := (*acme.Failure)(nil); err != nil && !errors.As(err, &failure) {
		return fmt.Errorf("advance order of %s: %w", t.key, err)
	}
	order.Order = next // with the failure, if there was one
	answers, err := t.answers(next)
	if err != nil {
		return err
	}
	answers = append(answers, t.takeBack(ctx, order, answers)...)
	if err := t.orders.save(ctx, t.key, t.spec.Issuer, order, answers); err != nil {
		return err
	}
	if before.State != next.State {
		t.Log.V(1).Info("order went on", "secret", t.key.String(), "from", before.State, "to", next.State)
	}
	switch {
	case next.State == acme.Failed && before.State != acme.Failed:
		t.Metrics.failed(t.spec.Issuer, next.Failure)
		t.Log.Info("order failed", "secret", t.key.String(), "issuer", t.spec.Issuer, "cause", next.Failure.Text, "next", next.Due)
	case before.State == acme.Failed && next.State != acme.Failed:
		t.Metrics.attempted(t.spec.Issuer)
	}
	return nil
}

// describe notes how far an order is.
func (t *task) describe(order *storedOrder) {
	t.state.State = v1alpha1.CertificatePending
	if t.have.certificate != nil {
		t.state.State = v1alpha1.CertificateRenewing
	}
	t.state.Message, t.next = order.Waiting, order.Due
	if t.next.IsZero() {
		t.next = t.Now() // it was interrupted by maxSteps
	}
	if t.state.Message == "" {
		t.state.Message = "the order is " + strings.ToLower(string(order.State))
	}
	switch failure := order.Failure; {
	case t.obstacle != nil:
		t.state.State = v1alpha1.CertificateFailing
		t.complain(problem.Reason(t.obstacle.Reason), fmt.Sprintf(
			"Issuer %q is not told to look, for it would fail: %s. It is looked at again every half minute", t.spec.Issuer, t.obstacle.Message))
	case order.Waiting != "" && t.Now().Sub(order.Began) > patienceWaiting && order.State != acme.Failed:
		t.complain(ReasonNotIssued, fmt.Sprintf("Issuer %q has not issued the certificate yet: %s", t.spec.Issuer, order.Waiting))
	case failure == nil:
	case order.State == acme.Failed, order.Stumbles >= manyStumbles, order.Stumbles > 0 && failure.Kind == acme.RateLimited:
		t.fail(ReasonNotIssued, failure.Text, order.Due)
	case order.Failures > 0:
		t.retry(failure.Text)
	case order.Stumbles > 0:
		t.state.Message = failure.Text
	}
}

// patienceScouting bounds the look for obstacles for all names of an order. An
// obstacle that is not found by then does not count.
const patienceScouting = 20 * time.Second

// patienceWaiting is how long an order may wait before a Problem tells its owner
// why.
const patienceWaiting = time.Minute

// manyStumbles is how many steps in a row must fail before a Problem tells the
// owner.
const manyStumbles = 3

// deliver writes the certificate. Only then does it drop the order.
func (t *task) deliver(ctx context.Context, order *storedOrder) error {
	certificate, fault := order.Certificate()
	if fault != "" {
		return fmt.Errorf("read the certificate for %s: %s", t.key, fault)
	}
	if err := t.certificates.write(ctx, t.key, t.spec.Issuer, order.Want.Directory, certificate); err != nil {
		if wrong := t.unwritable(err); wrong != nil {
			return wrong
		}
		return nil // the order stays: the certificate is in it
	}
	t.have = storedCertificate{there: true, certificate: certificate, directory: order.Want.Directory}
	t.Metrics.issued(t.spec.Issuer)
	t.tell(t.spec, t.objects, eventIssued, fmt.Sprintf("Issuer %q has issued a certificate for %s, valid until %s",
		t.spec.Issuer, short(t.spec.Names), clock(certificate.NotAfter)))
	t.Log.Info("certificate issued", "secret", t.key.String(), "issuer", t.spec.Issuer,
		"serial", certificate.Serial, "until", certificate.NotAfter)
	t.state.NotAfter = certificate.NotAfter
	t.polls.forget(t.key)
	t.settle(t.judge(ctx))
	return t.end(ctx, t.key, order)
}

// wait notes what is waited for, without a failure.
func (t *task) wait(why string, until time.Time) {
	t.state.State = v1alpha1.CertificatePending
	if t.have.certificate != nil {
		t.state.State = v1alpha1.CertificateIssued
	}
	t.state.Message, t.state.Next, t.next = why, until, until
}

// fail notes why there is no certificate, and when it is tried again.
func (t *task) fail(reason problem.Reason, why string, next time.Time) {
	t.state.State, t.state.Message, t.state.Next, t.next = v1alpha1.CertificateFailing, why, next, next
	meanwhile := "the default certificate is served meanwhile"
	if t.have.certificate != nil {
		meanwhile = "the one that is there is served until " + clock(t.have.certificate.NotAfter)
	}
	t.complain(reason, fmt.Sprintf("Issuer %q has issued no certificate: %s. It is tried again at %s; %s",
		t.spec.Issuer, why, clock(next), meanwhile))
}

// retry notes why there was no certificate, while the next attempt is made. Its
// message stays the same meanwhile.
func (t *task) retry(why string) {
	t.state.Message = "it is being tried again: " + t.state.Message + "; last time: " + why
	t.state.State = v1alpha1.CertificateFailing
	t.complain(ReasonNotIssued, fmt.Sprintf("Issuer %q has issued no certificate: %s. It is being tried again", t.spec.Issuer, why))
}

// complain reports a Problem on each Ingress that asks.
func (t *task) complain(reason problem.Reason, message string) {
	for _, request := range t.objects.Requests {
		if contains(t.spec.Ingresses, nameOf(request.Ingress)) {
			t.problems = append(t.problems, problemOf(nameOf(request.Ingress), t.key, request.Ingress, reason, message))
		}
	}
}

// again returns how long to wait before the next run.
func (t *task) again(now time.Time) time.Duration {
	if t.next.IsZero() {
		return 0
	}
	return max(t.next.Sub(now), leastWait)
}

// leastWait keeps an unforeseen fault from becoming a tight loop.
const leastWait = 200 * time.Millisecond

func earliest(times ...time.Time) time.Time {
	var first time.Time
	for _, at := range times {
		if !at.IsZero() && (first.IsZero() || at.Before(first)) {
			first = at
		}
	}
	return first
}

func clock(at time.Time) string { return at.UTC().Format("2006-01-02 15:04 MST") }

// short names the first few.
func short(names []string) string {
	const most = 3
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}
