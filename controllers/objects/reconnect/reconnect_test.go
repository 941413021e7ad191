package reconnect_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"
	"k8s.io/client-go/rest"

	"github.com/fairwaynet/fairway/controllers/objects/reconnect"
	"github.com/fairwaynet/fairway/test/freeport"
)

const (
	watchPath = "/apis/networking.k8s.io/v1/ingresses?watch=true"
	listPath  = "/apis/networking.k8s.io/v1/ingresses?limit=500&resourceVersion=0"
	getPath   = "/apis/networking.k8s.io/v1/namespaces/default/ingresses/shop"
)

// said is a log.
type said struct {
	mu    sync.Mutex
	lines []string
}

func (s *said) logger() logr.Logger {
	return funcr.New(func(_, args string) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.lines = append(s.lines, args)
	}, funcr.Options{})
}

func (s *said) all() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lines
}

// away is an address at which no server listens until later.
type away struct {
	address string
	url     string
}

func newAway(t *testing.T) *away {
	t.Helper()
	address := fmt.Sprintf("127.0.0.1:%d", freeport.Get(t))
	return &away{address: address, url: "http://" + address}
}

func (a *away) comes(t *testing.T) {
	t.Helper()
	l, err := net.Listen("tcp", a.address)
	if err != nil {
		t.Fatal(err)
	}
	server := &httptest.Server{Listener: l, Config: &http.Server{
		Handler:           http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) }),
		ReadHeaderTimeout: time.Second,
	}}
	server.Start()
	t.Cleanup(server.Close)
}

func retryingTransport(t *testing.T, host string, log logr.Logger) func(context.Context, string) (int, error) {
	t.Helper()
	config := &rest.Config{Host: host}
	reconnect.RetryWatches(config, log)
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		t.Fatal(err)
	}
	return func(ctx context.Context, path string) (int, error) {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, host+path, nil)
		if err != nil {
			return 0, err
		}
		response, err := client.Do(request)
		if err != nil {
			return 0, err
		}
		return response.StatusCode, response.Body.Close()
	}
}

func TestWatchesWaitForTheServer(t *testing.T) {
	log := &said{}
	server := newAway(t)
	get := retryingTransport(t, server.url, log.logger())
	type answer struct {
		status int
		err    error
	}
	answers := make(chan answer, 2)
	for _, path := range []string{watchPath, listPath} {
		go func() {
			status, err := get(t.Context(), path)
			answers <- answer{status, err}
		}()
	}
	// A client that asks for one object decides itself how long it waits.
	if _, err := get(t.Context(), getPath); err == nil {
		t.Error("who asks nobody for an object gets an answer")
	}
	select {
	case early := <-answers:
		t.Fatalf("a watch of nobody gives %d, %v", early.status, early.err)
	case <-time.After(1500 * time.Millisecond): // more than one try
	}
	server.comes(t)
	for range 2 {
		if a := <-answers; a.err != nil || a.status != http.StatusOK {
			t.Errorf("when the server is there a watch gives %d, %v", a.status, a.err)
		}
	}
	lines := log.all()
	if len(lines) != 2 || !strings.Contains(lines[0], "cannot be reached") || !strings.Contains(lines[1], "again") {
		t.Errorf("the log says\n%s\nwant one line when it is away, one when it is back", strings.Join(lines, "\n"))
	}
}

func TestWatchesEndWithTheirCaller(t *testing.T) {
	log := &said{}
	get := retryingTransport(t, newAway(t).url, log.logger())
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	began := time.Now()
	if _, err := get(ctx, watchPath); err == nil {
		t.Error("a watch of nobody gives an answer")
	}
	if took := time.Since(began); took > 15*time.Second {
		t.Errorf("it ends %s after it began, its caller after 100 ms", took)
	}
	if lines := log.all(); len(lines) != 1 {
		t.Errorf("the log says %q, want only that the server is away", lines)
	}
}

// A failure that waiting does not mend is returned at once, and so is one where
// retrying would be a load.
func TestWatchesDoNotWaitForAServerThatIsThere(t *testing.T) {
	untrusted := httptest.NewTLSServer(http.NotFoundHandler())
	t.Cleanup(untrusted.Close)
	closing := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	}))
	t.Cleanup(closing.Close)
	for url, want := range map[string]string{untrusted.URL: "certificate", closing.URL: "EOF"} {
		log := &said{}
		_, err := retryingTransport(t, url, log.logger())(t.Context(), watchPath)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("the error is %v, want one with %q", err, want)
		}
		if lines := log.all(); len(lines) > 0 {
			t.Errorf("the log says it is away: %v", lines)
		}
	}
}

// A proxy that is away counts as a server that is away.
func TestWatchesWaitForTheProxy(t *testing.T) {
	proxy := newAway(t)
	config := &rest.Config{Host: "https://api.test", Proxy: func(*http.Request) (*url.URL, error) { return url.Parse(proxy.url) }}
	log := &said{}
	reconnect.RetryWatches(config, log.logger())
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://api.test"+watchPath, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := client.Do(request)
	if err == nil {
		_ = response.Body.Close()
		t.Fatal("a proxy that is away gives an answer")
	}
	if lines := log.all(); len(lines) != 1 {
		t.Errorf("the log says %q, want that the server is away", lines)
	}
}
