package order_test

import (
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairwaynet/fairway/api/v1alpha1"
	"github.com/fairwaynet/fairway/test/acme"
	"github.com/fairwaynet/fairway/test/soak"
)

// moody is an authority that works until its mood changes.
type moody struct {
	server *httptest.Server

	mood     atomic.Pointer[mood]
	requests atomic.Int64 // since the mood was set

	mu   sync.Mutex
	busy int
	most int // the most at a time since the mood was set
}

// mood is what the authority does instead of its work. If answer is nil, it does
// not answer.
type mood struct {
	name   string
	take   bool // connections are accepted but never answered
	answer http.HandlerFunc
}

// before puts a moody authority in front of a real one.
func before(t *testing.T, authority *acme.Authority) *moody {
	t.Helper()
	to, err := url.Parse(authority.Directory)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	m := &moody{}
	works := &httputil.ReverseProxy{
		Transport: authority.Transport(),
		// The authority's URLs have the host under which it is asked.
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(&url.URL{Scheme: to.Scheme, Host: to.Host})
			r.Out.Host = r.In.Host
		},
	}
	m.server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mood := m.mood.Load()
		if mood == nil {
			works.ServeHTTP(w, r)
			return
		}
		m.requests.Add(1)
		m.come()
		defer m.leave()
		mood.answer(w, r)
	}))
	m.server.Listener = door{listener, m}
	m.server.StartTLS()
	t.Cleanup(func() {
		m.mood.Store(nil)
		m.server.CloseClientConnections()
		m.server.Close()
	})
	return m
}

func (m *moody) come() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.busy++
	m.most = max(m.most, m.busy)
}

func (m *moody) mostBusy() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.most
}

func (m *moody) leave() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.busy--
}

// door is the listener of a moody authority.
type door struct {
	net.Listener

	of *moody
}

// Accept implements net.Listener.
func (d door) Accept() (net.Conn, error) {
	m := d.of
	for {
		conn, err := d.Listener.Accept()
		mood := m.mood.Load()
		if err != nil || mood == nil || !mood.take {
			return conn, err
		}
		go func() {
			m.come()
			defer m.leave()
			for buffer := make([]byte, 1024); ; {
				if _, err := conn.Read(buffer); err != nil {
					_ = conn.Close()
					return
				}
			}
		}()
	}
}

// becomes changes the mood; open connections end.
func (m *moody) becomes(mood *mood) {
	m.mood.Store(mood)
	m.server.CloseClientConnections()
}

// issuer is an Issuer that orders from the moody authority.
func (m *moody) issuer(name string) *v1alpha1.Issuer {
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: m.server.Certificate().Raw})
	return &v1alpha1.Issuer{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       v1alpha1.IssuerSpec{Directory: m.server.URL + "/dir", CABundle: string(ca), TermsAgreed: true, Profile: "default"},
	}
}

// However much is asked of an authority that does not answer, the orders of
// another cost nothing more. The silent authority itself gets few requests.
func TestOneSilentAuthorityDelaysNoOther(t *testing.T) {
	soak.Bulk(t)
	status := func(code int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "not now", code) }
	}
	for _, mood := range []mood{
		{name: "takes connections and says nothing", take: true},
		{name: "never answers", answer: func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }},
		{name: "answers 503", answer: status(http.StatusServiceUnavailable)},
		{name: "answers 429 to everything", answer: status(http.StatusTooManyRequests)},
	} {
		t.Run(mood.name, func(t *testing.T) {
			good, bad := acme.Start(t, acme.Options{AlwaysValid: true}), before(t, acme.Start(t, acme.Options{AlwaysValid: true}))
			// The cost of as many certificates that ask an Issuer which does not exist.
			alone := newWorld(t, good).lead(t).asked(t, "nobody").orderedWithin(t)

			w := newWorld(t, good).lead(t).asked(t, "bad")
			w.create(t, bad.issuer("bad"))
			w.look(t, "bad")
			bad.becomes(&mood)
			beside := w.orderedWithin(t)
			t.Logf("ordered within %[1]s beside %[3]d that ask nobody, and within %[2]s beside as many that wait; %[4]d requests, %[5]d at a time",
				alone.Round(time.Millisecond), beside.Round(time.Millisecond), many, bad.requests.Load(), bad.mostBusy())
			if beside > alone+10*time.Second {
				t.Errorf("it took %s, and %s where nobody is asked", beside, alone)
			}
			if most := bad.mostBusy(); most > 4 {
				t.Errorf("%d were there at a time", most)
			}
			if n := bad.requests.Load(); n > 10 {
				t.Errorf("it was asked %d times", n)
			}
		})
	}
}

// lead starts a process with the clock of this machine. The process has looked at
// its Issuer.
func (w *world) lead(t *testing.T) *process {
	t.Helper()
	w.real = true
	p := w.start(t, logr.Discard())
	p.look(t, "pebble")
	return p
}

func (p *process) look(t *testing.T, issuer string) {
	t.Helper()
	if _, err := p.issuers.Reconcile(t.Context(), issuer); err != nil {
		t.Fatal(err)
	}
}

// many is more than there are workers. More would only test the fake client: it is
// no cache, and slow with hundreds of objects.
const many = 100

// asked makes many Ingresses ask an Issuer for a certificate each.
func (p *process) asked(t *testing.T, issuer string) *process {
	t.Helper()
	for i := range many {
		name := fmt.Sprint("bad-", i)
		p.create(t, &networkingv1.Ingress{
			ObjectMeta: metav1.ObjectMeta{Namespace: "bad", Name: name, Annotations: map[string]string{"fairway.dev/issuer": issuer}},
			Spec:       networkingv1.IngressSpec{TLS: []networkingv1.IngressTLS{{Hosts: []string{name + ".test"}, SecretName: name}}},
		})
	}
	return p
}

func (w *world) create(t *testing.T, object client.Object) {
	t.Helper()
	if err := w.cluster.Create(t.Context(), object); err != nil {
		t.Fatal(err)
	}
}

// orderedWithin returns how long the order of the one certificate takes, with the
// workers and the queue of a leader.
func (p *process) orderedWithin(t *testing.T) time.Duration {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	began := time.Now()
	go func() { ended <- p.controller.Lead(ctx) }()
	defer func() {
		cancel()
		if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	}()
	deadline := time.After(2 * time.Minute)
	for tick := time.NewTicker(10 * time.Millisecond); p.certificate(t) == nil; {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal("nothing is issued within two minutes")
		}
	}
	return time.Since(began)
}
