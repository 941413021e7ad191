package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/fairwaynet/fairway/test/pace"
)

// tally is the result of a load, which load prints as JSON when it ends.
type tally struct {
	Sent     int
	Failures int
	Failed   []string // the first failures
	Slowest  float64  // in seconds
	Median   float64
	P99      float64
	Seconds  float64 // how long the load took
}

// The bounds of a load.
const (
	workers     = 16
	ownEvery    = 6 // every sixth request of a worker has a connection of its own
	mostFailed  = 20
	mostLatency = 1 << 20 // requests whose time is kept
)

// load sends requests at an even rate, to one URL after the other, until it is told to end.
// It never retries.
func load(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("load", flag.ContinueOnError)
	rate := flags.Float64("rate", 100, "requests a second")
	host := flags.String("host", "", "header Host")
	at := flags.String("at", "", "address that is called in place of the URLs' hosts")
	roots := flags.String("cacert", "", "file of the certificates that verify servers'; empty: the system's")
	if err := flags.Parse(args); err != nil {
		return err
	}
	l := &loader{urls: flags.Args(), host: *host, at: *at}
	if len(l.urls) == 0 {
		return errors.New("load: give URLs")
	}
	if *roots != "" {
		pem, err := os.ReadFile(*roots)
		if err != nil {
			return fmt.Errorf("load: %w", err)
		}
		l.roots = x509.NewCertPool()
		l.roots.AppendCertsFromPEM(pem)
	}
	took := pace.Run(ctx, *rate, workers, func(due <-chan int) { l.work(ctx, due) })
	return json.NewEncoder(os.Stdout).Encode(l.result(took))
}

// loader counts what clients see.
type loader struct {
	urls  []string
	host  string
	at    string
	roots *x509.CertPool

	mu    sync.Mutex
	tally tally
	took  []float64
}

func (l *loader) work(ctx context.Context, due <-chan int) {
	trust := &tls.Config{RootCAs: l.roots, MinVersion: tls.VersionTLS12}
	kept := &http.Transport{MaxIdleConnsPerHost: 1, TLSClientConfig: trust, DialContext: l.dial}
	defer kept.CloseIdleConnections()
	own := &http.Transport{DisableKeepAlives: true, TLSClientConfig: trust, DialContext: l.dial}
	for n := range due {
		transport := kept
		if n/workers%ownEvery == 0 {
			transport = own
		}
		began := time.Now()
		err := l.ask(context.WithoutCancel(ctx), transport, l.urls[n%len(l.urls)], n%2 == 0)
		l.count(began, err)
	}
}

// dial connects to an address, or to the one that is called in its place.
func (l *loader) dial(ctx context.Context, network, address string) (net.Conn, error) {
	if l.at != "" {
		_, port, err := net.SplitHostPort(address)
		if err != nil {
			return nil, err
		}
		address = net.JoinHostPort(l.at, port)
	}
	return (&net.Dialer{}).DialContext(ctx, network, address)
}

// ask sends one request, with or without a body, and reads the answer to its last byte.
func (l *loader) ask(ctx context.Context, transport http.RoundTripper, url string, body bool) error {
	ctx, cancel := context.WithTimeout(ctx, 2*patience)
	defer cancel()
	method, content := http.MethodGet, io.Reader(http.NoBody)
	if body {
		method, content = http.MethodPost, strings.NewReader("a body")
	}
	request, err := http.NewRequestWithContext(ctx, method, url, content)
	if err != nil {
		return err
	}
	request.Host = l.host
	response, err := transport.RoundTrip(request)
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, url, err)
	}
	_, err = io.Copy(io.Discard, response.Body)
	if err := errors.Join(err, response.Body.Close()); err != nil {
		return fmt.Errorf("%s %s: %w", method, url, err)
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s %s: %s", method, url, response.Status)
	}
	return nil
}

func (l *loader) count(began time.Time, err error) {
	took := time.Since(began).Seconds()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tally.Sent++
	l.tally.Slowest = max(l.tally.Slowest, took)
	if len(l.took) < mostLatency {
		l.took = append(l.took, took)
	}
	if err == nil {
		return
	}
	if l.tally.Failures++; l.tally.Failures <= mostFailed {
		l.tally.Failed = append(l.tally.Failed, fmt.Sprintf("%s after %.3f s: %v", began.Format(time.TimeOnly), took, err))
	}
}

func (l *loader) result(took time.Duration) tally {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tally.Seconds = took.Seconds()
	if len(l.took) > 0 {
		slices.Sort(l.took)
		l.tally.Median = l.took[len(l.took)/2]
		l.tally.P99 = l.took[len(l.took)*99/100]
	}
	return l.tally
}
