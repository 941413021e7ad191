package main

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

// probes answer for the process: /healthz says that it runs, /readyz that it is
// ready to serve, and /metrics how it does.
type probes struct {
	metrics prometheus.Gatherer
	ready   atomic.Bool
	checks  []func(context.Context) error // further conditions of readiness
}

func (p *probes) handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(p.metrics, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		if err := p.unready(r.Context()); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	})
	return mux
}

// unready is the reason why the process is not ready.
func (p *probes) unready(ctx context.Context) error {
	if !p.ready.Load() {
		return errors.New("the first configuration is not yet published")
	}
	for _, check := range p.checks {
		if err := check(ctx); err != nil {
			return err
		}
	}
	return nil
}

// listenProbes listens on the address of --metrics-address.
func listenProbes(ctx context.Context, address string) (net.Listener, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("serve --metrics-address: %w", err)
	}
	return listener, nil
}

// serve answers requests until ctx ends.
func (p *probes) serve(ctx context.Context, listener net.Listener) error {
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
