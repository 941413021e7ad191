package order_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/testr"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/fairwaynet/fairway/api/v1alpha1"
	"github.com/fairwaynet/fairway/controllers/certificates/issuer"
	"github.com/fairwaynet/fairway/controllers/certificates/order"
	"github.com/fairwaynet/fairway/controllers/objects/index"
	"github.com/fairwaynet/fairway/controllers/objects/report"
	"github.com/fairwaynet/fairway/controllers/objects/secretstore"
	"github.com/fairwaynet/fairway/test/acme"
	"github.com/fairwaynet/fairway/test/indexed"
	"github.com/fairwaynet/fairway/tls/certificate"
	"github.com/fairwaynet/fairway/tls/challenge"
	"github.com/fairwaynet/fairway/tls/challenge/obstacle"
)

// The authority and the files are real. There is no Envoy: the authority validates
// nothing.

var shop = order.Key{Namespace: "shop", Name: "tls"} // a constant

// world is what outlives a process.
type world struct {
	cluster client.Client // Ingresses and Issuers
	store   *flaky
	now     time.Time
	real    bool // the clock is this machine's
}

func newWorld(t *testing.T, authority *acme.Authority) *world {
	t.Helper()
	files, err := secretstore.OpenFiles(filepath.Join(t.TempDir(), "state"), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := files.Close(); err != nil {
			t.Error(err)
		}
	})
	scheme, err := index.Scheme()
	if err != nil {
		t.Fatal(err)
	}
	builder := fake.NewClientBuilder().WithScheme(scheme)
	indexed.Register(t, builder)
	builder.WithObjects(&networkingv1.Ingress{
		ObjectMeta: metav1.ObjectMeta{Namespace: shop.Namespace, Name: "web", Annotations: map[string]string{"fairway.dev/issuer": "pebble"}},
		Spec:       networkingv1.IngressSpec{TLS: []networkingv1.IngressTLS{{Hosts: []string{"shop.test"}, SecretName: shop.Name}}},
	}, &v1alpha1.Issuer{
		ObjectMeta: metav1.ObjectMeta{Name: "pebble"},
		Spec: v1alpha1.IssuerSpec{
			Directory: authority.Directory, CABundle: string(authority.CA), TermsAgreed: true, Profile: "default",
		},
	})
	return &world{cluster: builder.Build(), store: &flaky{Store: files}, now: time.Now()}
}

// flaky is a Store that fails once. Its process dies of that.
type flaky struct {
	secretstore.Store

	mu     sync.Mutex
	writes int
	fail   int  // the number of the write that fails; 0: none
	after  bool // although it has happened
}

var errCrash = errors.New("the process dies")

func (f *flaky) write(do func() error) error {
	f.mu.Lock()
	f.writes++
	crash := f.writes == f.fail
	f.mu.Unlock()
	if !crash {
		return do()
	}
	if f.after {
		if err := do(); err != nil {
			return err
		}
	}
	return errCrash
}

func (f *flaky) Create(ctx context.Context, s *corev1.Secret) error {
	return f.write(func() error { return f.Store.Create(ctx, s) })
}

func (f *flaky) Update(ctx context.Context, s *corev1.Secret) error {
	return f.write(func() error { return f.Store.Update(ctx, s) })
}

func (f *flaky) Delete(ctx context.Context, s *corev1.Secret) error {
	return f.write(func() error { return f.Store.Delete(ctx, s) })
}

func (f *flaky) Apply(ctx context.Context, s *corev1.Secret, dryRun bool) error {
	return f.write(func() error { return f.Store.Apply(ctx, s, dryRun) })
}

// process is one term of a leader.
type process struct {
	*world

	issuers  *issuer.Reconciler
	orders   *order.Reconciler
	states   *order.States
	reporter *report.Reporter

	controller *order.Controller // runs the orders, if it leads

	mu   sync.Mutex
	told []string // events
}

