package strangers_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/fairwaynet/fairway/test/fairway"
	"github.com/fairwaynet/fairway/xds/route"
	"github.com/fairwaynet/fairway/xds/server"
)

// buffer is what was written so far.
type buffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// TestAHostThatNobodyServes is answered the same by every listener, in every
// version of HTTP, however it is spelled; and so it is logged.
func TestAHostThatNobodyServes(t *testing.T) {
	log := &buffer{}
	s := newSite(t, options{
		stdout:   log,
		settings: func(s *route.Settings) { s.HTTPSPort, s.TLS.HTTP3 = 8443, true },
		publish:  func(ads *server.Server) { secure(t, ads) },
	})
	fairway.Eventually(s, patience, func(ctx context.Context) error {
		h := fairway.NewHTTP3("other.test")
		defer h.Close()
		_, _, err := h.Get(ctx, "other.test", "/")
		return err
	})
	// Without a server name (an address is none) a client gets the default certificate.
	insecure := &tls.Config{ServerName: "127.0.0.1", InsecureSkipVerify: true}
	overTLS := func(next string) *tls.Config {
		config := insecure.Clone()
		config.NextProtos = []string{next}
		return config
	}
	var logged []func() error
	for _, by := range []struct {
		protocol, scheme string
		transport        http.RoundTripper
	}{
		{"HTTP/1.1", "http", &http.Transport{DisableKeepAlives: true}},
		{"HTTP/2", "http", &http.Transport{Protocols: onlyHTTP2(), DialContext: dial}},
		{"HTTP/1.1", "https", &http.Transport{TLSClientConfig: overTLS("http/1.1"), DisableKeepAlives: true}},
		{"HTTP/2", "https", &http.Transport{TLSClientConfig: overTLS("h2"), ForceAttemptHTTP2: true}},
		{"HTTP/3", "https", nil},
	} {
		for _, host := range []string{
			"other.test", "other.test:80", "Other.TEST", "other.test.", "a.b.wild.test", "wild.test", "127.0.0.1", "[::1]:8080", "a.other.test",
		} {
			path := fmt.Sprintf("/%d", len(logged))
			status, text, err := askAs(t, by.transport, by.scheme, host, path)
			if err != nil || status != http.StatusNotFound || text != "No site is served under this name.\n" {
				t.Errorf("%s over %s, host %q: %d %q %v", by.protocol, by.scheme, host, status, text, err)
			}
			logged = append(logged, func() error { return loggedAs(log, path, host, by.protocol) })
		}
	}
	fairway.Eventually(s, patience, func(context.Context) error {
		var errs []error
		for _, as := range logged {
			errs = append(errs, as())
		}
		return errors.Join(errs...)
	})
	// A path that nobody serves is something else: its host is there.
	conn := &http.Transport{DisableKeepAlives: true}
	if status, text, err := askAs(t, conn, "http", "only.test", "/elsewhere"); err != nil || status != 404 || text != "Nothing is served at this path.\n" {
		t.Errorf("a path that nobody serves: %d %q %v", status, text, err)
	}
}

// askAs asks for a host's path; without a transport over HTTP/3.
func askAs(t *testing.T, transport http.RoundTripper, scheme, host, path string) (status int, text string, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if transport == nil {
		h := fairway.NewHTTP3("other.test")
		defer h.Close()
		answer, _, err := h.Get(ctx, host, path)
		return answer.Status, answer.Body, err
	}
	at := map[string]string{"http": address, "https": addressTLS}[scheme]
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, scheme+"://"+at+path, nil)
	if err != nil {
		return 0, "", err
	}
	request.Host = host
	response, err := transport.RoundTrip(request)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return response.StatusCode, string(body), err
}

// loggedAs is nil once the access log says that there is no such host.
func loggedAs(log *buffer, path, host, protocol string) error {
	for text := range strings.Lines(log.String()) {
		var line map[string]any
		if err := json.Unmarshal([]byte(text), &line); err != nil || line["path"] != path {
			continue
		}
		if ingress, said := line["ingress"]; !said || ingress != nil || line["flags"] != "NR" || line["host"] != host || line["protocol"] != protocol {
			return fmt.Errorf("host %q is logged as %s", host, text)
		}
		return nil
	}
	return fmt.Errorf("host %q is not logged", host)
}

// onlyHTTP2 is HTTP/2 without TLS, by prior knowledge.
func onlyHTTP2() *http.Protocols {
	p := &http.Protocols{}
	p.SetUnencryptedHTTP2(true)
	return p
}
