package leader_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr/testr"
	"github.com/prometheus/client_golang/prometheus/testutil"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	coordinationv1 "k8s.io/client-go/kubernetes/typed/coordination/v1"
	"k8s.io/client-go/rest"

	"github.com/fairwaynet/fairway/controllers/replicas/leader"
	"github.com/fairwaynet/fairway/test/cluster"
	"github.com/fairwaynet/fairway/test/fairway"
)

const patience = 30 * time.Second

// terms are short, but for the Lease: the tests show that no replica waits for it to
// expire.
var terms = leader.Durations{Lease: 20 * time.Second, Renew: 2 * time.Second, Retry: 200 * time.Millisecond}

// throne notes the leaders, and checks that there are never two at once.
type throne struct {
	t *testing.T

	mu    sync.Mutex
	on    string
	terms []string // the leaders, one after the other
}

func (s *throne) sit(ctx context.Context, who string) error {
	s.mu.Lock()
	if s.on != "" {
		s.t.Errorf("%s leads while %s does", who, s.on)
	}
	s.on = who
	s.terms = append(s.terms, who)
	s.mu.Unlock()
	<-ctx.Done()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.on = ""
	return nil
}

func (s *throne) leads(who string) func(context.Context) error {
	return func(context.Context) error {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.on != who {
			return fmt.Errorf("%q leads, want %q; terms so far: %q", s.on, who, s.terms)
		}
		return nil
	}
}

// replica stands for election until stop, or the end of the test.
type replica struct {
	*leader.Elector
	stop  context.CancelFunc
	ended chan error
}

func (r *replica) end() error {
	r.stop()
	return <-r.ended
}

func start(t *testing.T, c *cluster.Cluster, name string, task func(context.Context) error) *replica {
	t.Helper()
	return startWith(t, c.Config, name, task)
}

func startWith(t *testing.T, config *rest.Config, name string, task func(context.Context) error) *replica {
	t.Helper()
	leases, err := coordinationv1.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	r := &replica{stop: stop, ended: make(chan error, 1), Elector: &leader.Elector{
		Leases:   leases,
		Lease:    types.NamespacedName{Namespace: "default", Name: strings.ReplaceAll(strings.ToLower(t.Name()), "/", "-")},
		Identity: name,
		Terms:    terms,
		Log:      testr.New(t).WithName(name),
	}}
	r.Add("task", task)
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		r.ended <- r.Start(ctx)
	}()
	t.Cleanup(func() { stop(); <-gone })
	return r
}

func TestElection(t *testing.T) {
	c := cluster.Start(t, cluster.Options{})
	t.Run("clean", func(t *testing.T) { testCleanStop(t, c) })
	t.Run("release", func(t *testing.T) { testReleaseMeetsARenewal(t, c) })
	t.Run("task", func(t *testing.T) { testTaskEnds(t, c) })
	t.Run("away", func(t *testing.T) { testAPIServerAway(t, c) })
}

// A leader that stops releases the Lease when its tasks have ended: another
// replica leads long before the Lease would expire.
func testCleanStop(t *testing.T, c *cluster.Cluster) {
	s := &throne{t: t}
	sitting := func(who string) func(context.Context) error {
		return func(ctx context.Context) error { return s.sit(ctx, who) }
	}
	first := start(t, c, "first", sitting("first"))
	fairway.Eventually(t, patience, s.leads("first"))
	second := start(t, c, "second", sitting("second"))
	if !first.Leads() || second.Leads() {
		t.Errorf("first leads: %t, second: %t", first.Leads(), second.Leads())
	}
	stopped := time.Now()
	if err := first.end(); err != nil {
		t.Errorf("after a clean stop: %v", err)
	}
	fairway.Eventually(t, patience, s.leads("second"))
	if took := time.Since(stopped); took >= terms.Lease {
		t.Errorf("the other replica led after %s: it has waited for the lease to expire", took)
	}
	const want = "# HELP fairway_leader 1 on the replica that writes status, events and Secrets; 0 on the others.\n" +
		"# TYPE fairway_leader gauge\nfairway_leader 1\n"
	if err := testutil.CollectAndCompare(second, strings.NewReader(want)); err != nil {
		t.Error(err)
	}
}

