package health_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/fairwaynet/fairway/cmd/internal/health"
)

func TestAProcessIsReadyWhenItSaysSoAndEveryCheckPasses(t *testing.T) {
	var gone atomic.Bool
	p := &health.Probes{
		Metrics: prometheus.NewRegistry(),
		Checks: []func(context.Context) error{func(context.Context) error {
			if gone.Load() {
				return errors.New("Envoy is gone")
			}
			return nil
		}},
	}
	listener, err := health.Listen(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- p.Serve(ctx, listener) }()
	client := http.Client{Timeout: 10 * time.Second}
	answers := func(path string, status int, text string) {
		t.Helper()
		response, err := client.Get("http://" + listener.Addr().String() + path)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		if err != nil || response.StatusCode != status || !strings.Contains(string(body), text) {
			t.Errorf("%s answers %d %q, %v; want %d %q", path, response.StatusCode, body, err, status, text)
		}
	}
	answers("/healthz", 200, "ok")
	answers("/readyz", 503, "the first configuration is not yet published")
	p.Ready()
	answers("/readyz", 200, "ok")
	gone.Store(true)
	answers("/readyz", 503, "Envoy is gone")
	answers("/metrics", 200, "")
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
