package strangers_test

import (
	"cmp"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/fairwaynet/fairway/test/soak"
	"github.com/fairwaynet/fairway/xds/route"
)

const (
	// drip is how often a slow client sends a little more.
	drip = 500 * time.Millisecond
	// slowMemory is what Envoy may grow by for all slow clients together, which
	// is much less than what they have asked for.
	slowMemory = 512 * mib
	// tolerated is how much longer than the headers' timeout the test watches the
	// clients that the gateway puts up with.
	tolerated = 2 * time.Second
)

// late is how much later than promised the gateway may hang up.
var late = soak.Pick(patience, 8*time.Second)

// slow is a kind of client that takes its time, many at once.
type slow struct {
	name    string
	clients int
	at      string // empty: address
	begin   string
	drip    string // sent again and again; empty: nothing is, and nothing is read
	// answer is part of what the gateway says within the time that a request's
	// headers may take; empty: it puts up with it and says nothing.
	answer  string
	hangsUp bool // after that
}

var slows = []slow{
	{name: "headers", clients: 200, begin: "GET / HTTP/1.1\r\nHost: shop.test\r\nX: ", drip: "a", answer: "HTTP/1.1 408", hangsUp: true},
	{name: "a request line", clients: 200, begin: "GET /", drip: "a", answer: "HTTP/1.1 408", hangsUp: true},
	{name: "headers over HTTP/2", clients: 200, begin: preface() + beginBlock(), drip: moreBlock(), answer: "request header timeout"},
	{name: "a TLS handshake", clients: 200, at: addressTLS, begin: "\x16\x03\x01", drip: "\x02", hangsUp: true},
	{name: "a body", clients: 200, begin: "POST / HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 100000\r\n\r\n", drip: "a"},
	{name: "a body in chunks", clients: 200, begin: "POST / HTTP/1.1\r\nHost: shop.test\r\nTransfer-Encoding: chunked\r\n\r\n", drip: "1\r\na\r\n"},
	{name: "a response", clients: 200, begin: "GET /big HTTP/1.1\r\nHost: shop.test\r\n\r\n"},
	{name: "responses over HTTP/2", clients: 20, begin: preface() + manyBig()},
	{name: "answers to a pipeline", clients: 20, begin: strings.Repeat("GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n", 9000)},
}

// frames is what write writes of HTTP/2.
func frames(write func(*http2.Framer) error) string {
	var b strings.Builder
	if err := write(http2.NewFramer(&b, nil)); err != nil {
		panic(err) // a mistake of the test
	}
	return b.String()
}

// preface begins a connection whose windows are as large as they can be, so
// that only what the client reads slows a response down.
func preface() string {
	return http2.ClientPreface + frames(func(f *http2.Framer) error {
		return errors.Join(
			f.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1<<31 - 1}),
			f.WriteWindowUpdate(0, 1<<30),
		)
	})
}

func beginBlock() string {
	return frames(func(f *http2.Framer) error {
		return f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block(plain("GET", "/")...)})
	})
}

func moreBlock() string {
	return frames(func(f *http2.Framer) error { return f.WriteContinuation(1, false, block("a", "b")[1:]) })
}

// manyBig asks for as many large responses as a connection may have at once.
func manyBig() string {
	return frames(func(f *http2.Framer) (err error) {
		for i := range 100 {
			err = errors.Join(err, f.WriteHeaders(http2.HeadersFrameParam{
				StreamID: stream(i), BlockFragment: block(plain("GET", "/big")...), EndHeaders: true, EndStream: true,
			}))
		}
		return err
	})
}

// TestSlowClients runs all of them at once.
func TestSlowClients(t *testing.T) {
	s := newSite(t, options{settings: func(s *route.Settings) { s.HTTPSPort = 8443 }})
	limit := route.DefaultSettings().RequestHeadersTimeout
	before := s.rss()
	n := s.newNeighbour()
	began := time.Now()
	var running sync.WaitGroup
	conns := &connections{}
	defer conns.closeAll()
	for _, kind := range slows {
		for range kind.clients {
			running.Go(func() {
				if kind.hangsUp || kind.answer != "" {
					kind.run(t, conns, began.Add(limit+late))
				} else {
					kind.run(t, conns, began.Add(limit+tolerated))
				}
			})
		}
	}
	running.Wait()
	s.grown(before, slowMemory)
	n.undisturbed()
}

// run is one client. Those that the gateway puts up with stay connected.
func (k slow) run(t *testing.T, all *connections, until time.Time) {
	conn, err := all.dialAt("127.0.0.1", cmp.Or(k.at, address))
	if err != nil {
		t.Error(err)
		return
	}
	if err := conn.SetDeadline(until); err != nil {
		t.Error(err)
	}
	_, err = io.WriteString(conn, k.begin)
	if k.drip == "" {
		if k.answer != "" || err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s: %v", k.name, err)
		}
		return
	}
	heard := make(chan reply, 1)
	go func() { heard <- k.listen(conn) }()
	got := k.dripUntil(conn, heard)
	if got.hungUp != k.hangsUp || !strings.Contains(got.text, k.answer) || k.answer == "" && strings.HasPrefix(got.text, "HTTP/") {
		t.Errorf("slow %s: hung up %t, after %q, want %q", k.name, got.hungUp, got.text, k.answer)
	}
}

// reply is what a slow client has heard.
type reply struct {
	text   string
	hungUp bool
}

// listen reads until the gateway hangs up, until the awaited answer is complete, or
// until the connection's deadline.
func (k slow) listen(conn net.Conn) reply {
	var text strings.Builder
	for part := make([]byte, 4096); ; {
		n, err := conn.Read(part)
		text.Write(part[:n])
		switch {
		case err != nil:
			return reply{text.String(), !errors.Is(err, os.ErrDeadlineExceeded)}
		case k.answer != "" && !k.hangsUp && strings.Contains(text.String(), k.answer):
			return reply{text: text.String()}
		}
	}
}

// dripUntil sends on until all is heard.
func (k slow) dripUntil(conn net.Conn, heard <-chan reply) reply {
	tick := time.NewTicker(drip)
	defer tick.Stop()
	for {
		select {
		case got := <-heard:
			return got
		case <-tick.C:
			_, _ = io.WriteString(conn, k.drip) // who does not listen is heard of above
		}
	}
}
