package clientca

import (
	"context"
	"crypto/x509/pkix"
	"errors"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairwaynet/fairway/controllers/objects/index"
	"github.com/fairwaynet/fairway/controllers/objects/secretcache"
	"github.com/fairwaynet/fairway/test/indexed"
	"github.com/fairwaynet/fairway/xds/route"
)

func TestWhatIsPublished(t *testing.T) {
	staff, guests := newAuthority(t, "staff"), newAuthority(t, "guests")
	good, other := string(staff.PEM()), string(guests.PEM())
	leaf, err := staff.Issue(pkix.Name{CommonName: "leaf"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	const (
		before = "before"
		prefix = "Ingress shop/web: "
		unused = "Secret staff-ca cannot be used: "
		suffix = "; as clients cannot be verified by it, they are refused"
	)
	hour := staff.Certificate.NotAfter.Add(-time.Hour) // an hour before the authority expires
	for _, test := range []struct {
		name    string
		clock   time.Time // hour, if zero
		objects []client.Object
		err     error // of the API server
		want    string
		says    string        // the Problems of the Ingresses
		again   time.Duration // when it is looked at again although nothing happens
	}{
		{
			name: "a Secret of which a watch tells", want: good, again: time.Hour + time.Second,
			objects: []client.Object{guarded("web", "staff-ca"), caSecret(good)},
		},
		{
			name: "any other Secret is asked for", want: good, again: time.Hour + time.Second,
			objects: []client.Object{guarded("web", "staff-ca"), secretOf(theCA(), corev1.SecretTypeOpaque, map[string]string{"ca.crt": good})},
		},
		{
			name: "of several authorities each is published once, and no word beside them", want: good + other, again: time.Hour + time.Second,
			clock:   guests.Certificate.NotAfter.Add(-time.Hour), // who expires last
			objects: []client.Object{guarded("web", "staff-ca"), caSecret("staff\n" + good + "guests\n" + other + good)},
		},
		{
			name: "nobody names it: it is withdrawn", objects: []client.Object{caSecret(good)},
		},
		{
			name:    "an Ingress of another controller names it: it is withdrawn, and nobody complains",
			objects: []client.Object{with(guarded("web", "staff-ca"), func(i *networkingv1.Ingress) { i.Spec.IngressClassName = new("nginx") })},
		},
		{
			name:    "an Ingress of another namespace means a Secret of its own",
			objects: []client.Object{with(guarded("web", "staff-ca"), func(i *networkingv1.Ingress) { i.Namespace = "blog" }), caSecret(good)},
		},
		{
			name:    "an annotation that is no name of a Secret names none",
			objects: []client.Object{guarded("web", "shop/staff-ca"), guarded("web2", "Staff-CA"), guarded("web3", ""), caSecret(good)},
		},
		{
			name: "an Ingress whose certificate is in the Secret does not have its clients verified by it",
			objects: []client.Object{with(guarded("web", "other"), func(i *networkingv1.Ingress) {
				i.Spec.TLS = []networkingv1.IngressTLS{{SecretName: "staff-ca"}}
			}), caSecret(good)},
		},
		{
			name: "it is not there", objects: []client.Object{guarded("web", "staff-ca")},
			says: prefix + "SecretNotFound: " + unused + "it does not exist" + suffix,
		},
		{
			name: "each Ingress that names it has the Problem",
			objects: []client.Object{
				guarded("web", "staff-ca"), guarded("admin", "staff-ca"), guarded("free", "other"),
				with(guarded("foreign", "staff-ca"), func(i *networkingv1.Ingress) { i.Spec.IngressClassName = new("nginx") }),
			},
			says: "Ingress shop/admin: SecretNotFound: " + unused + "it does not exist" + suffix + "\n" +
				prefix + "SecretNotFound: " + unused + "it does not exist" + suffix,
		},
		{
			name:    "it has no ca.crt",
			objects: []client.Object{guarded("web", "staff-ca"), secretOf(theCA(), corev1.SecretTypeTLS, map[string]string{"tls.crt": good})},
			says:    prefix + "SecretInvalid: " + unused + "it has no ca.crt" + suffix,
		},
		{
			name:    "it is of a type that holds no authorities",
			objects: []client.Object{guarded("web", "staff-ca"), secretOf(theCA(), corev1.SecretTypeServiceAccountToken, map[string]string{"ca.crt": good})},
			says: prefix + "SecretInvalid: " + unused + `it is of type "kubernetes.io/service-account-token"; ` +
				`authorities are in one of type "kubernetes.io/tls" or "Opaque"` + suffix,
		},
		{
			name:    "it is no PEM",
			objects: []client.Object{guarded("web", "staff-ca"), caSecret("hello")},
			says:    prefix + "ClientCAInvalid: " + unused + "it is not PEM: it has no line like -----BEGIN CERTIFICATE-----" + suffix,
		},
		{
			name:    "one of its certificates may not sign: none is published",
			objects: []client.Object{guarded("web", "staff-ca"), caSecret(good + string(leaf.Certificate))},
			says: prefix + "ClientCAInvalid: " + unused +
				`certificate 2 ("CN=leaf") is not that of an authority: it may not sign others` + suffix,
		},
		{
			name: "it expires at this very second: it holds for another", want: good, again: time.Second,
			clock:   staff.Certificate.NotAfter,
			objects: []client.Object{guarded("web", "staff-ca"), caSecret(good)},
		},
		{
			name:  "it has expired: Envoy, which has it, refuses clients",
			clock: staff.Certificate.NotAfter.Add(time.Second), want: good,
			objects: []client.Object{guarded("web", "staff-ca"), caSecret(good)},
			says: prefix + "ClientCAInvalid: " + unused + "the last of its certificates expired on " +
				staff.Certificate.NotAfter.UTC().Format(time.RFC3339) + suffix,
		},
		{
			name: "the API server does not answer: what was published stays", err: errors.New("away"), want: before,
			objects: []client.Object{guarded("web", "staff-ca")},
			says: prefix + "SecretUnreadable: Secret staff-ca cannot be read: the API server cannot be reached; " +
				"what was read last counts; if nothing ever was, clients are refused",
		},
		{
			name: "nobody may read it: what was published stays", want: before,
			err:     apierrors.NewForbidden(corev1.Resource("secrets"), "staff-ca", errors.New("no")),
			objects: []client.Object{guarded("web", "staff-ca")},
			says: prefix + "SecretUnreadable: Secret staff-ca cannot be read: " +
				secretcache.Why(apierrors.NewForbidden(corev1.Resource("secrets"), "staff-ca", errors.New("no"))) +
				"; what was read last counts; if nothing ever was, clients are refused",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			clock := test.clock
			if clock.IsZero() {
				clock = hour
			}
			s := newStage(t, clock, test.objects...)
			s.server.err = test.err
			s.published[types.NamespacedName(theCA())] = before
			s.reconcile(theCA())
			s.answer()
			again := s.reconcile(theCA())
			if got := s.published[types.NamespacedName(theCA())]; got != test.want {
				t.Errorf("published %q, want %q", got, test.want)
			}
			if again != test.again {
				t.Errorf("looked at again after %s, want %s", again, test.again)
			}
			if diff := gocmp.Diff(test.says, s.says()); diff != "" {
				t.Errorf("says (-want +got):\n%s", diff)
			}
			testBuildIsReconcile(t, s, test.want)
		})
	}
}

// testBuildIsReconcile holds what the first pass builds of theCA against what was
// published and reported.
func testBuildIsReconcile(t *testing.T, s *stage, published string) {
	t.Helper()
	built, problems, err := s.Build(t.Context(), theCA())
	if err != nil {
		t.Fatal(err)
	}
	if s.server.err != nil {
		published = "" // nothing was published before a first pass
	}
	if built == nil != (published == "") || built != nil && string(*built) != published {
		t.Errorf("the first pass builds %v, want %q", built, published)
	}
	if diff := gocmp.Diff(s.reporter.Problems(), problems, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("the first pass finds (-reconcile +build):\n%s", diff)
	}
}

// Its owner may just have closed somebody out: there is no last good version.
func TestAuthoritiesThatBreakAreWithdrawn(t *testing.T) {
	staff := newAuthority(t, "staff")
	s := newStage(t, staff.Certificate.NotBefore, guarded("web", "staff-ca"), caSecret(string(staff.PEM())))
	name := types.NamespacedName(theCA())
	s.reconcile(theCA())
	if s.published[name] == "" {
		t.Fatal("nothing is published of good authorities")
	}
	if err := s.cluster.Update(t.Context(), caSecret("broken")); err != nil {
		t.Fatal(err)
	}
	s.reconcile(theCA())
	if got, told := s.published[name]; got != "" || !told || len(s.reporter.Problems()) != 1 {
		t.Errorf("published %q of broken authorities, with Problems %v", got, s.reporter.Problems())
	}
	if err := s.cluster.Update(t.Context(), caSecret(string(staff.PEM()))); err != nil {
		t.Fatal(err)
	}
	s.reconcile(theCA())
	if s.published[name] != string(staff.PEM()) || len(s.reporter.Problems()) != 0 {
		t.Errorf("published %q of mended authorities, with Problems %v", s.published[name], s.reporter.Problems())
	}
}

// A Secret of which no watch tells has changed, and the API server does not say how.
func TestWhatTheAPIServerSaidLastCountsWhileItIsAway(t *testing.T) {
	staff := newAuthority(t, "staff")
	secret := secretOf(theCA(), corev1.SecretTypeOpaque, map[string]string{"ca.crt": string(staff.PEM())})
	s := newStage(t, staff.Certificate.NotBefore, guarded("web", "staff-ca"), secret)
	name := types.NamespacedName(theCA())
	s.reconcile(theCA())
	s.answer()
	s.reconcile(theCA())
	s.server.err = errors.New("away")
	if _, err := s.secretKeys(t.Context(), secret); err != nil { // an event
		t.Fatal(err)
	}
	s.answer()
	s.reconcile(theCA())
	if s.published[name] != string(staff.PEM()) || !strings.Contains(s.says(), "SecretUnreadable") {
		t.Errorf("while it is away, %q is published; it says %s", s.published[name], s.says())
	}
	if err := s.cluster.Delete(t.Context(), secret); err != nil {
		t.Fatal(err)
	}
	s.server.err = nil
	s.answer()
	s.reconcile(theCA())
	if s.published[name] != "" || !strings.Contains(s.says(), "SecretNotFound") {
		t.Errorf("when it is back, %q is published; it says %s", s.published[name], s.says())
	}
}

func TestWhileASecretIsAskedForNothingIsPublished(t *testing.T) {
	staff := newAuthority(t, "staff")
	secret := secretOf(theCA(), corev1.SecretTypeOpaque, map[string]string{"ca.crt": string(staff.PEM())})
	s := newStage(t, staff.Certificate.NotBefore, guarded("web", "staff-ca"), secret)
	s.reconcile(theCA())
	if len(s.published) != 0 || len(s.reporter.Problems()) != 0 {
		t.Errorf("published %v, with Problems %v", s.published, s.reporter.Problems())
	}
	if waiting := s.Waiting(); !gocmp.Equal(waiting, []Key{theCA()}) {
		t.Errorf("%v wait", waiting)
	}
	if again := s.Waiting(); len(again) != 0 {
		t.Errorf("%v still wait, and nobody has asked for them since", again)
	}
	s.answer()
	if built, _, err := s.Build(t.Context(), theCA()); err != nil || built == nil {
		t.Errorf("built %v, %v", built, err)
	}
	if waiting := s.Waiting(); len(waiting) != 0 {
		t.Errorf("%v wait for what is known", waiting)
	}
}

func TestAKeyIsWokenWhenItsSecretComesOrExpires(t *testing.T) {
	staff := newAuthority(t, "staff")
	secret := secretOf(theCA(), corev1.SecretTypeOpaque, map[string]string{"ca.crt": string(staff.PEM())})
	s := newStage(t, staff.Certificate.NotAfter.Add(-time.Minute), guarded("web", "staff-ca"), secret)
	if _, _, err := s.Build(t.Context(), theCA()); err != nil {
		t.Fatal(err)
	}
	s.answer() // nobody works on keys yet
	woken := &queue{later: map[Key]time.Duration{}}
	if err := s.start(t.Context(), woken); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Build(t.Context(), theCA()); err != nil {
		t.Fatal(err)
	}
	if want := map[Key]time.Duration{theCA(): time.Minute + time.Second}; !gocmp.Equal(woken.later, want) || woken.added != nil {
		t.Errorf("woken %v and later %v, want later %v", woken.added, woken.later, want)
	}
	if err := s.cluster.Delete(t.Context(), secret); err != nil {
		t.Fatal(err)
	}
	s.answer()
	if want := []Key{theCA()}; !gocmp.Equal(woken.added, want) {
		t.Errorf("woken %v, want %v", woken.added, want)
	}
}

func TestWhichAuthoritiesAnObjectConcerns(t *testing.T) {
	class := &networkingv1.IngressClass{ObjectMeta: metav1.ObjectMeta{Name: route.WellKnownClass}}
	s := newStage(t, time.Now(), guarded("web", "staff-ca"), guarded("web2", "staff-ca"), guarded("broken", "Not A Name"),
		with(guarded("admin", "admin-ca"), func(i *networkingv1.Ingress) {
			i.Namespace, i.Annotations["kubernetes.io/ingress.class"] = "ops", "nginx"
			i.Spec.TLS = []networkingv1.IngressTLS{{SecretName: "certificate"}}
		}))
	admin := Key{Namespace: "ops", Name: "admin-ca"}
	all, err := s.Keys(t.Context())
	if want := map[Key]bool{theCA(): true, admin: true}; err != nil || !gocmp.Equal(setOf(all), want) {
		t.Errorf("all are %v, %v", all, err)
	}
	if keys, err := s.classKeys(t.Context(), class); err != nil || !gocmp.Equal(setOf(keys), map[Key]bool{theCA(): true}) {
		t.Errorf("the class concerns %v, %v", keys, err)
	}
	for _, test := range []struct {
		secret Key
		want   int
	}{
		{theCA(), 1},
		{admin, 1}, // the Ingress may be ours again
		{Key{Namespace: "blog", Name: "staff-ca"}, 0},
		{Key{Namespace: "shop", Name: "other"}, 0},
		{Key{Namespace: "ops", Name: "certificate"}, 0}, // it is named for something else
	} {
		if keys, err := s.secretKeys(t.Context(), secretOf(test.secret, corev1.SecretTypeTLS, nil)); err != nil || len(keys) != test.want {
			t.Errorf("%s: %v, %v", test.secret, keys, err)
		}
	}
	if keys, err := s.ingressKeys(t.Context(), guarded("web", "Not A Name")); err != nil || keys != nil {
		t.Errorf("an Ingress that names no Secret concerns %v, %v", keys, err)
	}
	if got := theCA().String(); got != "client CA shop/staff-ca" {
		t.Errorf("the key is called %q", got)
	}
}

// The event of a Secret may come before that of the Ingress which names it no more.
func TestAKeyIsRememberedUntilItIsWithdrawn(t *testing.T) {
	staff := newAuthority(t, "staff")
	ingress, secret := guarded("web", "staff-ca"), caSecret(string(staff.PEM()))
	s := newStage(t, staff.Certificate.NotBefore, ingress, secret)
	s.reconcile(theCA())
	if err := s.cluster.Delete(t.Context(), ingress); err != nil {
		t.Fatal(err)
	}
	if keys, err := s.secretKeys(t.Context(), secret); err != nil || len(keys) != 1 {
		t.Errorf("the Secret of what is published concerns %v, %v", keys, err)
	}
	s.reconcile(theCA())
	if keys, err := s.secretKeys(t.Context(), secret); err != nil || len(keys) != 0 {
		t.Errorf("the Secret of what was withdrawn concerns %v, %v", keys, err)
	}
	if len(s.known) != 0 || s.secrets.Holds() {
		t.Errorf("%v is still known, Secrets are held: %t", s.known, s.secrets.Holds())
	}
}

// unlisted is a cache that cannot be read.
type unlisted struct{ client.Client }

func (unlisted) List(context.Context, client.ObjectList, ...client.ListOption) error {
	return errors.New("there is no such index")
}

func TestACacheThatCannotBeReadChangesNothing(t *testing.T) {
	s := newStage(t, time.Now(), guarded("web", "staff-ca"))
	s.objects.Cluster = unlisted{s.cluster}
	_, err := s.Reconcile(t.Context(), theCA())
	_, _, built := s.Build(t.Context(), theCA())
	for _, err := range []error{err, built} {
		if err == nil || !strings.HasPrefix(err.Error(), "gather client CA shop/staff-ca: list ") {
			t.Errorf("error %v", err)
		}
	}
	if _, err := s.Keys(t.Context()); err == nil {
		t.Error("all keys are known of a cache that cannot be read")
	}
	if len(s.published) != 0 {
		t.Errorf("published %v", s.published)
	}
}

// A first pass that was given some Secrets only (fairway check) cannot say that one
// is missing.
func TestASecretThatMayExistIsNoProblem(t *testing.T) {
	cluster := indexed.Cluster(t, guarded("web", "staff-ca"))
	secrets := secretcache.New(cluster, nil, nil).Partial(func(types.NamespacedName) bool { return true })
	r := New(index.Objects{Cluster: cluster}, secrets, nil, nil, nil)
	if built, problems, err := r.Build(t.Context(), theCA()); built != nil || problems != nil || err != nil {
		t.Errorf("built %v, %v, %v", built, problems, err)
	}
}

func setOf(keys []Key) map[Key]bool {
	set := map[Key]bool{}
	for _, key := range keys {
		set[key] = true
	}
	return set
}