// A renewal that was cancelled may still reach the Lease, between the release's look and
// its write. The release tries again.
func testReleaseMeetsARenewal(t *testing.T, c *cluster.Cluster) {
	s := &throne{t: t}
	renewed := &lateRenewal{t: t, lease: strings.ReplaceAll(strings.ToLower(t.Name()), "/", "-")}
	var err error
	if renewed.leases, err = coordinationv1.NewForConfig(c.Config); err != nil {
		t.Fatal(err)
	}
	config := rest.CopyConfig(c.Config)
	config.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(request *http.Request) (*http.Response, error) {
			renewed.before(request)
			return next.RoundTrip(request)
		})
	})
	first := startWith(t, config, "first", func(ctx context.Context) error { return s.sit(ctx, "first") })
	fairway.Eventually(t, patience, s.leads("first"))
	start(t, c, "second", func(ctx context.Context) error { return s.sit(ctx, "second") })
	stopped := time.Now()
	if err := first.end(); err != nil {
		t.Error(err)
	}
	fairway.Eventually(t, patience, s.leads("second"))
	if took := time.Since(stopped); took >= terms.Lease || !renewed.done {
		t.Errorf("the other replica led after %s; the renewal came: %t", took, renewed.done)
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (r roundTripper) RoundTrip(request *http.Request) (*http.Response, error) { return r(request) }

// lateRenewal writes the Lease once, before the first write that releases it.
type lateRenewal struct {
	t      *testing.T
	leases coordinationv1.LeasesGetter
	lease  string
	done   bool
}

func (l *lateRenewal) before(request *http.Request) {
	if l.done || request.Method != http.MethodPut {
		return
	}
	body, err := request.GetBody()
	if err != nil {
		l.t.Error(err)
		return
	}
	written, err := io.ReadAll(body)
	if err != nil || bytes.Contains(written, []byte(`"holderIdentity":"first"`)) || bytes.Contains(written, []byte("\x05first")) {
		return
	}
	l.done = true
	patch := []byte(`{"metadata": {"annotations": {"late": "renewal"}}}`)
	if _, err := l.leases.Leases("default").Patch(request.Context(), l.lease, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
		l.t.Error(err)
	}
}

// A task that ends is run again in the same term.
func testTaskEnds(t *testing.T, c *cluster.Cluster) {
	runs := make(chan struct{}, 10)
	start(t, c, "only", func(context.Context) error {
		runs <- struct{}{}
		return errors.New("the first time fails")
	})
	for range 2 {
		select {
		case <-runs:
		case <-time.After(patience):
			t.Fatal("the task was not run again")
		}
	}
}

// While the API server is away, the leader stops writing before its Lease expires,
// and stands for election again. The process goes on.
func testAPIServerAway(t *testing.T, c *cluster.Cluster) {
	s := &throne{t: t}
	only := start(t, c, "only", func(ctx context.Context) error { return s.sit(ctx, "only") })
	fairway.Eventually(t, patience, s.leads("only"))
	c.StopAPIServer()
	gone := time.Now()
	fairway.Eventually(t, patience, s.leads(""))
	if took := time.Since(gone); took >= terms.Lease {
		t.Errorf("it led for another %s: another replica might have led too", took)
	}
	if err := c.StartAPIServer(); err != nil {
		t.Fatal(err)
	}
	fairway.Eventually(t, patience, s.leads("only"))
	if err := only.end(); err != nil {
		t.Errorf("after a clean stop: %v", err)
	}
}

func TestTermsThatLetTwoLead(t *testing.T) {
	for _, wrong := range []leader.Durations{
		{Lease: time.Second},
		{Renew: 2 * time.Second},
		{Retry: -time.Second},
		{Lease: 10 * time.Second, Renew: 10 * time.Second},
	} {
		if err := wrong.Validate(); err == nil {
			t.Errorf("%+v is taken", wrong)
		}
	}
	if err := (leader.Durations{}).Validate(); err != nil {
		t.Errorf("the defaults: %v", err)
	}
}
