package fairway

import (
	"context"
	"crypto/tls"
	"net/http"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// CASecret is an Opaque Secret with the authority's certificate, as users make
// it.
func (a *Authority) CASecret(name string) *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: Namespace, Name: name},
		Type:       corev1.SecretTypeOpaque,
		Data:       map[string][]byte{"ca.crt": a.PEM()},
	}
}

// Client is a client certificate.
func (a *Authority) Client(t testing.TB, name string) *tls.Certificate {
	t.Helper()
	chain, key := a.Issue(t, Wish{Names: []string{name}})
	certificate, err := tls.X509KeyPair(chain, key)
	if err != nil {
		t.Fatal(err)
	}
	return &certificate
}

// GetAs requests a path of a host over HTTPS, over a new connection with the
// server name. It presents a client certificate if client is not nil.
func GetAs(ctx context.Context, client *tls.Certificate, name, host, path string) (Answer, error) {
	config := &tls.Config{NextProtos: []string{"http/1.1"}}
	if client != nil {
		// The client presents it whichever authorities the server names.
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return client, nil }
	}
	conn, err := Handshake(ctx, name, config)
	if err != nil {
		return Answer{}, err
	}
	defer conn.Close() //nolint:errcheck // its answer is complete
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+host+path, nil)
	if err != nil {
		return Answer{}, err
	}
	return converse(conn, request)
}
