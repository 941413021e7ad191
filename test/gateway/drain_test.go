package gateway_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/fairwaynet/fairway/test/fairway"
)

// The addresses between which the balancer of the test chooses: the gateway
// that is drained, and one that goes on serving, for which the backend stands
// in.
const (
	gatewayAddress = "127.0.0.1:8080"
	otherAddress   = "10.77.2.1:9000"
)

// balancer sends new connections to the gateway for as long as it is ready, as
// a load balancer does that asks every 100 ms.
type balancer struct {
	target atomic.Pointer[string]
}

func (b *balancer) watch(ctx context.Context, g *fairway.Gateway) {
	for tick := time.NewTicker(100 * time.Millisecond); ; {
		target := gatewayAddress
		if g.Ready(ctx) != nil {
			target = otherAddress
		}
		b.target.Store(&target)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (b *balancer) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	return (&net.Dialer{}).DialContext(ctx, "tcp", *b.target.Load())
}

// clients ask again and again, each on a connection that it keeps as long as it
// may.
type clients struct {
	balancer balancer
	stop     context.CancelFunc
	running  sync.WaitGroup

	mu     sync.Mutex
	sent   int
	failed []error
}

func startClients(t *testing.T, g *fairway.Gateway) *clients {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	c := &clients{stop: cancel}
	first := gatewayAddress
	c.balancer.target.Store(&first)
	c.running.Go(func() { c.balancer.watch(ctx, g) })
	for i := range 16 {
		transport := &http.Transport{DialContext: c.balancer.dial, MaxIdleConnsPerHost: 1, Protocols: new(http.Protocols)}
		transport.Protocols.SetHTTP1(i%2 == 0)
		transport.Protocols.SetUnencryptedHTTP2(i%2 == 1)
		c.running.Go(func() { defer transport.CloseIdleConnections(); c.ask(ctx, transport) })
	}
	t.Cleanup(c.end)
	return c
}

func (c *clients) end() { c.stop(); c.running.Wait() }

// ask asks about a hundred times a second.
func (c *clients) ask(ctx context.Context, transport http.RoundTripper) {
	for tick := time.NewTicker(10 * time.Millisecond); ; {
		err := one(context.WithoutCancel(ctx), transport)
		c.mu.Lock()
		c.sent++
		if err != nil {
			c.failed = append(c.failed, fmt.Errorf("at %s: %w", time.Now().Format(time.TimeOnly+".000"), err))
		}
		c.mu.Unlock()
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// one is a request that nothing repeats: it has a body.
func one(ctx context.Context, transport http.RoundTripper) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	body, write := io.Pipe()
	go func() { _, err := io.WriteString(write, "a body"); write.CloseWithError(err) }()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://shop.test/", body)
	if err != nil {
		return err
	}
	response, err := transport.RoundTrip(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("status %d", response.StatusCode)
	}
	return nil
}

func (c *clients) tally() (sent int, failed error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.sent, errors.Join(c.failed...)
}

// grown is a check: n more requests have been sent.
func (c *clients) grown(n int) func(context.Context) error {
	before, _ := c.tally()
	return func(context.Context) error {
		if now, _ := c.tally(); now < before+n {
			return fmt.Errorf("%d requests were sent, want %d", now-before, n)
		}
		return nil
	}
}

func TestAGatewayIsStoppedAndNoRequestFails(t *testing.T) {
	s := start(t, "--drain-delay=1s", "--drain-timeout=30s")
	c := startClients(t, s.gateway)
	fairway.Eventually(t, patience, c.grown(1000))
	began := time.Now()
	if err := s.gateway.Stop(t, patience); err != nil {
		t.Errorf("the gateway ends with %v", err)
	}
	took := time.Since(began)
	fairway.Eventually(t, patience, c.grown(1000))
	c.end()
	sent, failed := c.tally()
	t.Logf("%d requests; the gateway ended %s after SIGTERM", sent, took.Round(time.Millisecond))
	if failed != nil {
		t.Errorf("requests failed: %v", failed)
	}
	if took > 20*time.Second {
		t.Errorf("it took %s to stop, though all clients leave when they are asked to", took)
	}
}

func TestAWebSocketStaysUntilTheDrainIsOver(t *testing.T) {
	s := start(t, "--drain-delay=500ms", "--drain-timeout=3s")
	fairway.Serve(t, "10.77.2.2", fairway.BackendPort, http.HandlerFunc(echo))
	s.Create(t, fairway.Service("chat"), fairway.Slice("chat", "10.77.2.2"), fairway.Ingress("chat", "fairway", "chat.test", "/", "chat"))
	var socket *websocket.Conn
	fairway.Eventually(t, patience, func(ctx context.Context) (err error) {
		client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "tcp", gatewayAddress)
		}}}
		socket, _, err = websocket.Dial(ctx, "ws://chat.test/", &websocket.DialOptions{HTTPClient: client})
		return err
	})
	defer socket.CloseNow() //nolint:errcheck // it is closed already
	began := time.Now()
	stopped := make(chan error, 1)
	s.gateway.Signal(t, syscall.SIGTERM)
	go func() { stopped <- s.gateway.Wait() }()
	var last time.Duration
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for said := 0; say(socket, fmt.Sprint(said)) == nil; said++ {
		last = time.Since(began)
		<-tick.C
	}
	if err := <-stopped; err != nil {
		t.Errorf("the gateway ends with %v", err)
	}
	took := time.Since(began)
	t.Logf("the last word came back %s after SIGTERM, the end %s", last.Round(time.Millisecond), took.Round(time.Millisecond))
	if last < 3*time.Second || took > 20*time.Second {
		t.Errorf("the websocket lived for %s and the gateway ended after %s; both should be about 3.5s", last, took)
	}
}

// say says something and waits for the echo.
func say(socket *websocket.Conn, word string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
	defer cancel()
	if err := socket.Write(ctx, websocket.MessageText, []byte(word)); err != nil {
		return err
	}
	_, heard, err := socket.Read(ctx)
	if err == nil && string(heard) != word {
		err = fmt.Errorf("heard %q", heard)
	}
	return err
}

// echo says everything back.
func echo(w http.ResponseWriter, r *http.Request) {
	socket, err := websocket.Accept(w, r, nil)
	if err != nil {
		return
	}
	defer socket.CloseNow() //nolint:errcheck // the client has left
	for {
		kind, word, err := socket.Read(r.Context())
		if err != nil || socket.Write(r.Context(), kind, word) != nil {
			return
		}
	}
}