// start starts a process, which knows nothing of earlier ones.
func (w *world) start(t *testing.T, log logr.Logger) *process {
	t.Helper()
	ignore := func(string) {}
	p := &process{world: w, states: &order.States{Changed: ignore}, reporter: report.New()}
	objects := index.Objects{Cluster: w.cluster, Scope: index.Scope{ClaimWithoutClasses: true}}
	accounts := &issuer.Accounts{Changed: ignore}
	now := func() time.Time {
		if w.real {
			return time.Now()
		}
		return w.now
	}
	limiter := &order.Limiter{Now: now}
	p.controller = &order.Controller{
		Name: "order", Workers: order.Workers, Log: log, New: func() order.TermReconciler { return p.orders },
	}
	p.issuers = issuer.New(issuer.Options{
		Objects: objects, Secrets: w.store, Namespace: "fairway-system", Accounts: accounts, States: p.states, Limiter: limiter, Statuses: nowhere{},
		Reporter: p.reporter, UserAgent: "test", Now: now, Random: rand.Reader, Log: log,
	})
	p.orders = order.New(order.Options{
		Objects: objects, Secrets: w.store, Namespace: "fairway-system", Accounts: accounts, Presenter: presented{},
		Reporter: p.reporter, Events: p, States: p.states, Limiter: limiter, Wake: p.controller.Wake, Metrics: order.NewMetrics(p.states), Now: now, Log: log,
	})
	return p
}

// Event implements order.Events.
func (p *process) Event(_ runtime.Object, _, reason, _ string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.told = append(p.told, reason)
}

// presented says that all challenges are answered: the authority does not look.
type presented struct{}

func (presented) Presented(context.Context, string, challenge.Challenge) (order.Presented, error) {
	return order.Presented{OK: true}, nil
}

func (presented) Remove(context.Context, string, challenge.Challenge) error { return nil }

type nowhere struct{}

func (nowhere) Write(context.Context, *v1alpha1.Issuer, v1alpha1.IssuerStatus) error { return nil }
func (nowhere) Withdraw(context.Context, *v1alpha1.Issuer) error                     { return nil }

// run does what the queues would do, until nothing is due soon. It returns an
// error if the process has died.
func (p *process) run(t *testing.T) error {
	t.Helper()
	if _, err := p.issuers.Reconcile(t.Context(), "pebble"); err != nil {
		return err
	}
	if _, err := p.orders.Keys(t.Context()); err != nil {
		return err
	}
	for range 200 {
		result, err := p.orders.Reconcile(t.Context(), shop)
		if err != nil {
			return err
		}
		if result.RequeueAfter > 2*time.Minute || result.RequeueAfter == 0 {
			return nil
		}
		p.now = p.now.Add(result.RequeueAfter)
	}
	t.Fatal("it never comes to rest")
	return nil
}

// certificate returns the certificate in the Secret.
func (w *world) certificate(t *testing.T) *certificate.Certificate {
	t.Helper()
	secret, err := w.store.Get(t.Context(), shop)
	if err != nil {
		t.Fatal(err)
	}
	if secret == nil {
		return nil
	}
	parsed, fault := certificate.Parse(secret.Data[corev1.TLSCertKey], secret.Data[corev1.TLSPrivateKeyKey])
	if fault != "" {
		t.Fatalf("what is in the Secret cannot be served: %s", fault)
	}
	return parsed
}

// underWay returns how many orders are stored.
func (w *world) underWay(t *testing.T) int {
	t.Helper()
	orders, err := w.store.List(t.Context(), "fairway-system", challenge.SecretLabel)
	if err != nil {
		t.Fatal(err)
	}
	return len(orders)
}

