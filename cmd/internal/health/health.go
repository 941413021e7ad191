// Package health answers HTTP requests about the process: /healthz says that it runs,
// /readyz that it is ready to serve, and /metrics how it does.
//
// It decides nothing: whoever starts the process says when it is ready. Its invariant:
// /readyz answers 200 only when Ready was called and every check passes.
package health

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Probes answer for one process.
type Probes struct {
	Metrics prometheus.Gatherer
	// Checks are further conditions of readiness. Add none once Serve is called.
	Checks []func(context.Context) error
	// Notes are what a person should know although the process is ready; an empty one
	// is left out.
	Notes []func() string

	ready atomic.Bool
}

// Ready says that the process has begun to serve.
func (p *Probes) Ready() { p.ready.Store(true) }

func (p *Probes) handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(p.Metrics, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		if err := p.unready(r.Context()); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
		for _, note := range p.Notes {
			if text := note(); text != "" {
				fmt.Fprintln(w, "note: "+text)
			}
		}
	})
	return mux
}

// unready is the reason why the process is not ready.
func (p *Probes) unready(ctx context.Context) error {
	if !p.ready.Load() {
		return errors.New("the first configuration is not yet published")
	}
	for _, check := range p.Checks {
		if err := check(ctx); err != nil {
			return err
		}
	}
	return nil
}

// Listen listens on the address of --metrics-address.
func Listen(ctx context.Context, address string) (net.Listener, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("serve --metrics-address: %w", err)
	}
	return listener, nil
}

// Serve answers requests until ctx ends.
func (p *Probes) Serve(ctx context.Context, listener net.Listener) error {
	s := &http.Server{
		Handler:           p.handler(),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    16 << 10,
	}
	ended := make(chan error, 1)
	stop := context.AfterFunc(ctx, func() { ended <- s.Close() })
	err := s.Serve(listener)
	if !stop() {
		err = <-ended
	}
	if err != nil {
		return fmt.Errorf("serve --metrics-address: %w", err)
	}
	return nil
}
