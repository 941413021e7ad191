// Package challenge tests what certificate authorities see of two replicas of
// the controller and two Envoys: challenges are written as the leader writes
// them, and asked for as authorities ask.
package challenge_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairwaynet/fairway/controllers/certificates/challenge"
	"github.com/fairwaynet/fairway/controllers/replicas/replica"
	"github.com/fairwaynet/fairway/test/fairway"
	"github.com/fairwaynet/fairway/test/netns"
	tlschallenge "github.com/fairwaynet/fairway/tls/challenge"
	"github.com/fairwaynet/fairway/xds/route"
	"github.com/fairwaynet/fairway/xds/server"
)

func TestMain(m *testing.M) { netns.Main(m, fairway.Network) }

const (
	// patience is how long a change may take on a machine that is busy otherwise.
	patience = 30 * time.Second

	class      = "public"
	namespace  = "fairway-system" // of the controllers
	challenges = tlschallenge.PathPrefix
)

// stage is an installation with two replicas, two Envoys, backends, and an observer that
// reads the replicas' Leases as the leader does, with a Lease of its own: seeing
// that one renewed tells it that it is not blind.
type stage struct {
	*testing.T

	fairway    *fairway.Installation
	everywhere challenge.AllReplicas
}

func start(t *testing.T, options fairway.Options) *stage {
	t.Helper()
	options.Replicas, options.Pinned = 2, true
	options.Flags = append(options.Flags, "--public-http-port=80", "--public-https-port=443") // as authorities use
	options.Before = func(r *fairway.Installation) { r.Create(t, fairway.Class(class)) }
	s := &stage{T: t, fairway: fairway.Start(t, options)}
	clients, err := kubernetes.NewForConfig(s.fairway.Cluster.Config)
	if err != nil {
		t.Fatal(err)
	}
	tracker := &replica.Tracker{Hosts: nobody{}}
	view := &replica.View{Identity: "test", Tracker: tracker, Log: logr.Discard()}
	s.everywhere = challenge.AllReplicas{View: view}
	lease := replica.NewLease(&replica.Lease{
		Leases: clients.CoordinationV1(), Namespace: namespace, Identity: "test", Tracker: tracker, Log: logr.Discard(),
		Envoys: func() []server.EnvoyState { return nil },
	})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- replica.Watch(ctx, clients.CoordinationV1(), namespace, "", view) }()
	go func() { ended <- lease.Start(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := errors.Join(<-ended, <-ended); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("what happened last:\n%s", s.fairway.Timeline.Last(100))
		}
	})
	return s
}

// nobody serves anything: the observer has no Envoys.
type nobody struct{}

func (nobody) Host(route.Key) server.HostState { return server.HostState{} }

// in is the stage for a subtest.
func (s *stage) in(t *testing.T) *stage {
	return &stage{T: t, fairway: s.fairway, everywhere: s.everywhere}
}

// backend is a Service that names itself in its answers.
func (s *stage) backend(name string) {
	s.Helper()
	ip := s.fairway.Address()
	fairway.Backend(s, name, ip)
	s.fairway.Create(s, fairway.Service(name), fairway.Slice(name, ip))
}

// of is an HTTP-01 challenge of the default gateway.
func of(name, token string) tlschallenge.Challenge {
	return tlschallenge.Challenge{
		Gateway: "default", Type: tlschallenge.HTTP01, Name: name, Token: token, KeyAuthorization: token + ".thumbprint",
	}
}

// order writes the Secret of an order, as the leader does, until the test ends.
func (s *stage) order(name string, challenges ...tlschallenge.Challenge) *corev1.Secret {
	s.Helper()
	text, err := tlschallenge.Encode(challenges)
	if err != nil {
		s.Fatal(err)
	}
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace, Name: "fairway-order-" + name, Labels: map[string]string{tlschallenge.SecretLabel: "true"},
		},
		Type: tlschallenge.SecretType,
		Data: map[string][]byte{tlschallenge.SecretKey: text, "order.json": []byte("{}")},
	}
	s.fairway.Create(s, secret)
	s.Cleanup(func() {
		if err := client.IgnoreNotFound(s.fairway.Client.Delete(context.Background(), secret)); err != nil {
			s.Error(err)
		}
	})
	return secret
}

// over deletes the Secret of an order.
func (s *stage) over(secret *corev1.Secret) {
	s.Helper()
	if err := s.fairway.Client.Delete(s.Context(), secret); err != nil {
		s.Fatal(err)
	}
}

// presented is a check for Eventually: all replicas say that they answer.
func (s *stage) presented(c tlschallenge.Challenge) func(context.Context) error {
	return func(ctx context.Context) error {
		// The observer is no replica: it has to say yes, whatever is asked.
		s.everywhere.View.Tracker.Challenges = func() []string { return []string{c.Digest()} }
		ok, why, err := s.everywhere.Presented(ctx, c)
		if err == nil && !ok {
			err = fmt.Errorf("%s is not presented: %s", c, why)
		}
		return err
	}
}

// absent is a check for Eventually: some replica does not say so.
func (s *stage) absent(c tlschallenge.Challenge) func(context.Context) error {
	return func(ctx context.Context) error {
		ok, _, err := s.everywhere.Presented(ctx, c)
		if err == nil && ok {
			err = fmt.Errorf("%s is presented still", c)
		}
		return err
	}
}

// answered asks for a challenge often enough to reach every Envoy.
func (s *stage) answered(c tlschallenge.Challenge) {
	s.Helper()
	for range 12 {
		a, err := fairway.Get(s.Context(), c.Name, c.Path())
		if err != nil || a.Status != http.StatusOK || a.Body != c.KeyAuthorization || a.Header.Get("Content-Type") != "text/plain" {
			s.Fatalf("%s: %d %q as %q, %v", c, a.Status, a.Body, a.Header.Get("Content-Type"), err)
		}
	}
}
