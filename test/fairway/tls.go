package fairway

import (
	"bufio"
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairwaynet/fairway/test/authority"
	"github.com/fairwaynet/fairway/test/oldclient"
)

// addressTLS is the target of requests over HTTPS.
const addressTLS = "127.0.0.1:8443"

// Authority signs certificates for tests.
type Authority struct {
	signer *authority.Authority
	Pool   *x509.CertPool
}

// NewAuthority makes an authority.
func NewAuthority(t testing.TB) *Authority {
	t.Helper()
	signer, err := authority.New("test authority", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	a := &Authority{signer: signer, Pool: x509.NewCertPool()}
	a.Pool.AddCert(signer.Certificate)
	return a
}

// PEM is the certificate of the authority itself.
func (a *Authority) PEM() []byte { return a.signer.PEM() }

// Wish describes a certificate. The zero value is an ECDSA certificate that is
// valid for an hour.
type Wish struct {
	Names  []string
	RSA    bool
	Serial int64     // 0: any
	Until  time.Time // zero: in an hour
}

// Issue makes a certificate and its key, in PEM.
func (a *Authority) Issue(t testing.TB, wish Wish) (chain, key []byte) {
	t.Helper()
	var private crypto.Signer
	var err error
	if private, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); wish.RSA {
		private, err = rsa.GenerateKey(rand.Reader, 2048)
	}
	if err != nil {
		t.Fatal(err)
	}
	template := x509.Certificate{DNSNames: wish.Names}
	if wish.Serial != 0 {
		template.SerialNumber = big.NewInt(wish.Serial)
	}
	if !wish.Until.IsZero() {
		template.NotBefore, template.NotAfter = wish.Until.Add(-2*time.Hour), wish.Until
	}
	if chain, err = a.signer.Sign(template, private.Public()); err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return chain, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})
}

// Secret is a Secret with a new certificate.
func (a *Authority) Secret(t testing.TB, name string, wish Wish) *corev1.Secret {
	t.Helper()
	chain, key := a.Issue(t, wish)
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: Namespace, Name: name},
		Type:       corev1.SecretTypeTLS,
		Data:       map[string][]byte{corev1.TLSCertKey: chain, corev1.TLSPrivateKeyKey: key},
	}
}

// Handshake connects over TLS with a server name, which may be empty. It does not
// verify the certificate.
func Handshake(ctx context.Context, name string, config *tls.Config) (*tls.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, unanswered)
	defer cancel()
	if config == nil {
		config = &tls.Config{}
	}
	config = config.Clone()
	config.ServerName, config.InsecureSkipVerify = name, true
	conn, err := (&tls.Dialer{Config: config}).DialContext(ctx, "tcp", addressTLS)
	if err != nil {
		return nil, fmt.Errorf("handshake for %q: %w", name, err)
	}
	return conn.(*tls.Conn), nil
}

// Presents is a check for Eventually: Envoy presents a Secret's certificate for a
// server name.
func Presents(name string, secret *corev1.Secret) func(context.Context) error {
	return func(ctx context.Context) error {
		conn, err := Handshake(ctx, name, nil)
		if err != nil {
			return err
		}
		defer conn.Close() //nolint:errcheck // the handshake is all that counts
		return isOf(conn.ConnectionState().PeerCertificates[0], name, secret)
	}
}

// PresentsToOld is Presents for a client that supports only RSA.
func PresentsToOld(name string, secret *corev1.Secret) func(context.Context) error {
	return func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, unanswered)
		defer cancel()
		got, err := oldclient.Certificate(ctx, addressTLS, name, true)
		if err != nil {
			return err
		}
		return isOf(got, name, secret)
	}
}

func isOf(got *x509.Certificate, name string, secret *corev1.Secret) error {
	block, _ := pem.Decode(secret.Data[corev1.TLSCertKey])
	if !bytes.Equal(block.Bytes, got.Raw) {
		return fmt.Errorf("the certificate for %q is that of %s for %q with serial %s, not that of secret %s",
			name, got.Subject, got.DNSNames, got.SerialNumber, secret.Name)
	}
	return nil
}

// PresentsDefault is a check for Eventually: Envoy presents the self-signed
// certificate for a server name.
func PresentsDefault(name string) func(context.Context) error {
	return func(ctx context.Context) error {
		conn, err := Handshake(ctx, name, nil)
		if err != nil {
			return err
		}
		defer conn.Close() //nolint:errcheck // the handshake is all that counts
		if got := conn.ConnectionState().PeerCertificates[0]; got.Subject.CommonName != "Fairway default certificate" {
			return fmt.Errorf("the certificate for %q is that of %s for %q", name, got.Subject, got.DNSNames)
		}
		return nil
	}
}

// Refuses is a check for Eventually: Envoy refuses the handshake for a server
// name.
func Refuses(name string) func(context.Context) error {
	return func(ctx context.Context) error {
		if conn, err := Handshake(ctx, name, nil); err == nil {
			return errors.Join(errors.New("a handshake with the server name "+name), conn.Close())
		}
		return nil
	}
}

// GetTLS requests a path of a host over HTTPS, over a new connection.
func GetTLS(ctx context.Context, host, path string) (Answer, error) {
	conn, err := Handshake(ctx, host, &tls.Config{NextProtos: []string{"http/1.1"}})
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

// converse sends a request over conn and reads the answer.
func converse(conn net.Conn, request *http.Request) (Answer, error) {
	if err := conn.SetDeadline(time.Now().Add(unanswered)); err != nil {
		return Answer{}, err
	}
	if err := request.Write(conn); err != nil {
		return Answer{}, err
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), request)
	if err != nil {
		return Answer{}, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	return Answer{Status: response.StatusCode, Header: response.Header, Body: string(text)}, err
}

// Once is a dialer that returns conn to its first caller, and an error to all
// others.
func Once(conn net.Conn) func(context.Context, string, string) (net.Conn, error) {
	given := make(chan net.Conn, 1)
	given <- conn
	return func(context.Context, string, string) (net.Conn, error) {
		select {
		case conn := <-given:
			return conn, nil
		default:
			return nil, errors.New("the only connection is gone")
		}
	}
}
