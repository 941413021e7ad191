package envoy_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/fairwaynet/fairway/test/power"
	"github.com/fairwaynet/fairway/xds/route"
)

// executions counts how often each request reached a backend, by its
// X-Request-Id, and what it carried that no backend should see.
type executions struct {
	mu    sync.Mutex
	times map[string]int
	stray map[string]string
}

func newExecutions() *executions {
	return &executions{times: make(map[string]int), stray: make(map[string]string)}
}

func (e *executions) note(header http.Header) {
	e.mu.Lock()
	defer e.mu.Unlock()
	id := header.Get("X-Request-Id")
	e.times[id]++
	for name := range header {
		if strings.HasPrefix(name, "X-Envoy-") {
			e.stray[id] = name
		}
	}
}

func (e *executions) of(id string) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.times[id]
}

// pod is a backend over HTTP/1.1 that can end like a killed process: all its
// connections end at once, even in the middle of requests.
type pod struct {
	t        testing.TB
	listener net.Listener
	serve    func(net.Conn)

	mu    sync.Mutex
	conns map[net.Conn]struct{}
	ended bool
}

func newPod(t testing.TB, serve func(net.Conn)) *pod {
	t.Helper()
	listener, err := power.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &pod{t: t, listener: listener, serve: serve, conns: make(map[net.Conn]struct{})}
	go p.run()
	t.Cleanup(p.kill)
	return p
}

func (p *pod) address() string { return p.listener.Addr().String() }

func (p *pod) run() {
	for {
		conn, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.mu.Lock()
		if p.ended {
			conn.Close()
		}
		p.conns[conn] = struct{}{}
		p.mu.Unlock()
		go func() {
			p.serve(conn)
			conn.Close()
			p.mu.Lock()
			defer p.mu.Unlock()
			delete(p.conns, conn)
		}()
	}
}

func (p *pod) kill() {
	p.listener.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended = true
	for conn := range p.conns {
		conn.Close()
	}
}

// answering answers every request of a connection with one write, after a moment
// that differs, and closes the connection after some of them, as idle ones are.
func answering(executed *executions) func(net.Conn) {
	return func(conn net.Conn) {
		from := bufio.NewReader(conn)
		for {
			request, err := http.ReadRequest(from)
			if err != nil {
				return
			}
			io.Copy(io.Discard, request.Body) //nolint:errcheck // the next read tells
			executed.note(request.Header)
			<-time.After(time.Duration(rand.IntN(3000)) * time.Microsecond)
			if _, err := io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"); err != nil {
				return
			}
			if rand.IntN(20) == 0 {
				return
			}
		}
	}
}

// hangingUp reads a request, and closes the connection at once or after writing a
// few words.
func hangingUp(executed *executions, words string) func(net.Conn) {
	return func(conn net.Conn) {
		request, err := http.ReadRequest(bufio.NewReader(conn))
		if err != nil {
			return
		}
		executed.note(request.Header)
		io.WriteString(conn, words) //nolint:errcheck // it ends anyway
	}
}

