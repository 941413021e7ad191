package envoy_test

import (
	"bytes"
	"net"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/fairwaynet/fairway/xds/route"
)

// h2Stream is one HTTP/2 stream written frame by frame, for what no client
// library sends.
type h2Stream struct {
	t       testing.TB
	framer  *http2.Framer
	decoder *hpack.Decoder
	got     map[string]string
	data    bytes.Buffer
	ended   string // how the stream or the connection ended
	end     bool   // the request has no body
}

func newH2Stream(t testing.TB, conn net.Conn) *h2Stream {
	t.Helper()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write([]byte(http2.ClientPreface)); err != nil {
		t.Fatal(err)
	}
	s := &h2Stream{t: t, framer: http2.NewFramer(conn, conn), got: make(map[string]string)}
	s.decoder = hpack.NewDecoder(4096, func(f hpack.HeaderField) { s.got[f.Name] = f.Value })
	if err := s.framer.WriteSettings(); err != nil {
		t.Fatal(err)
	}
	return s
}

// headers opens the stream with names and values.
func (s *h2Stream) headers(pairs ...string) {
	s.t.Helper()
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	for i := 0; i < len(pairs); i += 2 {
		encoder.WriteField(hpack.HeaderField{Name: pairs[i], Value: pairs[i+1]}) //nolint:errcheck // to memory
	}
	if err := s.framer.WriteHeaders(http2.HeadersFrameParam{
		StreamID: 1, BlockFragment: block.Bytes(), EndHeaders: true, EndStream: s.end,
	}); err != nil {
		s.t.Fatal(err)
	}
}

func (s *h2Stream) write(data []byte) {
	s.t.Helper()
	if err := s.framer.WriteData(1, false, data); err != nil {
		s.t.Fatal(err)
	}
}

// status waits for the response's; it is empty if the stream ended without.
func (s *h2Stream) status() string {
	s.until(func() bool { return s.got[":status"] != "" })
	return s.got[":status"]
}

// read waits for n bytes of the response.
func (s *h2Stream) read(n int) []byte {
	s.until(func() bool { return s.data.Len() >= n })
	return s.data.Next(n)
}

func (s *h2Stream) until(done func() bool) {
	s.t.Helper()
	for !done() && s.ended == "" {
		frame, err := s.framer.ReadFrame()
		if err != nil {
			s.ended = err.Error()
			return
		}
		s.handle(frame)
	}
}

func (s *h2Stream) handle(frame http2.Frame) {
	switch f := frame.(type) {
	case *http2.SettingsFrame:
		if !f.IsAck() {
			s.framer.WriteSettingsAck() //nolint:errcheck // the next read tells
		}
	case *http2.HeadersFrame:
		s.decoder.Write(f.HeaderBlockFragment()) //nolint:errcheck // what is missing tells
		if f.StreamEnded() {
			s.ended = "in full"
		}
	case *http2.DataFrame:
		s.data.Write(f.Data())
		if f.StreamEnded() {
			s.ended = "in full"
		}
	case *http2.RSTStreamFrame:
		s.ended = f.ErrCode.String()
	case *http2.GoAwayFrame:
		if f.ErrCode != http2.ErrCodeNo { // what was asked is answered first
			s.ended = f.ErrCode.String()
		}
	}
}

// A malformed request over HTTP/2 costs its stream or its connection, and no
// backend sees it.
func TestMalformedHTTP2(t *testing.T) {
	g := pathsGateway(t, route.EscapedSlashesRedirect)
	good := []string{":method", "GET", ":scheme", "http", ":authority", "shop.test", ":path", "/"}
	if status, _ := g.h2(good...); status != "200" {
		t.Fatalf("a good request: status %q", status)
	}
	for _, bad := range [][]string{
		{":method", "GET", ":scheme", "http", ":authority", "shop.test"},
		{":method", "GET", ":scheme", "http", ":path", "/", ":authority", "a b"},
		{":method", "GET", ":scheme", "http", ":path", "/", ":authority", "shop.test", ":path", "/admin"},
		{":method", "GET", ":scheme", "http", ":path", "", ":authority", "shop.test"},
		{":method", "GET", ":scheme", "http", ":path", "admin", ":authority", "shop.test"},
		append(good[:8:8], "connection", "keep-alive"),
		append(good[:8:8], "transfer-encoding", "chunked"),
		append(good[:8:8], "Upper", "case"),
		append(good[:8:8], "x", "a\r\nb: c"),
		append(good[:8:8], "x", "a\x00b"),
		append(good[:8:8], ":method", "POST"),
		append(good[:8:8], "te", "gzip"),
		append(good[:8:8], "content-length", "1, 2"),
	} {
		if status, _ := g.h2(bad...); status == "200" {
			t.Errorf("%q: 200, want a refusal", bad)
		}
	}
	// What names the host is :authority, and a host header beside it is lost.
	status, got := g.h2(append(good[:8:8], "host", "other.test")...)
	if status != "200" || got.Host != "shop.test" {
		t.Errorf("a host header beside :authority: %s, and the backend saw %q", status, got.Host)
	}
}

// h2Ended is the stream of a request without a body, when it has ended.
func (g *gateway) h2Ended(headers ...string) *h2Stream {
	g.t.Helper()
	conn, err := net.Dial("tcp", g.address())
	if err != nil {
		g.t.Fatal(err)
	}
	defer conn.Close()
	s := newH2Stream(g.t, conn)
	s.end = true
	s.headers(headers...)
	s.until(func() bool { return false })
	return s
}

// h2 is the status of a request without a body, empty if it was reset, and
// what a backend reported.
func (g *gateway) h2(headers ...string) (string, seen) {
	g.t.Helper()
	s := g.h2Ended(headers...)
	return s.got[":status"], reply{Text: s.data.String()}.seen()
}
