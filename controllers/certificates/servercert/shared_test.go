package servercert

import (
	"crypto/rand"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/fairwaynet/fairway/tls/certificate"
)

// Replicas that start at once agree on one certificate, and so do later ones. A
// certificate that cannot be served is replaced; a Secret that is not ours is not
// touched.
func TestAllReplicasShareACertificate(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	name := types.NamespacedName{Namespace: "fairway-system", Name: SharedSecret("")}
	made := func(at time.Time) *certificate.Certificate {
		c, err := certificate.SelfSigned(at, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	holding := func(kind corev1.SecretType, chain, key []byte) *corev1.Secret {
		return &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Namespace: name.Namespace, Name: name.Name}, Type: kind,
			Data: map[string][]byte{corev1.TLSCertKey: chain, corev1.TLSPrivateKeyKey: key},
		}
	}
	good, old := made(now), made(now.Add(-10*365*24*time.Hour))
	for _, c := range []struct {
		name  string
		there *corev1.Secret
		want  *certificate.Certificate // nil: a new one
		fails bool
	}{
		{name: "nothing is there"},
		{name: "a good one", there: holding(SharedType, good.Chain, good.Key.Reveal()), want: good},
		{name: "one that expires", there: holding(SharedType, old.Chain, old.Key.Reveal())},
		{name: "a broken one", there: holding(SharedType, []byte("nothing"), nil)},
		{name: "somebody else's", there: holding(corev1.SecretTypeTLS, good.Chain, good.Key.Reveal()), fails: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			builder := fake.NewClientBuilder()
			if c.there != nil {
				builder.WithObjects(c.there)
			}
			cluster := builder.Build()
			shared := Shared{
				Live: cluster, Writer: cluster, Secret: name,
				Make: func() (*certificate.Certificate, error) { return certificate.SelfSigned(now, rand.Reader) },
				Now:  func() time.Time { return now },
			}
			var replicas sync.WaitGroup
			found := make([]*certificate.Certificate, 8)
			for i := range found {
				replicas.Go(func() {
					var err error
					if found[i], err = shared.Certificate(t.Context()); (err != nil) != c.fails {
						t.Error(err)
					}
				})
			}
			replicas.Wait()
			for _, f := range found {
				if !f.Equal(found[0]) || c.want != nil && !f.Equal(c.want) {
					t.Errorf("%s, want %s", f.Serial, found[0].Serial)
				}
			}
			var stored corev1.Secret
			if err := cluster.Get(t.Context(), name, &stored); err != nil {
				t.Fatal(err)
			}
			if !c.fails && string(stored.Data[corev1.TLSCertKey]) != string(found[0].Chain) {
				t.Error("another one is stored")
			}
		})
	}
}
