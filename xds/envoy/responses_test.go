package envoy_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/fairwaynet/fairway/xds/route"
)

// canned is a backend that answers a path with a prepared text. It closes the
// connection after an answer without a proper end.
func canned(t testing.TB, answers map[string]string) string {
	t.Helper()
	return accepting(t, func(conn net.Conn) {
		from := bufio.NewReader(conn)
		for {
			request, err := http.ReadRequest(from)
			if err != nil {
				return
			}
			answer, ok := answers[request.URL.Path]
			if !ok {
				answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
			}
			if _, err := io.WriteString(conn, answer); err != nil || !strings.Contains(answer, "\r\n\r\n") {
				return
			}
		}
	})
}

// accepting serves each connection by itself, and closes it when serve is done.
func accepting(t testing.TB, serve func(net.Conn)) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				serve(conn)
			}()
		}
	}()
	return listener.Addr().String()
}

// framed is a backend that writes HTTP/2 frames itself. answer writes the answer
// to a path and reports whether the connection stays.
func framed(t testing.TB, answer func(to *http2.Framer, stream uint32, path string) bool) string {
	t.Helper()
	return accepting(t, func(conn net.Conn) {
		if _, err := io.ReadFull(conn, make([]byte, len(http2.ClientPreface))); err != nil {
			return
		}
		framer := http2.NewFramer(conn, conn)
		framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
		if err := framer.WriteSettings(); err != nil {
			return
		}
		for {
			frame, err := framer.ReadFrame()
			if err != nil {
				return
			}
			switch frame := frame.(type) {
			case *http2.SettingsFrame:
				if !frame.IsAck() {
					framer.WriteSettingsAck() //nolint:errcheck // the next read tells
				}
			case *http2.PingFrame:
				if !frame.IsAck() {
					framer.WritePing(true, frame.Data) //nolint:errcheck // the next read tells
				}
			case *http2.MetaHeadersFrame:
				if !answer(framer, frame.StreamID, frame.PseudoValue("path")) {
					return
				}
			}
		}
	})
}

// field is a header of HTTP/2, whose rules it may break.
type field [2]string

// respond writes headers in as many frames as they need, and "ok".
func respond(to *http2.Framer, stream uint32, fields ...field) bool {
	const most = 16 << 10 // of a frame
	rest := block(fields...)
	part := rest[:min(len(rest), most)]
	rest = rest[len(part):]
	to.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: part, EndHeaders: len(rest) == 0}) //nolint:errcheck // what is read next tells
	for len(rest) > 0 {
		part = rest[:min(len(rest), most)]
		rest = rest[len(part):]
		to.WriteContinuation(stream, len(rest) == 0, part) //nolint:errcheck // as above
	}
	return to.WriteData(stream, true, []byte("ok")) == nil
}

// block is headers as HTTP/2 packs them.
func block(fields ...field) []byte {
	var packed bytes.Buffer
	encoder := hpack.NewEncoder(&packed)
	for _, f := range fields {
		encoder.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]}) //nolint:errcheck // into memory
	}
	return packed.Bytes()
}

// manyFields are a status and n headers, each of size bytes or a few more.
func manyFields(n, size int) []field {
	fields := []field{{":status", "200"}}
	for i := range n {
		fields = append(fields, field{fmt.Sprintf("x-%d", i), strings.Repeat("v", size)})
	}
	return fields
}

// response1 is an answer of HTTP/1.1 with such headers.
func response1(fields ...field) string {
	var b strings.Builder
	b.WriteString("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n")
	for _, f := range fields {
		if !strings.HasPrefix(f[0], ":") {
			fmt.Fprintf(&b, "%s: %s\r\n", f[0], f[1])
		}
	}
	return b.String() + "\r\nok"
}

// responsesGateway serves one.test from a backend that speaks HTTP/1.1 and
// two.test from one that speaks HTTP/2, which both answer a path with headers of
// the same name.
func responsesGateway(t *testing.T, s route.Settings, paths map[string][]field) *gateway {
	t.Helper()
	answers := make(map[string]string)
	for path, fields := range paths {
		answers[path] = response1(fields...)
	}
	two := prefix("/", "two")
	two.Cluster.Protocol = route.HTTP2
	g := newGateway(t, s, host("one.test", prefix("/", "one")), host("two.test", two))
	g.backend(port("one"), canned(t, answers))
	g.backend(port("two"), framed(t, func(to *http2.Framer, stream uint32, path string) bool {
		fields, ok := paths[path]
		if !ok {
			fields = manyFields(0, 0)
		}
		return respond(to, stream, fields...)
	}))
	g.ready("one.test", "two.test")
	return g
}

