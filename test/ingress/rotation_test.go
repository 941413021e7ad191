package ingress_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairwaynet/fairway/test/fairway"
	"github.com/fairwaynet/fairway/test/soak"
)

// manySecureHosts is how many hosts with TLS come and go under open connections,
// and unknownNames how many names clients ask for that nobody serves.
var (
	manySecureHosts = soak.Pick(200, 1000)
	unknownNames    = soak.Pick(1000, 3000)
)

// A new certificate is served soon, and closes no connection; nor does adding
// many hosts with TLS, or removing them.
func testRotation(s *site, authority *fairway.Authority) {
	s.backends("shop")
	ip := s.fairway.Address()
	fairway.Serve(s, ip, fairway.BackendPort, http.HandlerFunc(echo))
	before := authority.Secret(s, "rotated", fairway.Wish{Names: []string{"rotation.test"}})
	s.create(fairway.Service("echo"), fairway.Slice("echo", ip), before,
		overTLS(withRules("shop", rule("rotation.test", "/", "shop", "/echo", "echo")), "rotated"))
	fairway.Eventually(s, patience, fairway.Presents("rotation.test", before))
	for _, path := range []string{"/", "/echo"} {
		fairway.Eventually(s, patience, func(ctx context.Context) error {
			if a, err := fairway.GetTLS(ctx, "rotation.test", path); err != nil || a.Status != http.StatusOK {
				return fmt.Errorf("over TLS: %+v, %w", a, err)
			}
			return nil
		})
	}
	open := append(openConnections(s, "rotation.test", 10), openWebSockets(s, "rotation.test", 10)...)
	use := func(when string) {
		s.Helper()
		closed := 0
		for _, use := range open {
			if err := use(); err != nil {
				closed++
				s.Errorf("a connection that was open %s is closed: %v", when, err)
			}
		}
		s.Logf("%s: %d of %d connections are closed", when, closed, len(open))
	}
	use("at first")

	after := before.DeepCopy()
	after.Data = authority.Secret(s, "rotated", fairway.Wish{Names: []string{"rotation.test"}}).Data
	begin := time.Now()
	if err := s.fairway.Client.Update(s.Context(), after); err != nil {
		s.Fatal(err)
	}
	fairway.Eventually(s, patience, fairway.Presents("rotation.test", after))
	soak.Promised(s, "from the update of a Secret to its certificate", time.Since(begin), time.Second)
	use("after a rotation")

	begin = time.Now()
	names := addHosts(s, authority, manySecureHosts)
	use("while hosts come")
	var looking errgroup.Group
	looking.SetLimit(4)
	for _, name := range names {
		looking.Go(func() error { return s.becomes(name) })
	}
	if err := looking.Wait(); err != nil {
		s.Error(err)
	}
	s.Logf("%d hosts were created and served after %s", manySecureHosts, time.Since(begin))
	use("after hosts have come")
	removeHosts(s)
	fairway.Eventually(s, patience, fairway.Refuses(names[len(names)-1]))
	use("after hosts are gone")
}

// becomes waits until a host has a certificate for its name, and its routes.
func (s *site) becomes(name string) error {
	return fairway.Await(s.Context(), patience, func(ctx context.Context) error {
		conn, err := fairway.Handshake(ctx, name, &tls.Config{NextProtos: []string{"http/1.1"}})
		if err != nil {
			return err
		}
		defer conn.Close()
		return conn.ConnectionState().PeerCertificates[0].VerifyHostname(name)
	})
}

