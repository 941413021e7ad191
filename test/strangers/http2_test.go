package strangers_test

import (
	"bytes"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// h2 is a connection of HTTP/2 written frame by frame, for what no library
// sends.
type h2 struct {
	net.Conn
	*http2.Framer
	decoder *hpack.Decoder
	fields  []hpack.HeaderField // of the last header block
}

func newH2(conn net.Conn) (*h2, error) {
	c := &h2{Conn: conn, Framer: http2.NewFramer(conn, conn)}
	c.decoder = hpack.NewDecoder(4096, func(f hpack.HeaderField) { c.fields = append(c.fields, f) })
	if _, err := conn.Write([]byte(http2.ClientPreface)); err != nil {
		return nil, err
	}
	return c, c.WriteSettings()
}

// block is a header block without a dynamic table.
func block(pairs ...string) []byte {
	var b bytes.Buffer
	encoder := hpack.NewEncoder(&b)
	encoder.SetMaxDynamicTableSize(0)
	for i := 0; i < len(pairs); i += 2 {
		_ = encoder.WriteField(hpack.HeaderField{Name: pairs[i], Value: pairs[i+1]}) // to memory
	}
	return b.Bytes()
}

// plain are the pseudo headers of an ordinary request.
func plain(method, path string) []string {
	return []string{":method", method, ":scheme", "http", ":authority", "shop.test", ":path", path}
}

// request opens a stream.
func (c *h2) request(id uint32, end bool, pairs ...string) error {
	return c.WriteHeaders(http2.HeadersFrameParam{
		StreamID: id, BlockFragment: block(pairs...), EndHeaders: true, EndStream: end,
	})
}

// sendHTTP2 sends one request: a line for each header, then "!data text" or
// "!trailer name: value". It tells the answer.
func sendHTTP2(t *testing.T, one *corpusCase) string {
	t.Helper()
	conn, err := one.connect()
	if err != nil {
		t.Error(err)
		return ""
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Error(err)
	}
	c, err := newH2(conn)
	if err == nil {
		err = c.sendCase(one.sends)
	}
	if err != nil {
		t.Error(err)
	}
	return one.way.plainAnswer(c.answers(1))
}

// sendCase writes the frames of a case. All but the last leave the stream open.
func (c *h2) sendCase(sends string) error {
	var headers, trailers []string
	var data []string
	for line := range strings.Lines(sends) {
		line = strings.TrimSuffix(line, "\n")
		switch kind, rest, _ := strings.Cut(line, " "); kind {
		case "!data":
			data = append(data, unescape(rest))
		case "!trailer":
			trailers = append(trailers, pair(rest)...)
		default:
			headers = append(headers, pair(line)...)
		}
	}
	left := len(data) + min(len(trailers), 1)
	if err := c.sendBlock(left == 0, block(headers...)); err != nil {
		return err
	}
	for _, text := range data {
		left--
		if err := c.WriteData(1, left == 0, []byte(text)); err != nil {
			return err
		}
	}
	if len(trailers) == 0 {
		return nil
	}
	return c.sendBlock(true, block(trailers...))
}

// sendBlock is as many frames as a header block needs.
func (c *h2) sendBlock(end bool, all []byte) error {
	const frame = 16 << 10
	n := min(len(all), frame)
	err := c.WriteHeaders(http2.HeadersFrameParam{
		StreamID: 1, BlockFragment: all[:n], EndStream: end, EndHeaders: n == len(all),
	})
	for all = all[n:]; err == nil && len(all) > 0; all = all[n:] {
		n = min(len(all), frame)
		err = c.WriteContinuation(1, n == len(all), all[:n])
	}
	return err
}

// pair is name and value of a line; a name may begin with a colon.
func pair(line string) []string {
	at := strings.Index(line[1:], ":") + 1
	return []string{unescape(line[:at]), unescape(strings.TrimPrefix(line[at+1:], " "))}
}

// answers tells how a stream ended, and what was answered before.
func (c *h2) answers(stream uint32) string {
	text := ""
	for {
		frame, err := c.ReadFrame()
		if err != nil {
			return text + "closed\n"
		}
		if settings, ok := frame.(*http2.SettingsFrame); ok && !settings.IsAck() {
			_ = c.WriteSettingsAck() // the next read tells
		}
		if away, ok := frame.(*http2.GoAwayFrame); ok && away.ErrCode != http2.ErrCodeNo {
			return text + fmt.Sprintf("connection closed: %s\n", away.ErrCode)
		}
		if frame.Header().StreamID != stream {
			continue
		}
		ended := false
		switch f := frame.(type) {
		case *http2.HeadersFrame:
			c.fields = nil
			_, _ = c.decoder.Write(f.HeaderBlockFragment()) // what is missing tells
			text += c.status()
			ended = f.StreamEnded()
		case *http2.DataFrame:
			ended = f.StreamEnded()
		case *http2.RSTStreamFrame:
			return text + fmt.Sprintf("reset: %s\n", f.ErrCode)
		}
		if ended {
			return text
		}
	}
}

func (c *h2) status() string {
	status, to := "", ""
	for _, f := range c.fields {
		switch f.Name {
		case ":status":
			status = f.Value
		case "location":
			to = " to " + f.Value
		}
	}
	return status + to + "\n"
}
