package envoy_test

import (
	"bytes"
	"net"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// h2Stream is one HTTP/2 stream written frame by frame, for what no client
// library sends.
type h2Stream struct {
	t       *testing.T
	framer  *http2.Framer
	decoder *hpack.Decoder
	got     map[string]string
	data    bytes.Buffer
	ended   string // how the stream or the connection ended
	connect bool   // the server accepts extended CONNECT
}

func newH2Stream(t *testing.T, conn net.Conn) *h2Stream {
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
	if err := s.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block.Bytes(), EndHeaders: true}); err != nil {
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
		if value, ok := f.Value(http2.SettingEnableConnectProtocol); ok {
			s.connect = value == 1
		}
		if !f.IsAck() {
			s.framer.WriteSettingsAck() //nolint:errcheck // the next read tells
		}
	case *http2.HeadersFrame:
		s.decoder.Write(f.HeaderBlockFragment()) //nolint:errcheck // what is missing tells
	case *http2.DataFrame:
		s.data.Write(f.Data())
	case *http2.RSTStreamFrame:
		s.ended = f.ErrCode.String()
	case *http2.GoAwayFrame:
		s.ended = f.ErrCode.String()
	}
}
