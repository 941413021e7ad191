package servercert

import (
	"crypto/rand"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/fairwaynet/fairway/tls/certificate"
	"github.com/fairwaynet/fairway/xds/route"
)

// FuzzSecret: for any Secret, either the name has a certificate, or its Ingress
// has a Problem that people can read. What was served before stays as long as
// there is nothing better.
func FuzzSecret(f *testing.F) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	made, err := certificate.SelfSigned(now, rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	key := made.Key.Reveal()
	for _, kind := range []string{string(corev1.SecretTypeTLS), string(corev1.SecretTypeOpaque), "", "example.com/other", "\xff"} {
		f.Add(kind, made.Chain, key, "shop.test")
		f.Add(kind, made.Chain, []byte{}, "*")
		f.Add(kind, key, made.Chain, "*.test")
	}
	f.Fuzz(func(t *testing.T, kind string, chain, key []byte, name string) {
		use := route.SecretUse{Secret: types.NamespacedName{Namespace: "shop", Name: "tls"}, Field: "spec.tls[0].secretName"}
		c := contentOf(use.Secret, &corev1.Secret{
			Type: corev1.SecretType(kind),
			Data: map[string][]byte{corev1.TLSCertKey: chain, corev1.TLSPrivateKeyKey: key},
		})
		if (c.certificate == nil) != (c.fault != "") || (c.fault == "") != (c.reason == "") {
			t.Fatalf("certificate %v, reason %q, fault %q", c.certificate != nil, c.reason, c.fault)
		}
		last := served{Certificate: made, secret: types.NamespacedName{Namespace: "shop", Name: "before"}}
		contents := map[types.NamespacedName]content{use.Secret: c}
		found := judge(route.Hostname(name), []route.SecretUse{use}, contents, last, now)
		if found.Certificate == nil {
			t.Error("what was served before is not")
		}
		if found.Certificate == made && len(found.problems) == 0 && !c.certificate.Equal(made) {
			t.Error("the Secret is not used, and nobody is told why")
		}
		fresh := judge(route.Hostname(name), []route.SecretUse{use}, contents, served{}, now)
		if fresh.Certificate == nil && len(fresh.problems) == 0 {
			t.Error("nothing is served, and nobody is told why")
		}
		for _, p := range append(found.problems, fresh.problems...) {
			if !utf8.ValidString(p.Message) || strings.ContainsAny(p.Message, "\n\x00\x1b") {
				t.Errorf("message %q", p.Message)
			}
		}
	})
}
