package obstacle

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"github.com/fairwaynet/fairway/tls/challenge"
)

const (
	httpPort  = 80
	httpsPort = 443
	// maxRedirects is less than authorities follow: only those to the same place
	// over HTTPS are.
	maxRedirects = 3
	maxServer    = 40 // bytes of a Server header that are repeated
)

// askHTTP asks an address as an authority does. wrong describes an answer that is not
// ours; err is the reason why nothing is known.
func (c *Checker) askHTTP(ctx context.Context, ch challenge.Challenge, address netip.Addr) (wrong string, err error) {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	response, err := c.get(ctx, ch, address)
	if errors.Is(err, errElsewhere) {
		return "", errElsewhere // which does not repeat the place
	}
	if err != nil {
		return "", fmt.Errorf("ask %s at %s: %w", ch.Name, address, err)
	}
	defer response.Body.Close()
	at := fmt.Sprintf("http://%s%s at %s", ch.Name, challenge.PathPrefix+"…", address)
	if response.StatusCode != http.StatusOK {
		return fmt.Sprintf("%s answers %d%s, not the challenge: does DNS lead to another server?", at, response.StatusCode, serverOf(response)), nil
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, int64(len(ch.KeyAuthorization))+64))
	if err != nil {
		return "", fmt.Errorf("ask %s at %s: %w", ch.Name, address, err)
	}
	if strings.TrimRight(string(body), " \t\r\n") != ch.KeyAuthorization {
		return fmt.Sprintf("%s answers 200%s, but something else than the challenge: does DNS lead to another server?", at, serverOf(response)), nil
	}
	return "", nil
}

// errElsewhere is of a redirect to another place. An authority may follow it. We do
// not: whoever owns the name chooses that place.
var errElsewhere = errors.New("the answer is a redirect to another place, which is not followed") // a constant

// get asks for the path of a challenge.
func (c *Checker) get(ctx context.Context, ch challenge.Challenge, address netip.Addr) (*http.Response, error) {
	transport := &http.Transport{
		Proxy:             nil,
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, to string) (net.Conn, error) {
			if strings.HasSuffix(to, fmt.Sprint(":", httpsPort)) {
				return c.dial(ctx, address, httpsPort)
			}
			return c.dial(ctx, address, httpPort)
		},
		// As authorities do: the name may have no valid certificate yet.
		TLSClientConfig:        &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // see above
		MaxResponseHeaderBytes: 16 << 10,
	}
	client := &http.Client{Transport: transport, CheckRedirect: func(next *http.Request, before []*http.Request) error {
		if len(before) > maxRedirects || !isSamePlace(next.URL, ch) {
			return errElsewhere
		}
		return nil
	}}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+ch.Name+ch.Path(), nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set("User-Agent", "fairway-self-check")
	return client.Do(request)
}

// isSamePlace reports whether a redirect leads to the challenge's own path, over
// HTTP or HTTPS at their usual ports.
func isSamePlace(to *url.URL, ch challenge.Challenge) bool {
	port := to.Port()
	usual := to.Scheme == "http" && (port == "" || port == "80") || to.Scheme == "https" && (port == "" || port == "443")
	return usual && to.User == nil && strings.EqualFold(to.Hostname(), ch.Name) && to.Path == ch.Path()
}

// serverOf is the server's name as its answer gives it.
func serverOf(response *http.Response) string {
	name := strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return -1
		}
		return r
	}, response.Header.Get("Server"))
	if name == "" {
		return ""
	}
	return fmt.Sprintf(" (%s)", name[:min(len(name), maxServer)])
}

// askTLS asks an address for the certificate of TLS-ALPN-01.
func (c *Checker) askTLS(ctx context.Context, ch challenge.Challenge, address netip.Addr) (wrong string, err error) {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	connection, err := c.dial(ctx, address, httpsPort)
	if err != nil {
		return "", fmt.Errorf("ask %s at %s: %w", ch.Name, address, err)
	}
	defer connection.Close() //nolint:errcheck // all is said
	client := tls.Client(connection, &tls.Config{
		ServerName:         ch.Name,
		NextProtos:         []string{challenge.ProtocolTLSALPN},
		InsecureSkipVerify: true, //nolint:gosec // the certificate is looked at below
		MinVersion:         tls.VersionTLS12,
	})
	err = client.HandshakeContext(ctx)
	at := fmt.Sprintf("a TLS handshake for %s at %s", ch.Name, address)
	var said *net.OpError
	switch {
	case errors.As(err, &said) && said.Op == "remote error": // an alert
		return fmt.Sprintf("%s is refused (%v): does DNS lead to another server?", at, said.Err), nil
	case err != nil:
		return "", fmt.Errorf("ask %s at %s: %w", ch.Name, address, err)
	}
	state := client.ConnectionState()
	if state.NegotiatedProtocol != challenge.ProtocolTLSALPN || len(state.PeerCertificates) == 0 || !ch.Answers(state.PeerCertificates[0]) {
		return at + " is answered with a certificate that is not the challenge's: does DNS lead to another server?", nil
	}
	return "", nil
}
