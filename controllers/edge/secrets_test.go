package edge

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	crand "crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"maps"
	"math/big"
	"math/rand/v2"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairwaynet/fairway/xds/route"
)

// randomSecret holds one of a few certificates, or something else.
func randomSecret(random *rand.Rand, meta metav1.ObjectMeta) *corev1.Secret {
	secret := &corev1.Secret{ObjectMeta: meta, Type: corev1.SecretTypeTLS, Data: map[string][]byte{
		corev1.TLSCertKey: []byte("broken"), corev1.TLSPrivateKeyKey: []byte("broken"), route.CAKey: []byte("broken"),
	}}
	if meta.Name != "broken" {
		secret.Data = pick(random, certificates()...)
	}
	if meta.Name == "late" && random.IntN(3) > 0 {
		secret.Data = rsaCertificate()
	}
	if random.IntN(3) > 0 {
		secret.Data = maps.Clone(secret.Data)
		secret.Data[route.CAKey] = pick(random, secret.Data[corev1.TLSCertKey], signer(), signer())
	}
	if random.IntN(6) == 0 {
		secret.Type = corev1.SecretTypeOpaque
	}
	return secret
}

// certificates are the contents of Secrets, made once.
var certificates = sync.OnceValue(func() []map[string][]byte {
	return []map[string][]byte{
		issue("shop.test", "*.shop.test", "blog.test"), issue("shop.test", "*.shop.test", "blog.test"), issue("shop.test"),
	}
})

var rsaCertificate = sync.OnceValue(func() map[string][]byte { return issueRSA("shop.test", "*.shop.test", "blog.test") })

// signer is the certificate of an authority, made once.
var signer = sync.OnceValue(func() []byte { return issue()[corev1.TLSCertKey] })

// issue makes a certificate for names; for none, that of an authority.
func issue(names ...string) map[string][]byte {
	key, err := ecdsa.GenerateKey(elliptic.P256(), crand.Reader)
	if err != nil {
		panic(err)
	}
	return issueFor(key, names...)
}

func issueRSA(names ...string) map[string][]byte {
	key, err := rsa.GenerateKey(crand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return issueFor(key, names...)
}

func issueFor(key crypto.Signer, names ...string) map[string][]byte {
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: names, BasicConstraintsValid: true, IsCA: len(names) == 0,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
	}
	der, err := x509.CreateCertificate(crand.Reader, template, template, key.Public(), key)
	if err != nil {
		panic(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		panic(err)
	}
	return map[string][]byte{
		route.CAKey:             pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		corev1.TLSCertKey:       pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		corev1.TLSPrivateKeyKey: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}),
	}
}
