package issuer_test

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr/testr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/fairwaynet/fairway/api/v1alpha1"
	"github.com/fairwaynet/fairway/controllers/certificates/issuer"
	"github.com/fairwaynet/fairway/controllers/certificates/order"
	"github.com/fairwaynet/fairway/controllers/objects/index"
	"github.com/fairwaynet/fairway/controllers/objects/report"
	"github.com/fairwaynet/fairway/controllers/objects/secretstore"
	"github.com/fairwaynet/fairway/test/acme"
)

const namespace = "fairway-system"

// said is the last status of an Issuer.
type said struct {
	v1alpha1.IssuerStatus

	withdrawn bool
}

func (s *said) Write(_ context.Context, _ *v1alpha1.Issuer, status v1alpha1.IssuerStatus) error {
	s.IssuerStatus = status
	return nil
}

func (s *said) Withdraw(context.Context, *v1alpha1.Issuer) error {
	s.IssuerStatus, s.withdrawn = v1alpha1.IssuerStatus{}, true
	return nil
}

// world is what outlives a term.
type world struct {
	store    secretstore.Store
	reporter *report.Reporter
}

func newWorld(t *testing.T, held ...*corev1.Secret) *world {
	t.Helper()
	files, err := secretstore.OpenFiles(filepath.Join(t.TempDir(), "state"), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = files.Close() }) // only a test's
	for _, secret := range held {
		if err := files.Create(t.Context(), secret); err != nil {
			t.Fatal(err)
		}
	}
	return &world{files, report.New()}
}

// look runs one term that looks at one Issuer.
func (w *world) look(t *testing.T, spec v1alpha1.IssuerSpec) (*said, *order.Account) {
	t.Helper()
	scheme, err := index.Scheme()
	if err != nil {
		t.Fatal(err)
	}
	cluster := fake.NewClientBuilder().WithScheme(scheme).WithObjects(&v1alpha1.Issuer{
		ObjectMeta: metav1.ObjectMeta{Name: "pebble", Generation: 3}, Spec: spec,
	}).Build()
	told := &said{}
	accounts := &issuer.Accounts{Changed: func(string) {}}
	r := issuer.New(issuer.Options{
		Objects: index.Objects{Cluster: cluster}, Secrets: w.store, Namespace: namespace, Accounts: accounts,
		States: &order.States{}, Limiter: &order.Limiter{Now: time.Now}, Statuses: told, Reporter: w.reporter, UserAgent: "test", Now: time.Now, Random: rand.Reader, Log: testr.New(t),
	})
	result, err := r.Reconcile(t.Context(), "pebble")
	if err != nil {
		t.Fatal(err)
	}
	if ours := spec.Controller == ""; ours && (result.RequeueAfter < time.Second || result.RequeueAfter > time.Hour) {
		t.Errorf("it is looked at again after %s", result.RequeueAfter)
	}
	account, _ := accounts.Account("pebble")
	return told, account
}

func eabKey() string {
	return base64.RawURLEncoding.EncodeToString([]byte("thirty-two bytes of a secret key"))
}

func eabSecret(value string) *corev1.Secret {
	return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "eab"}, Data: map[string][]byte{"key": []byte(value)}}
}

