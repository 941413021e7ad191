package strangers_test

import (
	"bytes"
	"context"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/fairwaynet/fairway/test/soak"
)

// flood is what one client does with a connection of HTTP/2, again and again
// until the gateway closes it.
type flood struct {
	name string
	// begin is done once, frame until the connection is closed; i counts from 0.
	begin func(c *h2) error
	frame func(c *h2, i int) error
	// deaf: the client does not read what comes back.
	deaf bool
	// harmless: the gateway need not close it, and the test does not wait for that.
	harmless bool
	// requests: at most so many of a connection reach a backend; 0: none does.
	requests int
}

// floodFor is how long each flood lasts, from floodFrom connections at once, and
// closesWithin how long the gateway may take to close one.
var (
	floodFor     = soak.Pick(time.Second, 30*time.Second)
	closesWithin = soak.Pick(patience, 3*time.Second)
)

const (
	floodFrom = 4
	// floodFrames is how many frames a client sends on one connection before it
	// waits for the gateway to close it. The client may be ahead by what the
	// kernel keeps, which is some hundred KiB.
	floodFrames = 50_000
	// floodMemory is what Envoy may grow by. What it has freed it keeps a while.
	floodMemory = 96 * mib
)

func stream(i int) uint32 { return uint32(2*i + 1) }

var floods = []flood{
	{
		// CVE-2023-44487
		name: "rapid reset", requests: 2000,
		frame: func(c *h2, i int) error {
			if err := c.request(stream(i), true, plain("GET", "/")...); err != nil {
				return err
			}
			return c.WriteRSTStream(stream(i), http2.ErrCodeCancel)
		},
	},
	{
		// CVE-2025-8671: it is the server that is made to reset.
		name: "made you reset", requests: 2000,
		frame: func(c *h2, i int) error {
			if err := c.request(stream(i), true, plain("GET", "/")...); err != nil {
				return err
			}
			return c.WriteWindowUpdate(stream(i), 1<<31-1)
		},
	},
	{
		// CVE-2024-30255
		name: "continuation",
		begin: func(c *h2) error {
			return c.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block(plain("GET", "/")...)})
		},
		frame: func(c *h2, _ int) error { return c.WriteContinuation(1, false, block("a", "b")) },
	},
	{
		name: "empty continuation",
		begin: func(c *h2) error {
			return c.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block(plain("GET", "/")...)})
		},
		frame: func(c *h2, _ int) error { return c.WriteContinuation(1, false, nil) },
	},
	{
		name: "ping", deaf: true,
		frame: func(c *h2, _ int) error { return c.WritePing(false, [8]byte{}) },
	},
	{
		name: "settings", deaf: true,
		frame: func(c *h2, i int) error {
			return c.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: uint32(i % 65535)})
		},
	},
	{
		name: "empty data", requests: 1,
		begin: func(c *h2) error { return c.request(1, false, plain("POST", "/")...) },
		frame: func(c *h2, _ int) error { return c.WriteData(1, false, nil) },
	},
	{
		name:  "priority",
		frame: func(c *h2, i int) error { return c.WritePriority(stream(i%1000), http2.PriorityParam{Weight: 1}) },
	},
	{
		name: "window update", requests: 1,
		begin: func(c *h2) error { return c.request(1, false, plain("POST", "/")...) },
		frame: func(c *h2, _ int) error { return c.WriteWindowUpdate(1, 1) },
	},
	{
		name: "unknown frames", harmless: true,
		frame: func(c *h2, _ int) error { return c.WriteRawFrame(0x7f, 0, 0, make([]byte, 1000)) },
	},
	{
		// A small block that stands for a large one (CVE-2016-6581).
		name: "compression bomb", requests: 2000,
		frame: func(c *h2, i int) error {
			return c.WriteHeaders(http2.HeadersFrameParam{StreamID: stream(i), BlockFragment: bomb(i), EndHeaders: true, EndStream: true})
		},
	},
	{
		// More streams than there may be at once, none of which ever ends.
		name: "streams without end", requests: 0,
		frame: func(c *h2, i int) error { return c.request(stream(i), false, plain("POST", "/")...) },
	},
}

// bomb is a header block that names a header of 4,000 bytes once, and then 200
// times by its place in the table.
func bomb(i int) []byte {
	var b []byte
	if i == 0 {
		b = append(b, 0x40, 1, 'a', 0x7f, 0xa1, 0x1e) // a new header for the table; 4,000 bytes follow
		b = append(b, strings.Repeat("b", 4000)...)
	}
	b = append(b, 0x82, 0x86, 0x84, 0x01, 9) // GET, http, /, and an authority of 9 bytes
	b = append(b, "shop.test"...)
	return append(b, bytes.Repeat([]byte{0xbe}, 200)...) // the newest header of the table
}

// TestFloods sends what costs a client little and could cost the gateway much.
func TestFloods(t *testing.T) {
	s := newSite(t, options{})
	for _, f := range floods {
		t.Run(f.name, func(t *testing.T) {
			part := *s
			part.T = t
			before, seen := part.rss(), part.public.total()
			n := part.newNeighbour()
			tally := f.run(t)
			n.undisturbed()
			part.grown(before, floodMemory)
			requests := part.public.total() - seen
			t.Logf("%d connections, %d frames; %d requests reached a backend",
				tally.connections.Load(), tally.frames.Load(), requests)
			if tally.survived.Load() > 0 {
				t.Errorf("%d connections were not closed after %d frames", tally.survived.Load(), floodFrames)
			}
			if most := f.requests * int(tally.connections.Load()); requests > most {
				t.Errorf("%d requests reached a backend, want at most %d", requests, most)
			}
		})
	}
}

// tally is what became of a flood.
type tally struct {
	connections, frames, survived atomic.Int64
}

func (f flood) run(t *testing.T) *tally {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), floodFor)
	defer cancel()
	sum := &tally{}
	var running sync.WaitGroup
	for range floodFrom {
		running.Go(func() {
			for ctx.Err() == nil {
				if err := f.once(sum); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	running.Wait()
	return sum
}

// once floods one connection. Errors are those of the test.
func (f flood) once(sum *tally) error {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.(*net.TCPConn).SetWriteBuffer(32 << 10); err != nil {
		return err
	}
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	sum.connections.Add(1)
	closed := make(chan struct{})
	listen := func() { defer close(closed); _, _ = io.Copy(io.Discard, conn) }
	if !f.deaf {
		go listen()
	}
	sent, err := f.send(conn)
	sum.frames.Add(int64(sent))
	if f.deaf {
		go listen()
	}
	if err == nil && !f.harmless {
		select {
		case <-closed:
		case <-time.After(closesWithin):
			sum.survived.Add(1)
		}
	}
	conn.Close()
	<-closed
	return nil
}

// send sends until the gateway does not want any more; nil: it took all.
func (f flood) send(conn net.Conn) (frames int, err error) {
	c, err := newH2(conn)
	if err == nil && f.begin != nil {
		err = f.begin(c)
	}
	for ; err == nil && frames < floodFrames; frames++ {
		err = f.frame(c, frames)
	}
	return frames, err
}
