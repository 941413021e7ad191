package replica

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/fairwaynet/fairway/xds/server"
)

// connection is the connection between a replica and the API server.
type connection struct {
	mu     sync.Mutex
	cut    bool
	silent bool // requests get no answer rather than a refusal
}

func (r *connection) set(cut, silent bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cut, r.silent = cut, silent
}

func (r *connection) react(clienttesting.Action) (bool, runtime.Object, error) {
	r.mu.Lock()
	cut, silent := r.cut, r.silent
	r.mu.Unlock()
	if cut && silent {
		time.Sleep(writing) //nolint:forbidigo // a request that is not answered ends with its time; the clock is synctest's
		return true, nil, context.DeadlineExceeded
	}
	return cut, nil, errors.New("connection refused")
}

// Whenever the connection to the API server is cut, Envoys are sent away in time.
// Before the Lease expires for the other replicas, the Envoys have as many seconds
// as the others give Envoys without a controller. They are not sent away before
// that is needed.
func TestEnvoysAreHandedOverBeforeTheLeaseHasExpired(t *testing.T) {
	for _, silent := range []bool{false, true} {
		for at := range 6 {
			synctest.Test(t, func(t *testing.T) { cutAt(t, time.Duration(at)*500*time.Millisecond, silent) })
		}
	}
}

// moment is when something happened last.
type moment struct {
	mu sync.Mutex
	at time.Time
}

func (m *moment) isNow() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.at = time.Now()
}

func (m *moment) get() time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.at
}

func cutAt(t *testing.T, at time.Duration, silent bool) {
	clients, cable := fake.NewClientset(), &connection{}
	clients.PrependReactor("patch", "leases", cable.react)
	var lost, found moment
	var sent atomic.Bool // the Envoy is away
	tracker := &Tracker{Hosts: hostless{}}
	contact := NewContact(logr.Discard(), func(time.Time) { lost.isNow(); sent.Store(true) }, found.isNow)
	sent.Store(false)
	if lost.get().IsZero() || contact.Err() == nil {
		t.Error("it is in contact before its Lease was ever written")
	}
	var reconnected atomic.Int32
	lease := NewLease(&Lease{
		Leases: clients.CoordinationV1(), Namespace: "fairway-system", Identity: "own", Log: logr.Discard(),
		Tracker: tracker, Envoys: func() []server.EnvoyState {
			if sent.Load() {
				return nil
			}
			return []server.EnvoyState{{Gateway: "g", Node: "n", Synced: true}}
		},
		Contact: contact, Reconnect: func() { reconnected.Add(1) },
	})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- lease.Start(ctx) }()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	<-time.After(time.Minute + at)
	synctest.Wait()
	if err := contact.Err(); err != nil || found.get().IsZero() || lost.get().After(found.get()) {
		t.Fatalf("while it is in contact: %v", err)
	}

	cable.set(true, silent)
	got, err := clients.CoordinationV1().Leases("fairway-system").Get(ctx, "fairway-controller-own", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	expires := got.Spec.RenewTime.Add(Duration) // the other replicas' clock is the same here
	<-time.After(time.Minute)
	synctest.Wait()
	if early := expires.Sub(lost.get()); !lost.get().After(found.get()) || early < homecoming-time.Millisecond || early > homecoming+time.Second {
		t.Errorf("cut at %s, silent %t: lost contact %s before the Lease expires, want %s", at, silent, early, homecoming)
	}
	if err := contact.Err(); err == nil || !strings.Contains(err.Error(), "cut off from the API server for 1m") {
		t.Errorf("after a minute: %v", err)
	}
	if silent != (reconnected.Load() > 10) {
		t.Errorf("silent %t: connections were given up %d times", silent, reconnected.Load())
	}

	cable.set(false, false)
	mended := time.Now()
	<-time.After(writing + again + time.Second)
	synctest.Wait()
	// No other replica may know of the Envoy yet.
	if got := tracker.Report().Gateways["g"]; got.Awaited != 1 {
		t.Errorf("a moment after it is in contact again: %+v", got)
	}
	<-time.After(10 * time.Second)
	synctest.Wait()
	if got := tracker.Report().Gateways["g"]; got.Awaited != 0 || got.Envoys != 0 {
		t.Errorf("after it has had the time to come: %+v", got)
	}
	if took := found.get().Sub(mended); contact.Err() != nil || took < 0 || took > writing+again {
		t.Errorf("in contact again after %s: %v", took, contact.Err())
	}
}

// A renewal whose answer comes too late says nothing about now.
func TestALateAnswerIsNoContact(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		contact := NewContact(logr.Discard(), func(time.Time) {}, func() { t.Error("found") })
		began := time.Now()
		<-time.After(reign)
		contact.renewed(began)
		if contact.Err() == nil {
			t.Error("it counts as contact")
		}
	})
}

// What needs contact runs with it and not without.
func TestWhileInContact(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		contact := NewContact(logr.Discard(), func(time.Time) {}, func() {})
		contact.failed(apierrors.NewUnauthorized("no"))
		ctx, cancel := context.WithCancel(t.Context())
		var runs atomic.Int32
		var running atomic.Bool
		ended := make(chan error)
		go func() {
			ended <- contact.While(ctx, func(ctx context.Context) error {
				runs.Add(1)
				running.Store(true)
				<-ctx.Done()
				running.Store(false)
				return nil
			})
		}()
		want := func(n int32, is bool) {
			t.Helper()
			synctest.Wait()
			if runs.Load() != n || running.Load() != is {
				t.Errorf("%d runs, running %t, want %d, %t", runs.Load(), running.Load(), n, is)
			}
		}
		want(0, false)
		contact.renewed(time.Now())
		want(1, true)
		<-time.After(reign / 2)
		contact.renewed(time.Now())
		want(1, true)
		<-time.After(reign + time.Second)
		want(1, false)
		contact.renewed(time.Now())
		want(2, true)
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		want(2, false)
		<-time.After(reign) // its timer ends
	})
}
