package certificate

import (
	"context"
	"crypto/rand"
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/fairwaynet/fairway/controllers/index"
	"github.com/fairwaynet/fairway/controllers/report"
	"github.com/fairwaynet/fairway/tls/certificate"
)

// indexed is a cluster with indexes.
type indexed struct{ *fake.ClientBuilder }

func (b indexed) IndexField(_ context.Context, object client.Object, field string, values client.IndexerFunc) error {
	b.WithIndex(object, field, values)
	return nil
}

// A restarted controller must have in its first picture each certificate that
// can be read, however many Ingresses name Secrets that are missing: Envoys that
// connect to it would be told that the others do not exist.
func TestMissingSecretsKeepNoOtherFromTheFirstPicture(t *testing.T) {
	made, err := certificate.SelfSigned(time.Now(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	scheme, err := index.Scheme()
	if err != nil {
		t.Fatal(err)
	}
	cluster := fake.NewClientBuilder().WithScheme(scheme)
	if err := index.Register(t.Context(), indexed{cluster}); err != nil {
		t.Fatal(err)
	}
	const missing = maxAsked + 20
	for i := range missing {
		cluster.WithObjects(ingressOf(fmt.Sprintf("a-%d", i)))
	}
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "z", ResourceVersion: "7"}, Type: corev1.SecretTypeTLS,
		Data: map[string][]byte{corev1.TLSCertKey: made.Chain, corev1.TLSPrivateKeyKey: made.Key.Reveal()},
	}
	objects := cluster.WithObjects(ingressOf("z"), secret).Build()
	scope := index.Scope{ClaimWithoutClasses: true}
	r := New(index.Objects{Cluster: objects, Scope: scope}, objects, nil, &report.Reporter{}, Options{SelfSigned: made})
	queue := workqueue.NewTypedRateLimitingQueue(workqueue.DefaultTypedControllerRateLimiter[Key]())
	defer queue.ShutDown()
	if err := r.start(t.Context(), queue); err != nil {
		t.Fatal(err)
	}

	keys, err := r.Keys(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	told := map[string]int{}
	for _, key := range keys {
		served, problems, err := r.Build(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		if key.isDefault() && served == nil {
			t.Error("the default certificate is not in the picture")
		}
		for _, p := range problems {
			told[p.Object.Name.Name+" "+string(p.Reason)]++
		}
	}
	if told["z CertificateNames"] != 1 {
		t.Errorf("the Secret that is there was not looked at; told: %v", told)
	}
	if asked := r.secrets.asked.Load(); asked != maxAsked {
		t.Errorf("the API server was asked for %d Secrets, want %d", asked, maxAsked)
	}
	if late := queue.Len(); late != missing-maxAsked {
		t.Errorf("%d names are left to the queue, want %d", late, missing-maxAsked)
	}
}

// ingressOf has one host and one Secret, of its own name.
func ingressOf(name string) *networkingv1.Ingress {
	i := &networkingv1.Ingress{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name}}
	i.Spec.Rules = []networkingv1.IngressRule{{Host: name + ".test"}}
	i.Spec.TLS = []networkingv1.IngressTLS{{Hosts: []string{name + ".test"}, SecretName: name}}
	return i
}