// A request that a backend may have begun to process is sent to another only if
// that does no harm, for every kind of host.
func TestOnlySafeRequestsAreExecutedTwice(t *testing.T) {
	s := testSettings(t)
	hosts := []*route.Host{}
	for _, name := range []string{"shop.test", "*.wild.test", "*"} {
		hosts = append(hosts, host(name, prefix("/begins", "begins"), prefix("/", "one")))
	}
	g := newGateway(t, s, hosts...)
	executed := newExecutions()
	silent, other := newPod(t, hangingUp(executed, "")), newPod(t, hangingUp(executed, ""))
	begins := newPod(t, hangingUp(executed, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhal"))
	g.backend(port("one"), silent.address(), other.address())
	g.backend(port("begins"), begins.address())
	g.knows(silent.address(), other.address(), begins.address())
	for i, c := range []struct {
		method, path string
		headers      []string
		times        int
	}{
		{"GET", "/", nil, 4},
		{"HEAD", "/", nil, 4},
		{"OPTIONS", "/", nil, 4},
		{"GET", "/", []string{"X-Envoy-Retry-On: 5xx", "X-Envoy-Max-Retries: 9"}, 4},
		{"GET", "/", []string{"Content-Length: 0"}, 4},
		{"POST", "/", []string{"Content-Length: 0"}, 1},
		{"POST", "/", []string{"X-Envoy-Retry-On: reset", "Content-Length: 0"}, 1},
		{"PUT", "/", []string{"Content-Length: 0"}, 1},
		{"PATCH", "/", []string{"Content-Length: 0"}, 1},
		{"DELETE", "/", nil, 1},
		{"GET", "/", []string{"X-HTTP-Method-Override: DELETE"}, 1},
		{"GET", "/", []string{"X-HTTP-Method: DELETE"}, 1},
		{"GET", "/", []string{"X-Method-Override: DELETE"}, 1},
		{"GET", "/", []string{"Upgrade: websocket", "Connection: Upgrade"}, 1},
		{"GET", "/begins", nil, 1},
	} {
		for _, name := range []string{"shop.test", "SHOP.test.:80", "a.wild.test", "A.Wild.Test", "other.test"} {
			id := fmt.Sprintf("%d-%s", i, name)
			lines := append([]string{c.method + " " + c.path + " HTTP/1.1", "Host: " + name, "X-Request-Id: " + id}, c.headers...)
			r, err := g.tryRaw(strings.Join(lines, "\n") + "\n\n")
			if n := executed.of(id); n != c.times {
				t.Errorf("%s %s%s %v reached backends %d times, want %d (%v, %v)", c.method, name, c.path, c.headers, n, c.times, r.Response, err)
			}
		}
	}
	if len(executed.stray) > 0 {
		t.Errorf("backends saw headers between Envoy and itself: %v", executed.stray)
	}
}

// Over HTTP/2 a backend can say that it has not begun; what it leaves open is
// tried again where that does no harm.
func TestOverHTTP2OnlySafeRequestsAreExecutedTwice(t *testing.T) {
	two := prefix("/", "two")
	two.Cluster.Protocol = route.HTTP2
	g := newGateway(t, testSettings(t), host("two.test", two))
	executed := newExecutions()
	const none = uint32(0) // of the streams was worked on
	g.backend(port("two"), framed(t, func(to *http2.Framer, stream uint32, path string) bool {
		executed.note(http.Header{"X-Request-Id": {path}})
		switch what, _, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/"); what {
		case "reset":
			return to.WriteRSTStream(stream, http2.ErrCodeInternal) == nil
		case "refused":
			return to.WriteRSTStream(stream, http2.ErrCodeRefusedStream) == nil
		case "goes-away-before":
			to.WriteGoAway(none, http2.ErrCodeNo, nil) //nolint:errcheck // it ends anyway
			return false
		case "goes-away-amid":
			to.WriteGoAway(stream, http2.ErrCodeNo, nil) //nolint:errcheck // it ends anyway
			return false
		case "hangs-up":
			return false
		case "begins":
			begin := block(field{":status", "200"})
			to.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: begin, EndHeaders: true}) //nolint:errcheck // it ends anyway
			return false
		default:
			return respond(to, stream, field{":status", "200"})
		}
	}))
	g.ready("two.test")
	for _, c := range []struct {
		what      string
		get, post int // times that it reaches a backend
	}{
		{"reset", 4, 1}, {"goes-away-amid", 4, 1}, {"hangs-up", 4, 1}, {"begins", 1, 1},
		{"refused", 4, 4}, {"goes-away-before", 4, 4}, {"answers", 1, 1},
	} {
		for method, want := range map[string]int{"GET": c.get, "POST": c.post} {
			path := "/" + c.what + "/" + method
			r, err := g.tryRaw(method + " " + path + " HTTP/1.1\nHost: two.test\nContent-Length: 0\n\n")
			if n := executed.of(path); n != want {
				t.Errorf("%s %s reached backends %d times, want %d (%v, %v)", method, path, n, want, r.Response, err)
			}
		}
	}
}

// Pods are replaced while requests are under way, and end without any grace: no
// safe request fails, and no other is executed twice.
func TestPodsThatAreReplacedWithoutGraceCostNoSafeRequest(t *testing.T) {
	g := newGateway(t, testSettings(t), host("shop.test", prefix("/", "web")))
	executed := newExecutions()
	const replicas, replacements, clients = 3, 40, 8
	var pods []*pod
	publish := func() {
		var addresses []string
		for _, p := range pods {
			addresses = append(addresses, p.address())
		}
		g.backend(port("web"), addresses...)
	}
	for range replicas {
		pods = append(pods, newPod(t, answering(executed)))
	}
	publish()
	g.ready("shop.test")

	var sent, failed [2]atomic.Int64 // GET, POST
	var stop atomic.Bool
	var running sync.WaitGroup
	for client := range clients {
		running.Go(func() {
			c := &http.Client{Transport: &http.Transport{
				DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
					return (&net.Dialer{}).DialContext(ctx, "tcp", g.address())
				},
			}}
			defer c.CloseIdleConnections()
			for i := 0; !stop.Load(); i++ {
				kind := i % 4 / 3 // three in four are GET
				sent[kind].Add(1)
				if err := ask(c, []string{http.MethodGet, http.MethodPost}[kind], fmt.Sprintf("%d-%d", client, i)); err != nil {
					failed[kind].Add(1)
					if kind == 0 {
						t.Errorf("GET %d-%d: %v", client, i, err)
					}
				}
			}
		})
	}
	for range replacements {
		seen := sent[0].Load()
		g.eventually("requests go on", func() error {
			if sent[0].Load() < seen+20*clients {
				return io.ErrNoProgress
			}
			return nil
		})
		oldest := pods[0]
		pods = append(pods[1:], newPod(t, answering(executed)))
		oldest.kill() // before anybody hears of it
		publish()
	}
	stop.Store(true)
	running.Wait()
	t.Logf("%d GET, %d of them failed; %d POST, %d of them failed", sent[0].Load(), failed[0].Load(), sent[1].Load(), failed[1].Load())
	executed.mu.Lock()
	defer executed.mu.Unlock()
	again := 0
	for id, times := range executed.times {
		if strings.HasPrefix(id, http.MethodPost) && times > 1 {
			t.Errorf("%s was executed %d times", id, times)
		}
		if times > 1 {
			again++
		}
	}
	if again == 0 {
		t.Error("nothing was tried again: does this test anything?")
	}
}

// ask sends a request whose id begins with its method.
func ask(client *http.Client, method, id string) error {
	request, err := http.NewRequest(method, "http://shop.test/", nil)
	if err != nil {
		return err
	}
	request.Header.Set("X-Request-Id", method+" "+id)
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", response.Status, text)
	}
	return err
}