// A process may die at any write, done or not. That costs no second order, no
// second account and no certificate: the next process goes on.
func TestCrashAtEveryWrite(t *testing.T) {
	authority := acme.Start(t, acme.Options{AlwaysValid: true})
	for _, after := range []bool{false, true} {
		for fail := 1; ; fail++ {
			w := newWorld(t, authority)
			w.store.fail, w.store.after = fail, after
			placed := authority.Orders()
			err := w.start(t, testr.New(t)).run(t)
			if err != nil {
				if !errors.Is(err, errCrash) {
					t.Fatalf("write %d: %v", fail, err)
				}
				if err := w.start(t, testr.New(t)).run(t); err != nil {
					t.Fatalf("write %d, the next process: %v", fail, err)
				}
			}
			if n := authority.Orders() - placed; n != 1 {
				t.Errorf("write %d (done: %t): %d orders were placed", fail, after, n)
			}
			if w.certificate(t) == nil || w.underWay(t) != 0 {
				t.Errorf("write %d (done: %t): there is no certificate, or %d orders are left", fail, after, w.underWay(t))
			}
			if err == nil && w.store.writes < fail {
				if fail < 8 {
					t.Fatalf("there were only %d writes", w.store.writes)
				}
				break // this step was not reached any more
			}
			if fail > 100 {
				t.Fatal("there is no end of writes")
			}
		}
	}
}

// A certificate is renewed when its time has come, with a new key. The old one
// stays until then. Nothing is written while nothing is due.
func TestRenewal(t *testing.T) {
	authority := acme.Start(t, acme.Options{AlwaysValid: true})
	w := newWorld(t, authority)
	p := w.start(t, testr.New(t))
	if err := p.run(t); err != nil {
		t.Fatal(err)
	}
	first := w.certificate(t)
	if got := fmt.Sprint(p.told); got != "[CertificateOrdered CertificateIssued]" {
		t.Errorf("told %s", got)
	}
	writes := w.store.writes
	if err := p.run(t); err != nil {
		t.Fatal(err)
	}
	if w.store.writes != writes || !first.Equal(w.certificate(t)) {
		t.Errorf("%d writes for nothing", w.store.writes-writes)
	}
	past := w.now.Add(-time.Hour)
	authority.SetRenewalInfo(t, first.Chain, past.Add(-time.Hour), past, "")
	w.now = w.now.Add(13 * time.Hour) // twice a day
	if err := p.run(t); err != nil {
		t.Fatal(err)
	}
	second := w.certificate(t)
	if second.Serial == first.Serial || second.Key.Equal(first.Key) {
		t.Errorf("serial %s and then %s; the same key: %t", first.Serial, second.Serial, second.Key.Equal(first.Key))
	}
}

// The next leader finishes a renewal that has begun, even if it does not know why
// it began: else it would be ordered again.
func TestRenewalThatHasBegunIsFinished(t *testing.T) {
	authority := acme.Start(t, acme.Options{AlwaysValid: true})
	w := newWorld(t, authority)
	if err := w.start(t, testr.New(t)).run(t); err != nil {
		t.Fatal(err)
	}
	first := w.certificate(t)
	past := w.now.Add(-time.Hour)
	authority.SetRenewalInfo(t, first.Chain, past.Add(-time.Hour), past, "")
	w.store.fail = w.store.writes + 4 // rehearsed, planned, placed, and then
	if err := w.start(t, testr.New(t)).run(t); !errors.Is(err, errCrash) {
		t.Fatalf("it went on: %v", err)
	}
	later := w.now.Add(30 * 24 * time.Hour)
	authority.SetRenewalInfo(t, first.Chain, later, later.Add(time.Hour), "")
	if err := w.start(t, testr.New(t)).run(t); err != nil {
		t.Fatal(err)
	}
	if w.certificate(t).Serial == first.Serial || authority.Orders() != 2 || w.underWay(t) != 0 {
		t.Errorf("%d orders were placed, %d are under way, the certificate is the old one: %t",
			authority.Orders(), w.underWay(t), w.certificate(t).Serial == first.Serial)
	}
}

