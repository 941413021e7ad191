package fairway

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// address is the target of requests. Any address works with Envoy's port.
const address = "127.0.0.1:8080"

// unanswered is the timeout of one request. A request that a test sends only once
// must not fail by it on a busy machine.
const unanswered = 10 * time.Second

// Answer is what came back of a request.
type Answer struct {
	Status int
	Header http.Header
	Body   string
}

// Get requests a path of a host over a new connection.
func Get(ctx context.Context, host, path string) (Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, unanswered)
	defer cancel()
	transport := &http.Transport{DisableKeepAlives: true, DialContext: dial}
	return get(ctx, transport, host, path)
}

// GetAt is Get for an Envoy that listens on another port.
func GetAt(ctx context.Context, port int, host, path string) (Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, unanswered)
	defer cancel()
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	}
	return get(ctx, &http.Transport{DisableKeepAlives: true, DialContext: dial}, host, path)
}

// dial connects to Envoy, whatever the host.
func dial(ctx context.Context, _, _ string) (net.Conn, error) {
	return (&net.Dialer{}).DialContext(ctx, "tcp", address)
}

// Do is Get with another method and a body.
func Do(ctx context.Context, method, host, path, body string) (Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, unanswered)
	defer cancel()
	transport := &http.Transport{DisableKeepAlives: true, DialContext: dial}
	return do(ctx, transport, method, "http://"+host+path, strings.NewReader(body))
}

func get(ctx context.Context, transport http.RoundTripper, host, path string) (Answer, error) {
	return do(ctx, transport, http.MethodGet, "http://"+host+path, nil)
}

func do(ctx context.Context, transport http.RoundTripper, method, url string, body io.Reader) (Answer, error) {
	request, err := http.NewRequestWithContext(ctx, method, url, body)
	if err != nil {
		return Answer{}, err
	}
	response, err := transport.RoundTrip(request)
	if err != nil {
		return Answer{}, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	return Answer{Status: response.StatusCode, Header: response.Header, Body: string(text)}, err
}

// Answers is a check for Eventually: the backend of that name answers requests
// for host and path.
func Answers(host, path, backend string) func(context.Context) error {
	return func(ctx context.Context) error {
		switch a, err := Get(ctx, host, path); {
		case err != nil:
			return err
		case a.Header.Get("Backend") != backend:
			return fmt.Errorf("%s%s: status %d of backend %q, want backend %q", host, path, a.Status, a.Header.Get("Backend"), backend)
		}
		return nil
	}
}

// Status is a check for Eventually: requests for host and path get the status.
func Status(host, path string, status int) func(context.Context) error {
	return func(ctx context.Context) error {
		switch a, err := Get(ctx, host, path); {
		case err != nil:
			return err
		case a.Status != status:
			return fmt.Errorf("%s%s: status %d of backend %q, want %d", host, path, a.Status, a.Header.Get("Backend"), status)
		}
		return nil
	}
}