// What backends send is bounded by the settings alone, over either protocol.
func TestHeadersOfResponsesAreBoundedBySettings(t *testing.T) {
	paths := map[string][]field{
		"/as-many-as-default": manyFields(990, 10), "/more-than-default": manyFields(1001, 10),
		"/as-large-as-default": manyFields(30, 8000), "/larger-than-default": manyFields(40, 8000),
		"/one-large": manyFields(1, 250<<10),
		"/many":      manyFields(9990, 10), "/large": manyFields(500, 16000), "/too-many": manyFields(10_001, 10),
		"/few": manyFields(20, 10), "/small": manyFields(5, 300),
	}
	most, least := testSettings(t), testSettings(t)
	most.MaxResponseHeaders, most.MaxResponseHeaderCount = 8192, 10_000
	least.MaxResponseHeaders, least.MaxResponseHeaderCount = 2, 24
	for _, c := range []struct {
		name              string
		settings          route.Settings
		accepted, refused []string
	}{
		{
			"by default", testSettings(t),
			[]string{"/as-many-as-default", "/as-large-as-default", "/one-large"}, []string{"/more-than-default", "/larger-than-default"},
		},
		{"at most", most, []string{"/many", "/large", "/one-large", "/larger-than-default"}, []string{"/too-many"}},
		{"few", least, []string{"/few", "/small"}, []string{"/as-many-as-default", "/one-large", "/as-large-as-default"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := responsesGateway(t, c.settings, paths)
			for _, name := range []string{"one.test", "two.test"} {
				for _, path := range c.accepted {
					r := g.get(name, path)
					if err := want(r, http.StatusOK); err != nil || len(r.Header) < len(paths[path])-1 {
						t.Errorf("%s%s: %v, %d headers of %d", name, path, err, len(r.Header), len(paths[path]))
					}
				}
				for _, path := range c.refused {
					if r := g.get(name, path); r.StatusCode < http.StatusInternalServerError {
						t.Errorf("%s%s: %d, want it to be refused", name, path, r.StatusCode)
					}
				}
			}
		})
	}
}

// received is what a line of the access log says of a response.
type received struct {
	Host, Path, Flags, Details string
	Status                     int
	Received                   struct {
		Bytes   int `json:"bytes"`
		Headers int `json:"header_bytes"`
		Decoded int `json:"decoded_bytes"`
	} `json:"upstream_received"`
}

// kind is the row of docs/http.md that a line is in.
func (r received) kind(limit int) string {
	got := r.Received
	switch {
	case strings.Contains(r.Details, "connection_termination"):
		return "broken off"
	case strings.Contains(r.Details, "remote_reset") && got.Bytes > 0:
		return "reset"
	case strings.Contains(r.Details, "after_response_started"):
		return "body"
	case max(got.Bytes, got.Decoded) >= limit:
		return "too large"
	case got.Headers > 0 && got.Headers == got.Decoded:
		return "length"
	case got.Headers > 0, strings.Contains(r.Details, "remote_reset"):
		return "too many"
	default:
		return "malformed"
	}
}

// line waits for the line of a request.
func (g *gateway) line(host, path string) (line received) {
	g.t.Helper()
	g.eventually("the log has "+host+path, func() error {
		for text := range strings.Lines(g.read("access.log")) {
			line = received{}
			if json.Unmarshal([]byte(text), &line) == nil && line.Host == host && line.Path == path {
				return nil
			}
		}
		return io.ErrNoProgress
	})
	return line
}

