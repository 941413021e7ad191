package fairway

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync/atomic"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
	corev1 "k8s.io/api/core/v1"
)

// HTTP3 is one QUIC connection with a server name. The first request opens it,
// and it is never reopened.
type HTTP3 struct {
	transport *http3.Transport
}

// NewHTTP3 makes a connection that does not verify the certificate.
func NewHTTP3(name string) *HTTP3 {
	var opened atomic.Bool
	return &HTTP3{transport: &http3.Transport{
		TLSClientConfig: &tls.Config{ServerName: name, InsecureSkipVerify: true},
		Dial: func(ctx context.Context, _ string, tlsConfig *tls.Config, config *quic.Config) (*quic.Conn, error) {
			if opened.Swap(true) {
				return nil, errors.New("the only connection is gone")
			}
			return quic.DialAddr(ctx, addressTLS, tlsConfig, config)
		},
	}}
}

// Close closes the connection.
func (h *HTTP3) Close() error { return h.transport.Close() }

// Get requests a path of a host. It also returns the connection's certificate
// (DER).
func (h *HTTP3) Get(ctx context.Context, host, path string) (a Answer, certificate []byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, unanswered)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+host+path, nil)
	if err != nil {
		return Answer{}, nil, err
	}
	response, err := h.transport.RoundTrip(request)
	if err != nil {
		return Answer{}, nil, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	return Answer{Status: response.StatusCode, Header: response.Header, Body: string(text)}, response.TLS.PeerCertificates[0].Raw, err
}

// AnswersHTTP3 is a check for Eventually: over a new HTTP/3 connection, a backend
// answers for host and path. The certificate must be the Secret's, unless secret
// is nil.
func AnswersHTTP3(host, path, backend string, secret *corev1.Secret) func(context.Context) error {
	return func(ctx context.Context) error {
		h := NewHTTP3(host)
		defer h.Close() //nolint:errcheck // its answer is complete
		a, certificate, err := h.Get(ctx, host, path)
		if err != nil {
			return err
		}
		if got := a.Header.Get("Backend"); got != backend {
			return fmt.Errorf("%s%s over HTTP/3: status %d of backend %q, want %q", host, path, a.Status, got, backend)
		}
		if secret == nil {
			return nil
		}
		if block, _ := pem.Decode(secret.Data[corev1.TLSCertKey]); !bytes.Equal(block.Bytes, certificate) {
			return fmt.Errorf("%s over HTTP/3: not the certificate of secret %s", host, secret.Name)
		}
		return nil
	}
}
