package acme

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/fairwaynet/fairway/tls/certificate"
)

const (
	// callTimeout bounds one request with its answer.
	callTimeout = 30 * time.Second
	// maxBody bounds an answer: the largest is a chain of certificates, some KiB.
	maxBody = 1 << 20
	// maxRedirects bounds how often the authority may send a question elsewhere.
	maxRedirects = 3
)

// errTooLarge ends the reading of a body that is larger than maxBody.
var errTooLarge = fmt.Errorf("the answer is larger than %d bytes", maxBody)

// httpClient is an HTTP client whose calls end, even if the server does not answer
// or sends without end.
func httpClient(caBundle []byte, transport http.RoundTripper) *http.Client {
	if transport == nil {
		transport = newTransport(caBundle)
	}
	return &http.Client{Transport: bounded{transport}, Timeout: callTimeout, CheckRedirect: redirect}
}

func newTransport(caBundle []byte) http.RoundTripper {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if len(caBundle) > 0 {
		config.RootCAs = x509.NewCertPool()
		roots, _ := certificate.ParseAuthorities(caBundle) // Settings.Fault has looked
		config.RootCAs.AppendCertsFromPEM(roots)
	}
	dialer := net.Dialer{Timeout: 10 * time.Second}
	return &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            dialer.DialContext,
		TLSClientConfig:        config,
		TLSHandshakeTimeout:    10 * time.Second,
		ForceAttemptHTTP2:      true,
		MaxIdleConns:           4,
		IdleConnTimeout:        time.Minute,
		MaxResponseHeaderBytes: 64 << 10,
	}
}

// redirect follows redirects of GET and HEAD only: a signature is for one URL.
func redirect(r *http.Request, via []*http.Request) error {
	switch {
	case r.URL.Scheme != "https":
		return errors.New("the issuer redirects to a URL that is not https")
	case via[0].Method == http.MethodPost || len(via) > maxRedirects:
		return http.ErrUseLastResponse
	}
	return nil
}

// bounded is a transport that bounds the bodies of responses.
type bounded struct{ http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	answer, err := b.RoundTripper.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	answer.Body = &boundedBody{answer.Body, maxBody}
	return answer, nil
}

type boundedBody struct {
	io.ReadCloser
	left int
}

// Read implements io.Reader.
func (b *boundedBody) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, errTooLarge
	}
	if len(p) > b.left {
		p = p[:b.left]
	}
	n, err := b.ReadCloser.Read(p)
	b.left -= n
	return n, err
}