// addHosts creates Ingresses with TLS, each with a Secret of its own, and
// returns their hosts. removeHosts removes them; so does the test's end.
func addHosts(s *site, authority *fairway.Authority, n int) []string {
	s.Helper()
	s.Cleanup(func() { removeHosts(s) })
	var creating errgroup.Group
	creating.SetLimit(4)
	names := make([]string, n)
	for i := range n {
		names[i] = fmt.Sprintf("host-%d.rotation.test", i)
		secret := authority.Secret(s, fmt.Sprintf("host-%d", i), fairway.Wish{Names: names[i : i+1]})
		ingress := overTLS(withRules(secret.Name, rule(names[i], "/", "shop")), secret.Name)
		secret.Labels, ingress.Labels = map[string]string{"many": "true"}, map[string]string{"many": "true"}
		creating.Go(func() error {
			for _, object := range []client.Object{secret, ingress} {
				object.SetNamespace(s.namespace)
				if err := s.fairway.Client.Create(s.Context(), object); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := creating.Wait(); err != nil {
		s.Fatal(err)
	}
	return names
}

func removeHosts(s *site) {
	s.Helper()
	for _, object := range []client.Object{&networkingv1.Ingress{}, &corev1.Secret{}} {
		err := s.fairway.Client.DeleteAllOf(context.Background(), object, client.InNamespace(s.namespace), client.MatchingLabels{"many": "true"})
		if err != nil {
			s.Error(err)
		}
	}
}

// echo answers every message of a WebSocket with itself.
func echo(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Upgrade") == "" {
		return
	}
	socket, err := websocket.Accept(w, r, &websocket.AcceptOptions{InsecureSkipVerify: true})
	if err != nil {
		return
	}
	defer func() { _ = socket.CloseNow() }()
	for {
		kind, message, err := socket.Read(r.Context())
		if err != nil || socket.Write(r.Context(), kind, message) != nil {
			return
		}
	}
}

// openWebSockets opens WebSockets over TLS, and returns functions that use them.
func openWebSockets(s *site, host string, n int) []func() error {
	s.Helper()
	through := &http.Client{Transport: &http.Transport{DialTLSContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return fairway.Handshake(ctx, host, &tls.Config{NextProtos: []string{"http/1.1"}})
	}}}
	var all []func() error
	for range n {
		socket, response, err := websocket.Dial(s.Context(), "wss://"+host+"/echo", &websocket.DialOptions{HTTPClient: through})
		if err != nil {
			s.Fatalf("open a WebSocket: %v (%+v)", err, response)
		}
		s.Cleanup(func() { _ = socket.CloseNow() })
		all = append(all, func() error {
			ctx, cancel := context.WithTimeout(s.Context(), patience)
			defer cancel()
			if err := socket.Write(ctx, websocket.MessageText, []byte("beat")); err != nil {
				return err
			}
			_, message, err := socket.Read(ctx)
			if err == nil && string(message) != "beat" {
				err = fmt.Errorf("it says %q", message)
			}
			return err
		})
	}
	return all
}

// openConnections opens HTTP/2 connections, and returns functions that use them.
func openConnections(s *site, host string, n int) []func() error {
	s.Helper()
	var all []func() error
	for range n {
		conn, err := fairway.Handshake(s.Context(), host, &tls.Config{NextProtos: []string{"h2"}})
		if err != nil {
			s.Fatal(err)
		}
		h2 := &http.Transport{Protocols: new(http.Protocols), DialTLSContext: fairway.Once(conn)}
		h2.Protocols.SetHTTP2(true)
		s.Cleanup(h2.CloseIdleConnections)
		all = append(all, func() error {
			request, err := http.NewRequestWithContext(s.Context(), http.MethodGet, "https://"+host+"/", nil)
			if err != nil {
				return err
			}
			response, err := h2.RoundTrip(request)
			if err != nil {
				return err
			}
			if response.StatusCode != http.StatusOK || response.ProtoMajor != 2 {
				err = fmt.Errorf("answered %d by %s", response.StatusCode, response.Proto)
			}
			return errors.Join(err, response.Body.Close())
		})
	}
	return all
}

// TestUnknownServerNames has no recorder between Envoy and the controller, which
// would not let pass what Envoy says here.
func TestUnknownServerNames(t *testing.T) {
	testUnknownNames(newSite(t, start(t, fairway.Options{Flags: []string{"-v"}})), fairway.NewAuthority(t))
}

// Names that nobody serves, and bytes that are no name, cost their clients a
// handshake and nobody else anything: Envoy keeps its stream, and a change is
// served meanwhile.
func testUnknownNames(s *site, authority *fairway.Authority) {
	s.backends("shop", "other")
	wildcard := authority.Secret(s, "wildcard", fairway.Wish{Names: []string{"*.strangers.test"}})
	s.create(wildcard, overTLS(withRules("wild", rule("*.strangers.test", "/", "shop")), "wildcard"))
	fairway.Eventually(s, patience, fairway.Presents("a.strangers.test", wildcard))
	before, controllerBefore := s.fairway.Envoys[0].RSS(s), s.fairway.Controller.RSS(s)
	var flood errgroup.Group
	flood.SetLimit(20)
	for _, name := range []string{"*", "*.strangers.test", "no server name", "*.test", ".", "..", strings.Repeat("a", 255), "a b.strangers.test", "<&'\"%/?"} {
		if conn, err := fairway.Handshake(s.Context(), name, nil); err == nil {
			s.Logf("%q is served", name)
			conn.Close()
		}
	}
	var slowest time.Duration
	for i := range unknownNames {
		name := fmt.Sprintf("unknown-%d.test", i)
		switch {
		case i%3 == 1:
			name = fmt.Sprintf("name-%d.strangers.test", i)
		case i%100 == 2: // each waits for the timeout
			name = fmt.Sprintf("bytes-\xff\xc0%d.strangers.test", i)
		}
		flood.Go(func() error {
			if conn, err := fairway.Handshake(s.Context(), name, nil); err == nil {
				conn.Close()
			}
			return nil
		})
		if i%(unknownNames/10) == 0 {
			host := fmt.Sprintf("host-%d.strangers.test", i)
			begin := time.Now()
			s.create(withRules(fmt.Sprintf("host-%d", i), rule(host, "/", "other")))
			s.eventually(host, "/", "other")
			slowest = max(slowest, time.Since(begin))
		}
	}
	_ = flood.Wait()
	soak.Promised(s, "the slowest of the hosts that came meanwhile", slowest, 3*time.Second)
	// A third of the names have a certificate, that of a wildcard, which Envoy keeps
	// for each.
	const most = 96 << 20
	envoy, controller := s.fairway.Envoys[0].RSS(s)-before, s.fairway.Controller.RSS(s)-controllerBefore
	s.Logf("Envoy has grown by %d KiB, the controller by %d", envoy>>10, controller>>10)
	if envoy > most || controller > most {
		s.Errorf("Envoy has grown by %d KiB, the controller by %d, want at most %d", envoy>>10, controller>>10, most>>10)
	}
	if log := s.fairway.Controller.Log(); strings.Contains(log, "envoy disconnected") {
		s.Errorf("an Envoy lost its stream:\n%s", log)
	}
	fairway.Eventually(s, patience, fairway.Presents("b.strangers.test", wildcard))
}