// A certificate is replaced when its Issuer wants another kind of key, and when
// its Secret is deleted.
func TestReplacement(t *testing.T) {
	authority := acme.Start(t, acme.Options{AlwaysValid: true})
	w := newWorld(t, authority)
	if err := w.start(t, testr.New(t)).run(t); err != nil {
		t.Fatal(err)
	}
	first := w.certificate(t)
	wants := &v1alpha1.Issuer{}
	if err := w.cluster.Get(t.Context(), client.ObjectKey{Name: "pebble"}, wants); err != nil {
		t.Fatal(err)
	}
	wants.Spec.KeyType, wants.Generation = v1alpha1.KeyRSA2048, wants.Generation+1
	if err := w.cluster.Update(t.Context(), wants); err != nil {
		t.Fatal(err)
	}
	p := w.start(t, testr.New(t))
	if err := p.run(t); err != nil {
		t.Fatal(err)
	}
	second := w.certificate(t)
	if second.Serial == first.Serial {
		t.Error("the key is of the old type")
	}
	secret, err := w.store.Get(t.Context(), shop)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.store.Delete(t.Context(), secret); err != nil {
		t.Fatal(err)
	}
	if err := p.run(t); err != nil {
		t.Fatal(err)
	}
	if third := w.certificate(t); third == nil || third.Serial == second.Serial {
		t.Error("what was deleted was not replaced")
	}
	if n := authority.Orders(); n != 3 {
		t.Errorf("%d orders were placed for three certificates", n)
	}
}

// A failed order is tried again on a schedule, also after a restart, and a Problem
// says so.
func TestFailuresKeepTheirSchedule(t *testing.T) {
	authority := acme.Start(t, acme.Options{AlwaysValid: true, Blocked: []string{"shop.test"}})
	w := newWorld(t, authority)
	p := w.start(t, testr.New(t))
	var waits []time.Duration
	for range 4 {
		if _, err := p.issuers.Reconcile(t.Context(), "pebble"); err != nil {
			t.Fatal(err)
		}
		result, err := p.orders.Reconcile(t.Context(), shop)
		if err != nil {
			t.Fatal(err)
		}
		waits = append(waits, result.RequeueAfter)
		said := fmt.Sprint(p.reporter.Problems())
		if !strings.Contains(said, "CertificateFailed") || !strings.Contains(said, "tried again at") {
			t.Errorf("said: %s", said)
		}
		// Another process, sooner: it waits as long as the first would have.
		p = w.start(t, testr.New(t))
		w.now = w.now.Add(result.RequeueAfter / 2)
		if _, err := p.issuers.Reconcile(t.Context(), "pebble"); err != nil {
			t.Fatal(err)
		}
		if _, err := p.orders.Keys(t.Context()); err != nil {
			t.Fatal(err)
		}
		again, err := p.orders.Reconcile(t.Context(), shop)
		if err != nil {
			t.Fatal(err)
		}
		if left := result.RequeueAfter - result.RequeueAfter/2; again.RequeueAfter != left {
			t.Errorf("after a restart it waits %s, not %s", again.RequeueAfter, left)
		}
		w.now = w.now.Add(again.RequeueAfter)
	}
	for i, least := range []time.Duration{time.Minute, 10 * time.Minute, 100 * time.Minute, 24 * time.Hour} {
		if waits[i] < least || waits[i] > least+least/5 {
			t.Errorf("try %d is after %s, want about %s", i+2, waits[i], least)
		}
	}
	if n := authority.Orders(); n != 0 {
		t.Errorf("%d orders were placed", n)
	}
}

// blocking is a Prechecker that always finds something.
type blocking struct{}

func (blocking) Obstacle(context.Context, *order.Account, string) *obstacle.Obstacle {
	return &obstacle.Obstacle{Reason: "NameNotFound", Message: "it is not in DNS"}
}

// An Ingress may be gone before anything was ordered for it.
func TestNobodyAsksBeforeAnythingIsOrdered(t *testing.T) {
	w := newWorld(t, acme.Start(t, acme.Options{AlwaysValid: true}))
	p := w.start(t, testr.New(t))
	p.orders.Prechecker = blocking{}
	p.look(t, "pebble")
	if _, err := p.orders.Reconcile(t.Context(), shop); err != nil {
		t.Fatal(err)
	}
	ingress := &networkingv1.Ingress{ObjectMeta: metav1.ObjectMeta{Namespace: shop.Namespace, Name: "web"}}
	if err := w.cluster.Delete(t.Context(), ingress); err != nil {
		t.Fatal(err)
	}
	if result, err := p.orders.Reconcile(t.Context(), shop); err != nil || result.RequeueAfter != 0 {
		t.Errorf("after nobody asks: %v, %v", result, err)
	}
}