// Every fault of an Issuer is in a condition that says what to do, and in a
// Problem. No certificate is ordered from such an Issuer.
func TestWhatIsWrong(t *testing.T) {
	authority := acme.Start(t, acme.Options{ExternalAccounts: map[string]string{"kid-1": eabKey()}})
	right := func() v1alpha1.IssuerSpec {
		return v1alpha1.IssuerSpec{
			Directory: authority.Directory, CABundle: string(authority.CA), TermsAgreed: true,
			ExternalAccount: &v1alpha1.ExternalAccount{KeyID: "kid-1", SecretName: "eab"},
		}
	}
	for name, c := range map[string]struct {
		change func(*v1alpha1.IssuerSpec)
		secret *corev1.Secret
		reason string
		words  string
	}{
		"nothing":                 {func(*v1alpha1.IssuerSpec) {}, eabSecret(eabKey() + "\n"), v1alpha1.ReasonRegistered, "can be ordered"},
		"terms":                   {func(s *v1alpha1.IssuerSpec) { s.TermsAgreed = false }, eabSecret(eabKey()), v1alpha1.ReasonTermsNotAgreed, "read the terms of service at "},
		"no external account":     {func(s *v1alpha1.IssuerSpec) { s.ExternalAccount = nil }, eabSecret(eabKey()), v1alpha1.ReasonRefused, "wants an external account"},
		"no Secret":               {func(*v1alpha1.IssuerSpec) {}, nil, v1alpha1.ReasonInvalidIssuer, "there is no Secret fairway-system/eab"},
		"a key that is none":      {func(*v1alpha1.IssuerSpec) {}, eabSecret("%%%"), v1alpha1.ReasonInvalidIssuer, "not base64url"},
		"another key":             {func(*v1alpha1.IssuerSpec) {}, eabSecret(eabKey()[1:] + "A"), v1alpha1.ReasonRefused, ""},
		"an unknown account":      {func(s *v1alpha1.IssuerSpec) { s.ExternalAccount.KeyID = "kid-2" }, eabSecret(eabKey()), v1alpha1.ReasonRefused, ""},
		"an unknown profile":      {func(s *v1alpha1.IssuerSpec) { s.Profile = "gold" }, eabSecret(eabKey()), v1alpha1.ReasonRefused, "no profile \"gold\""},
		"nobody there":            {func(s *v1alpha1.IssuerSpec) { s.Directory = "https://127.0.0.1:1/" }, eabSecret(eabKey()), v1alpha1.ReasonUnreachable, "connection refused"},
		"another CA":              {func(s *v1alpha1.IssuerSpec) { s.CABundle = "" }, eabSecret(eabKey()), v1alpha1.ReasonUnreachable, "give the issuer the CA bundle"},
		"a CA that is none":       {func(s *v1alpha1.IssuerSpec) { s.CABundle = "x" }, eabSecret(eabKey()), v1alpha1.ReasonInvalidIssuer, "CA bundle"},
		"DNS-01 without a DNS":    {func(s *v1alpha1.IssuerSpec) { s.Challenges = []v1alpha1.ChallengeType{v1alpha1.ChallengeDNS01} }, eabSecret(eabKey()), v1alpha1.ReasonInvalidIssuer, "spec.dns"},
		"no directory at the URL": {func(s *v1alpha1.IssuerSpec) { s.Directory += "x" }, eabSecret(eabKey()), v1alpha1.ReasonRefused, "is no ACME directory"},
	} {
		t.Run(name, func(t *testing.T) {
			var held []*corev1.Secret
			if c.secret != nil {
				held = append(held, c.secret)
			}
			w := newWorld(t, held...)
			spec := right()
			c.change(&spec)
			told, account := w.look(t, spec)
			ready := meta.FindStatusCondition(told.Conditions, v1alpha1.ConditionReady)
			if ready == nil || ready.Reason != c.reason || !strings.Contains(ready.Message, c.words) || ready.ObservedGeneration != 3 {
				t.Fatalf("said %+v", ready)
			}
			fine := c.reason == v1alpha1.ReasonRegistered
			if (ready.Status == metav1.ConditionTrue) != fine || (account != nil) != fine || (len(w.reporter.Problems()) == 0) != fine {
				t.Errorf("ready: %s; an account: %t; problems: %v", ready.Status, account != nil, w.reporter.Problems())
			}
			if strings.Contains(ready.Message, eabKey()) {
				t.Errorf("the key is told: %s", ready.Message)
			}
		})
	}
}

// Another installation's Issuer gets nothing from us, and what we wrote before goes.
func TestAnIssuerOfAnotherInstallationIsLeftAlone(t *testing.T) {
	authority := acme.Start(t, acme.Options{})
	w := newWorld(t)
	told, account := w.look(t, v1alpha1.IssuerSpec{
		Controller: "fairway.dev/blue", Directory: authority.Directory, CABundle: string(authority.CA), TermsAgreed: true,
	})
	if account != nil || len(told.Conditions) > 0 || !told.withdrawn {
		t.Errorf("an account: %t, status %+v, withdrawn: %t", account != nil, told.IssuerStatus, told.withdrawn)
	}
	stored, err := w.store.Get(t.Context(), types.NamespacedName{Namespace: namespace, Name: "fairway-account-pebble"})
	if err != nil || stored != nil {
		t.Errorf("an account is stored: %t, %v", stored != nil, err)
	}
	if got := w.reporter.Problems(); len(got) > 0 {
		t.Errorf("problems %v", got)
	}
}

// A new term uses the account that exists. It keeps an account that it cannot
// read: somebody may have a copy.
func TestAccountsStay(t *testing.T) {
	authority := acme.Start(t, acme.Options{})
	w := newWorld(t)
	spec := v1alpha1.IssuerSpec{Directory: authority.Directory, CABundle: string(authority.CA), TermsAgreed: true, Email: "me@shop.test"}
	first, account := w.look(t, spec)
	if first.Account == "" || account == nil {
		t.Fatalf("no account: %+v", first)
	}
	name := types.NamespacedName{Namespace: namespace, Name: "fairway-account-pebble"}
	stored, err := w.store.Get(t.Context(), name)
	if err != nil || stored == nil || stored.Type != "fairway.dev/acme-account" {
		t.Fatalf("it is not stored: %v", err)
	}
	if again, _ := w.look(t, spec); again.Account != first.Account {
		t.Errorf("the account was %s and is now %s", first.Account, again.Account)
	}
	// A broken Secret is not thrown away.
	stored.Data["account.json"] = []byte("{}")
	if err := w.store.Update(t.Context(), stored); err != nil {
		t.Fatal(err)
	}
	broken, _ := w.look(t, spec)
	if ready := broken.Conditions[0]; ready.Reason != v1alpha1.ReasonInvalidIssuer || !strings.Contains(ready.Message, "delete it to have a new account made") {
		t.Errorf("said %+v", ready)
	}
}
