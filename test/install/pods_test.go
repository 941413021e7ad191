package install_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"testing"
	"time"

	discoveryv1 "k8s.io/api/discovery/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairwaynet/fairway/test/road"
)

// pods are those of a Deployment, and the EndpointSlice of its Service.
type pods struct {
	t       *testing.T
	cluster *installed
	slice   *discoveryv1.EndpointSlice
	running map[string]*http.Server // by address
	made    int
}

// newPods makes a Service with n pods.
func newPods(t *testing.T, i *installed, service string, n int) *pods {
	t.Helper()
	p := &pods{t: t, cluster: i, slice: road.Slice(service), running: map[string]*http.Server{}}
	for range n {
		p.slice.Endpoints = append(p.slice.Endpoints, discoveryv1.Endpoint{Addresses: []string{p.start()}})
	}
	i.create(t, road.Service(service), p.slice)
	return p
}

// start runs one more pod and returns its address. It ends as a well-kept server
// does at SIGTERM: it takes no new connections and ends those that are idle.
func (p *pods) start() string {
	p.t.Helper()
	p.made++
	ip := fmt.Sprintf("10.77.100.%d", p.made)
	listener, err := net.Listen("tcp", net.JoinHostPort(ip, fmt.Sprint(road.BackendPort)))
	if err != nil {
		p.t.Fatal(err)
	}
	server := &http.Server{Handler: road.Named(p.slice.Name)}
	go func() { _ = server.Serve(listener) }()
	p.t.Cleanup(func() { _ = server.Close() })
	p.running[ip] = server
	return ip
}

// lingering is how long a pod serves on when it was told to end, as a preStop
// hook makes it: until everybody has heard of it, with much to spare.
const lingering = 500 * time.Millisecond

// replace puts a new pod in the place of the oldest one, as a rolling update
// does: the new one is ready; the old one is terminating, serves on for a
// moment, ends what is under way on it, and is gone.
func (p *pods) replace() {
	p.t.Helper()
	old := p.slice.Endpoints[0].Addresses[0]
	p.update(func() {
		p.slice.Endpoints = append(p.slice.Endpoints, discoveryv1.Endpoint{Addresses: []string{p.start()}})
	})
	road.Eventually(p.t, patience, answers(p.slice.Endpoints[len(p.slice.Endpoints)-1].Addresses[0]))
	p.update(func() {
		p.slice.Endpoints[0].Conditions = discoveryv1.EndpointConditions{
			Ready: new(false), Serving: new(true), Terminating: new(true),
		}
	})
	<-time.After(lingering)
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
		connection, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "tcp", net.JoinHostPort(ip, fmt.Sprint(road.BackendPort)))
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
