package backendca

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairwaynet/fairway/controllers/objects/index"
	"github.com/fairwaynet/fairway/controllers/objects/report"
	"github.com/fairwaynet/fairway/controllers/objects/secretcache"
	"github.com/fairwaynet/fairway/test/indexed"
	"github.com/fairwaynet/fairway/xds/route"
)

// shelf is a Publisher.
type shelf map[route.Authority]string

func (s shelf) PublishAuthority(authority route.Authority, certificates []byte) {
	s[authority] = string(certificates)
}

// apiServer answers with an error, if there is one.
type apiServer struct {
	client.Reader
	err error
}

func (a apiServer) Get(ctx context.Context, name client.ObjectKey, into client.Object, opts ...client.GetOption) error {
	if a.err != nil {
		return a.err
	}
	return a.Reader.Get(ctx, name, into, opts...)
}

// watchedOnly is a watch of the Secrets of one type.
type watchedOnly struct{ client.Reader }

func (w watchedOnly) Get(ctx context.Context, name client.ObjectKey, into client.Object, opts ...client.GetOption) error {
	err := w.Reader.Get(ctx, name, into, opts...)
	if secret, ok := into.(*corev1.Secret); ok && err == nil && secret.Type != corev1.SecretTypeTLS {
		return apierrors.NewNotFound(corev1.Resource("secrets"), name.Name)
	}
	return err
}

// roots is a certificate in PEM.
func roots(t *testing.T) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), IsCA: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

func secretWith(kind corev1.SecretType, data map[string]string) *corev1.Secret {
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "roots"}, Type: kind, Data: map[string][]byte{}}
	for key, value := range data {
		secret.Data[key] = []byte(value)
	}
	return secret
}

// serviceThat makes a Service that names an authority and speaks TLS.
func serviceThat(names string) *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "shop", Name: "pay", Annotations: map[string]string{route.AnnotationBackendCA: names},
		},
		Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 443, AppProtocol: new("https")}}},
	}
}

func TestWhatIsPublished(t *testing.T) {
	good, away := roots(t), errors.New("away")
	second := fmt.Sprint(1 + strings.Count(good, "\n")) // the line of what stands behind it
	theRoots := route.Authority{Namespace: "shop", Name: "roots"}
	for _, test := range []struct {
		name    string
		key     route.Authority
		objects []client.Object
		system  string
		err     error
		want    string
		says    string // the Problem of the Service
	}{
		{
			name: "a Secret of which a watch tells", key: theRoots, want: good,
			objects: []client.Object{serviceThat("roots"), secretWith(corev1.SecretTypeTLS, map[string]string{"ca.crt": "a comment\n" + good})},
		},
		{
			name: "any other Secret is asked for", key: theRoots, want: good,
			objects: []client.Object{serviceThat("roots"), secretWith(corev1.SecretTypeOpaque, map[string]string{"ca.crt": good})},
		},
		{
			name: "several certificates", key: theRoots, want: good + good,
			objects: []client.Object{serviceThat("roots"), secretWith(corev1.SecretTypeTLS, map[string]string{"ca.crt": good + good})},
		},
		{
			name: "nobody names it", key: theRoots,
			objects: []client.Object{secretWith(corev1.SecretTypeTLS, map[string]string{"ca.crt": good})},
		},
		{
			name: "it is not there", key: theRoots, objects: []client.Object{serviceThat("roots")},
			says: "Secret roots does not exist; its backends are not spoken to, requests are answered 503",
		},
		{
			name: "it has no ca.crt", key: theRoots,
			objects: []client.Object{serviceThat("roots"), secretWith(corev1.SecretTypeTLS, map[string]string{"tls.crt": good})},
			says:    "Secret roots has no ca.crt; its backends are not spoken to, requests are answered 503",
		},
		{
			name: "it holds something else beside", key: theRoots,
			objects: []client.Object{serviceThat("roots"), secretWith(corev1.SecretTypeTLS, map[string]string{
				"ca.crt": good + "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
			})},
			says: "ca.crt of Secret roots cannot be used: block 2 (line " + second + ") is a private key, not a certificate; its backends are not spoken to, requests are answered 503",
		},
		{
			name: "it is damaged", key: theRoots,
			objects: []client.Object{serviceThat("roots"), secretWith(corev1.SecretTypeTLS, map[string]string{
				"ca.crt": good + "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
			})},
			says: "ca.crt of Secret roots cannot be used: block 2 (line " + second + ") cannot be read as a certificate: malformed certificate; its backends are not spoken to, requests are answered 503",
		},
		{
			name: "the API server does not answer: what was published stays", key: theRoots, err: away, want: "before",
			objects: []client.Object{serviceThat("roots")},
			says: "Secret roots cannot be read: the API server cannot be reached; what was read last counts; " +
				"if nothing ever was, its backends are not spoken to, requests are answered 503",
		},
		{name: "what the machine trusts", key: route.SystemAuthority(), objects: []client.Object{serviceThat("system")}, system: good, want: good},
		{
			name: "the machine trusts nobody", key: route.SystemAuthority(), objects: []client.Object{serviceThat("system")},
			says: "the controller's machine trusts nobody: it has no file of certificates; its backends are not spoken to, requests are answered 503",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			cluster := indexed.Cluster(t, test.objects...)
			published, reporter := shelf{test.key: "before"}, report.New()
			secrets := secretcache.New(watchedOnly{cluster}, apiServer{cluster, test.err}, nil)
			r := New(index.Objects{Cluster: cluster}, secrets, published, reporter, []byte(test.system))
			for range 2 { // what has to be asked for is there the second time
				if _, err := r.Reconcile(t.Context(), test.key); err != nil {
					t.Fatal(err)
				}
				secrets.Settle(t.Context(), time.Minute)
			}
			if published[test.key] != test.want {
				t.Errorf("published %q, want %q", published[test.key], test.want)
			}
			var says string
			for _, p := range reporter.Problems() {
				says += p.Message
				if p.Object.String() != "Service shop/pay" || p.Field != "metadata.annotations[fairway.dev/backend-ca]" {
					t.Errorf("the Problem is of %s, %s", p.Object, p.Field)
				}
			}
			if diff := gocmp.Diff(test.says, says); diff != "" {
				t.Errorf("says (-want +got):\n%s", diff)
			}
		})
	}
}

func TestWhichAuthoritiesAnObjectConcerns(t *testing.T) {
	cluster := indexed.Cluster(t, serviceThat("roots"))
	r := New(index.Objects{Cluster: cluster}, secretcache.New(cluster, nil, nil), nil, nil, nil)
	named, other := secretWith(corev1.SecretTypeTLS, nil), secretWith(corev1.SecretTypeTLS, nil)
	other.Name = "other"
	elsewhere := secretWith(corev1.SecretTypeTLS, nil)
	elsewhere.Namespace = "blog"
	for secret, want := range map[*corev1.Secret]int{named: 1, other: 0, elsewhere: 0} {
		if keys, err := r.secretKeys(t.Context(), secret); err != nil || len(keys) != want {
			t.Errorf("secret %s/%s: %v, %v", secret.Namespace, secret.Name, keys, err)
		}
	}
	all, err := r.Keys(t.Context())
	if want := []route.Authority{{Namespace: "shop", Name: "roots"}}; err != nil || !gocmp.Equal(all, want) {
		t.Errorf("all are %v, %v", all, err)
	}
	if keys, _ := r.serviceKeys(t.Context(), serviceThat("system")); len(keys) != 1 || keys[0] != route.SystemAuthority() {
		t.Errorf("a Service that names the system's: %v", keys)
	}
}