// The access log tells what was wrong with a response, as far as Envoy knows.
func TestTheLogTellsWhatWasWrongWithAResponse(t *testing.T) {
	const chunked = "Transfer-Encoding: chunked\r\n"
	one := map[string]struct{ kind, answer string }{
		"/too-many":          {"too many", response1(manyFields(1001, 3)...)},
		"/too-large":         {"too large", response1(manyFields(1, 300<<10)...)},
		"/too-large-in-all":  {"too large", response1(manyFields(100, 4000)...)},
		"/both-lengths":      {"length", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n" + chunked + "\r\n5\r\nhello\r\n0\r\n\r\n"},
		"/chunked-twice":     {"length", "HTTP/1.1 200 OK\r\n" + chunked + chunked + "\r\n5\r\nhello\r\n0\r\n\r\n"},
		"/gzip-chunked":      {"length", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"},
		"/204-with-a-body":   {"length", "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello"},
		"/204-chunked":       {"length", "HTTP/1.1 204 No Content\r\n" + chunked + "\r\n0\r\n\r\n"},
		"/length-twice":      {"malformed", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello"},
		"/negative":          {"malformed", "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nok"},
		"/space-in-name":     {"malformed", "HTTP/1.1 200 OK\r\nX Bad: 1\r\nContent-Length: 2\r\n\r\nok"},
		"/no-colon":          {"malformed", "HTTP/1.1 200 OK\r\nnothing\r\nContent-Length: 2\r\n\r\nok"},
		"/no-http":           {"malformed", "SSH-2.0-OpenSSH_9\r\n\r\n"},
		"/ends-in-headers":   {"malformed", "HTTP/1.1 200 OK\r\nContent-Len"},
		"/hangs-up":          {"broken off", ""},
		"/chunk-is-no-chunk": {"body", "HTTP/1.1 200 OK\r\n" + chunked + "\r\nzz\r\nhello\r\n0\r\n\r\n"},
	}
	ok := field{":status", "200"}
	two := map[string]struct {
		kind   string
		fields []field
	}{
		"/too-many":         {"too many", manyFields(1001, 3)},
		"/too-large-in-all": {"too large", manyFields(100, 4000)},
		"/both-lengths":     {"malformed", []field{ok, {"content-length", "2"}, {"transfer-encoding", "chunked"}}},
		"/length-twice":     {"malformed", []field{ok, {"content-length", "2"}, {"content-length", "2"}}},
		"/connection":       {"malformed", []field{ok, {"connection", "close"}}},
		"/upper-case":       {"malformed", []field{ok, {"X-Upper", "1"}}},
		"/no-status":        {"malformed", []field{{"content-length", "2"}}},
		"/other-length":     {"body", []field{ok, {"content-length", "3"}}},
		"/204-with-a-body":  {"body", []field{{":status", "204"}}},
	}
	answers := make(map[string]string)
	for path, c := range one {
		answers[path] = c.answer
	}
	s := testSettings(t)
	h2 := prefix("/", "two")
	h2.Cluster.Protocol = route.HTTP2
	g := newGateway(t, s, host("one.test", prefix("/", "one")), host("two.test", h2))
	g.backend(port("one"), canned(t, answers))
	g.backend(port("two"), framed(t, func(to *http2.Framer, stream uint32, path string) bool {
		switch path {
		case "/resets":
			return to.WriteRSTStream(stream, http2.ErrCodeInternal) == nil
		case "/hangs-up":
			return false
		}
		fields := two[path].fields
		if fields == nil {
			fields = []field{ok}
		}
		return respond(to, stream, fields...)
	}))
	g.ready("one.test", "two.test")
	check := func(host, path, kind string) {
		t.Helper()
		// Not GET, which is tried again: then the counts are those of all tries.
		g.tryRaw("POST " + path + " HTTP/1.1\nHost: " + host + "\nContent-Length: 0\n\n") //nolint:errcheck // the log is asked
		if line := g.line(host, path); line.kind(int(s.MaxResponseHeaders)<<10) != kind {
			t.Errorf("%s%s is %q in the log, want %q: %+v", host, path, line.kind(int(s.MaxResponseHeaders)<<10), kind, line)
		}
	}
	for path, c := range one {
		check("one.test", path, c.kind)
	}
	for path, c := range two {
		check("two.test", path, c.kind)
	}
	check("two.test", "/resets", "reset")
	check("two.test", "/hangs-up", "broken off")
}

// A response that Envoy cannot parse fails alone, and not the others on its
// connection.
func TestABadResponseCostsNoOtherOfItsConnection(t *testing.T) {
	two := prefix("/", "two")
	two.Cluster.Protocol = route.HTTP2
	g := newGateway(t, testSettings(t), host("two.test", two))
	waiting := make(chan uint32, 1)
	var connection atomic.Pointer[http2.Framer]
	g.backend(port("two"), framed(t, func(to *http2.Framer, stream uint32, path string) bool {
		switch path {
		case "/waits":
			waiting <- stream
			connection.Store(to)
		case "/bad":
			respond(to, stream, field{":status", "200"}, field{"connection", "close"})
			if connection.Load() == to {
				return respond(to, <-waiting, field{":status", "200"})
			}
		default:
			return respond(to, stream, field{":status", "200"})
		}
		return true
	}))
	g.ready("two.test")
	done := make(chan error, 1)
	go func() {
		r, err := g.tryRaw("GET /waits HTTP/1.1\nHost: two.test\n\n")
		if err == nil {
			err = want(r, http.StatusOK)
		}
		done <- err
	}()
	g.eventually("the bad one is answered, and the one that waits", func() error {
		// Not GET, which is tried again on the connections of others.
		if r := g.raw("POST /bad HTTP/1.1\nHost: two.test\nContent-Length: 0\n\n"); !slices.Contains([]int{http.StatusBadGateway, http.StatusServiceUnavailable}, r.StatusCode) {
			return fmt.Errorf("status %d", r.StatusCode)
		}
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
			return nil
		default:
			return io.ErrNoProgress
		}
	})
}
