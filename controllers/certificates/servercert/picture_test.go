package servercert

import (
	"context"
	"crypto/rand"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/fairwaynet/fairway/controllers/objects/index"
	"github.com/fairwaynet/fairway/controllers/objects/report"
	"github.com/fairwaynet/fairway/controllers/objects/secretcache"
	"github.com/fairwaynet/fairway/test/indexed"
	"github.com/fairwaynet/fairway/tls/certificate"
	"github.com/fairwaynet/fairway/xds/route"
	"github.com/fairwaynet/fairway/xds/server"
)

// theatre is a cluster, and a Reconciler before its first picture.
type theatre struct {
	objects client.Client
	live    *failing
	secrets *secretcache.Cache
	r       *Reconciler
	queue   workqueue.TypedRateLimitingInterface[Key]
}

func newTheatre(t *testing.T, objects ...client.Object) *theatre {
	t.Helper()
	scheme, err := index.Scheme()
	if err != nil {
		t.Fatal(err)
	}
	cluster := fake.NewClientBuilder().WithScheme(scheme).WithObjects(objects...)
	indexed.Register(t, cluster)
	made, err := certificate.SelfSigned(time.Now(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ads := server.New(server.Options{})
	t.Cleanup(ads.Close)
	s := &theatre{objects: cluster.Build()}
	s.live = &failing{Reader: s.objects}
	s.secrets = secretcache.New(s.objects, s.live, nil)
	s.r = New(index.Objects{Cluster: s.objects, Scope: index.Scope{ClaimWithoutClasses: true}}, s.secrets, ads,
		&report.Reporter{}, Options{SelfSigned: made})
	s.queue = workqueue.NewTypedRateLimitingQueue(workqueue.DefaultTypedControllerRateLimiter[Key]())
	t.Cleanup(s.queue.ShutDown)
	if err := s.r.start(t.Context(), s.queue); err != nil {
		t.Fatal(err)
	}
	return s
}

// picture builds all names, and again those that waited for Secrets. It returns
// the Problems of Ingresses, and the names that have a certificate.
func (s *theatre) picture(t *testing.T) (told map[string]string, served map[route.Hostname]bool) {
	t.Helper()
	told, served = map[string]string{}, map[route.Hostname]bool{}
	build := func(keys []Key) {
		for _, key := range keys {
			certificate, problems, err := s.r.Build(t.Context(), key)
			if err != nil {
				t.Fatalf("%s fails the first pass: %v", key, err)
			}
			served[key.Host] = certificate != nil
			for _, p := range problems {
				told[p.Object.Name.Name] = string(p.Reason)
			}
		}
	}
	keys, err := s.r.Keys(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	build(keys)
	s.secrets.Settle(t.Context(), time.Minute)
	build(s.r.Waiting())
	return told, served
}

// The first picture of a restarted controller must have each certificate that can
// be read, however many Ingresses name Secrets that are missing. Otherwise Envoys
// that connect to it would hear that the others do not exist. The API server is
// asked for all missing Secrets at once, and not for each.
func TestMissingSecretsKeepNoOtherFromTheFirstPicture(t *testing.T) {
	const missing = 300
	objects := []client.Object{ingressOf("z"), secretOf(t, "z")}
	for i := range missing {
		objects = append(objects, ingressOf(fmt.Sprintf("a-%d", i)))
	}
	s := newTheatre(t, objects...)
	told, served := s.picture(t)
	if !served[route.AnyHost] {
		t.Error("the default certificate is not in the picture")
	}
	if told["z"] != "CertificateNames" || told["a-0"] != "SecretNotFound" || len(told) != missing+1 {
		t.Errorf("%d Ingresses have a Problem, z %q and a-0 %q", len(told), told["z"], told["a-0"])
	}
	if s.live.asked != 1 {
		t.Errorf("the API server was asked %d times, want once", s.live.asked)
	}
}

// failing is an API server that fails for some Secrets, and counts its requests.
type failing struct {
	client.Reader
	names map[string]error
	asked int
}

func (f *failing) Get(ctx context.Context, key client.ObjectKey, object client.Object, options ...client.GetOption) error {
	f.asked++
	if err := f.names[key.Name]; err != nil {
		return err
	}
	return f.Reader.Get(ctx, key, object, options...)
}

func (f *failing) List(ctx context.Context, list client.ObjectList, options ...client.ListOption) error {
	f.asked++
	return f.Reader.List(ctx, list, options...)
}

// A Secret that the API server does not give affects only the names that want it:
// they have a Problem. Everything else is in the first picture.
func TestAnErrorCostsOneNameOfTheFirstPicture(t *testing.T) {
	s := newTheatre(t, ingressOf("a"), ingressOf("b"), ingressOf("c"))
	s.live.names = map[string]error{"b": apierrors.NewForbidden(corev1.Resource("secrets"), "b", nil)}
	told, _ := s.picture(t)
	if diff := cmp.Diff(map[string]string{"a": "SecretNotFound", "b": "SecretUnreadable", "c": "SecretNotFound"}, told); diff != "" {
		t.Errorf("Problems (-want +got):\n%s", diff)
	}
}

// What a Secret held is forgotten with the last Ingress that names it.
func TestWhatNobodyNamesIsForgotten(t *testing.T) {
	first, second := ingressOf("first"), ingressOf("second")
	for _, i := range []*networkingv1.Ingress{first, second} {
		i.Spec.TLS[0].SecretName = "shared"
	}
	s := newTheatre(t, first, second, secretOf(t, "shared"))
	wants := func(known bool) {
		t.Helper()
		for _, host := range []route.Hostname{"first.test", "second.test"} {
			if _, err := s.r.Reconcile(t.Context(), Key{Gateway: route.DefaultGateway, Host: host}); err != nil {
				t.Fatal(err)
			}
		}
		if s.r.secrets.Holds() != known {
			t.Errorf("something is remembered: %t, want %t", !known, known)
		}
	}
	wants(true)
	for i, gone := range []client.Object{first, second} {
		if err := s.objects.Delete(t.Context(), gone); err != nil {
			t.Fatal(err)
		}
		wants(i == 0)
	}
}

// Ingresses that ask for TLS at a gateway without an HTTPS port have a Problem for
// as long as it has none.
func TestTLSAtAGatewayWithoutIt(t *testing.T) {
	s := newTheatre(t, ingressOf("web"), secretOf(t, "web"))
	key := Key{Gateway: route.DefaultGateway, Host: "web.test"}
	told := func() map[string]bool {
		t.Helper()
		if _, err := s.r.Reconcile(t.Context(), key); err != nil {
			t.Fatal(err)
		}
		reasons := map[string]bool{}
		for _, p := range s.r.reporter.(*report.Reporter).Problems() {
			reasons[p.Field+" "+string(p.Reason)] = true
		}
		return reasons
	}
	const want = "spec.tls TLSNotServed"
	if told()[want] {
		t.Error("a gateway of which nothing is known counts as one without HTTPS")
	}
	for _, forTLS := range []bool{false, true} {
		s.r.Listens("other", forTLS)
		if s.queue.Len() > 0 {
			t.Error("another gateway's settings wake the name")
		}
		for range 2 {
			s.r.Listens(route.DefaultGateway, forTLS)
		}
		if s.queue.Len() != 1 {
			t.Fatalf("%d names are looked at again, want 1", s.queue.Len())
		}
		woken, _ := s.queue.Get()
		s.queue.Done(woken)
		if told()[want] == forTLS {
			t.Errorf("with TLS %t the Problems are %v", forTLS, told())
		}
	}
}

// secretOf is a Secret with a certificate.
func secretOf(t *testing.T, name string) *corev1.Secret {
	t.Helper()
	made, err := certificate.SelfSigned(time.Now(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, ResourceVersion: "7"}, Type: corev1.SecretTypeTLS,
		Data: map[string][]byte{corev1.TLSCertKey: made.Chain, corev1.TLSPrivateKeyKey: made.Key.Reveal()},
	}
}

// ingressOf has one host and one Secret, of its own name.
func ingressOf(name string) *networkingv1.Ingress {
	i := &networkingv1.Ingress{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name}}
	i.Spec.Rules = []networkingv1.IngressRule{{Host: name + ".test"}}
	i.Spec.TLS = []networkingv1.IngressTLS{{Hosts: []string{name + ".test"}, SecretName: name}}
	return i
}
