package dns

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
	"k8s.io/client-go/rest"
)

// silencer stands between a server and the API server. Watches that were open when it was told so
// stay open and say nothing more, as one behind a proxy that lost its other side.
type silencer struct {
	mu   sync.Mutex
	open []*stream
}

// stream is the answer to a watch.
type stream struct {
	io.ReadCloser

	silent atomic.Bool
	ended  <-chan struct{}
}

func (s *stream) Read(p []byte) (int, error) {
	n, err := s.ReadCloser.Read(p)
	if s.silent.Load() && err == nil {
		<-s.ended
		return 0, io.EOF
	}
	return n, err
}

func (s *silencer) silence() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, one := range s.open {
		one.silent.Store(true)
	}
}

// proxy serves the API server with the rights of config.
func (s *silencer) proxy(t *testing.T, config *rest.Config) *rest.Config {
	t.Helper()
	transport, err := rest.TransportFor(config)
	if err != nil {
		t.Fatal(err)
	}
	to, err := url.Parse(config.Host)
	if err != nil {
		t.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{
		Transport: transport, FlushInterval: -1, Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(to) },
		ModifyResponse: func(r *http.Response) error {
			if r.Request.URL.Query().Get("watch") != "" {
				one := &stream{ReadCloser: r.Body, ended: r.Request.Context().Done()}
				r.Body = one
				s.mu.Lock()
				s.open = append(s.open, one)
				s.mu.Unlock()
			}
			return nil
		},
	}
	listener := httptest.NewServer(proxy)
	t.Cleanup(func() { listener.CloseClientConnections(); listener.Close() })
	return &rest.Config{Host: listener.URL}
}

// Watches that say nothing more, without an error: a server finds out that it misses a Service, and reads
// everything anew. Meanwhile it goes on answering.
func TestWatchesThatFallSilent(t *testing.T) {
	c := startCluster(t)
	c.Kubectl(t, service("old", "10.96.1.1"), "apply", "-f", "-")
	s := &silencer{}
	kubeconfig, err := c.WriteKubeconfig(s.proxy(t, c.ServiceAccount("kube-system", "fairway-dns")))
	if err != nil {
		t.Fatal(err)
	}
	d := serve(t, c, "--kubeconfig="+kubeconfig, "--look=2s", "--settle=1s").up(t)
	s.silence()
	c.Kubectl(t, service("new", "10.96.1.2"), "apply", "-f", "-")
	began := time.Now()
	eventually(t, 30*time.Second, func() error {
		if got := d.says("old.default.svc.cluster.local", dns.TypeA); got != "10.96.1.1" {
			t.Errorf("after %s a name that was known is %s", time.Since(began), got)
		}
		return d.is("new.default.svc.cluster.local", dns.TypeA, "10.96.1.2")
	})
	t.Logf("found after %s", time.Since(began))
	if stale := d.metric("fairway_dns_stale_total"); stale != "1" {
		t.Errorf("fairway_dns_stale_total is %q, want 1", stale)
	}
}
