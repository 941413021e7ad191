package install_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	discoveryv1 "k8s.io/api/discovery/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairwaynet/fairway/test/fairway"
)

// pods are those of a Deployment, and the EndpointSlice of its Service.
type pods struct {
	t       *testing.T
	cluster *installed
	slice   *discoveryv1.EndpointSlice
	running map[string]*pod // by address
	made    int
}

// pod is a server that knows when it was asked last.
type pod struct {
	http.Server

	asked atomic.Int64 // nanoseconds since 1970
}

// left is the time without a request after which a pod counts as left by all
// Envoys. Under load each of three pods gets a request every few milliseconds.
const left = 300 * time.Millisecond

// isLeft is a check for fairway.Eventually: the pod gets no requests any more.
func (p *pod) isLeft(context.Context) error {
	if ago := time.Since(time.Unix(0, p.asked.Load())); ago < left {
		return fmt.Errorf("a pod that is terminating was asked %s ago", ago)
	}
	return nil
}

// newPods makes a Service with n pods.
func newPods(t *testing.T, i *installed, service string, n int) *pods {
	t.Helper()
	p := &pods{t: t, cluster: i, slice: fairway.Slice(service), running: map[string]*pod{}}
	for range n {
		p.slice.Endpoints = append(p.slice.Endpoints, discoveryv1.Endpoint{Addresses: []string{p.start()}})
	}
	i.create(t, fairway.Service(service), p.slice)
	return p
}

// start runs one more pod and returns its address. It ends as a well-kept server
// does at SIGTERM: it takes no new connections and ends those that are idle.
func (p *pods) start() string {
	p.t.Helper()
	p.made++
	ip := fmt.Sprintf("10.77.100.%d", p.made)
	listener, err := net.Listen("tcp", net.JoinHostPort(ip, fmt.Sprint(fairway.BackendPort)))
	if err != nil {
		p.t.Fatal(err)
	}
	started, named := &pod{}, fairway.Named(p.slice.Name)
	started.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		started.asked.Store(time.Now().UnixNano())
		named.ServeHTTP(w, r)
	})
	go func() { _ = started.Serve(listener) }()
	p.t.Cleanup(func() { _ = started.Close() })
	p.running[ip] = started
	return ip
}

// replace puts a new pod in the place of the oldest one, as a rolling update
// does: the new one is ready; the old one is terminating, serves on until
// everybody has heard of it, as a preStop hook makes it, ends what is under way
// on it, and is gone.
func (p *pods) replace() {
	p.t.Helper()
	old := p.slice.Endpoints[0].Addresses[0]
	p.update(func() {
		p.slice.Endpoints = append(p.slice.Endpoints, discoveryv1.Endpoint{Addresses: []string{p.start()}})
	})
	fairway.Eventually(p.t, patience, answers(p.slice.Endpoints[len(p.slice.Endpoints)-1].Addresses[0]))
	p.update(func() {
		p.slice.Endpoints[0].Conditions = discoveryv1.EndpointConditions{
			Ready: new(false), Serving: new(true), Terminating: new(true),
		}
	})
	fairway.Eventually(p.t, patience, p.running[old].isLeft)
	ctx, cancel := context.WithTimeout(p.t.Context(), patience)
	defer cancel()
	if err := p.running[old].Shutdown(ctx); err != nil {
		p.t.Errorf("end pod %s: %v", old, err)
	}
	p.update(func() { p.slice.Endpoints = p.slice.Endpoints[1:] })
}

func (p *pods) update(change func()) {
	p.t.Helper()
	change()
	if err := p.cluster.client.Update(p.t.Context(), p.slice); err != nil {
		p.t.Fatal(err)
	}
}

func answers(ip string) func(context.Context) error {
	return func(ctx context.Context) error {
		connection, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "tcp", net.JoinHostPort(ip, fmt.Sprint(fairway.BackendPort)))
		if err != nil {
			return err
		}
		return connection.Close()
	}
}

func (i *installed) create(t *testing.T, objects ...client.Object) {
	t.Helper()
	for _, o := range objects {
		if err := i.client.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
}
