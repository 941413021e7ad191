package envoy_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"github.com/fairwaynet/fairway/xds/route"
)

func streamingGateway(t *testing.T, protocol route.Protocol, handler http.HandlerFunc) *gateway {
	web := prefix("/", "web")
	web.Cluster.Protocol = protocol
	g := newGateway(t, testSettings(t), host("shop.test", web))
	g.backend(port("web"), serving(t, handler))
	g.ready("shop.test")
	return g
}

// client speaks HTTP/1.1, or HTTP/2 by prior knowledge, to the gateway
// whatever the host in the URL.
func (g *gateway) client(h2 bool) *http.Client {
	transport := &http.Transport{
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, g.address())
		},
		Protocols: &http.Protocols{},
	}
	transport.Protocols.SetHTTP1(!h2)
	transport.Protocols.SetUnencryptedHTTP2(h2)
	g.t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: patience}
}

// protocols are all ways through the gateway: who speaks what on either side.
var protocols = []struct {
	name     string
	client   bool // HTTP/2
	upstream route.Protocol
	seen     string
}{
	{"http/1.1 to http/1.1", false, route.HTTP1, "HTTP/1.1"},
	{"http/1.1 to h2c", false, route.HTTP2, "HTTP/2.0"},
	{"h2c to http/1.1", true, route.HTTP1, "HTTP/1.1"},
	{"h2c to h2c", true, route.HTTP2, "HTTP/2.0"},
}

func TestBothSidesStreamWithoutBuffering(t *testing.T) {
	for _, c := range protocols {
		t.Run(c.name, func(t *testing.T) {
			g := streamingGateway(t, c.upstream, echoChunks)
			body, write := io.Pipe()
			request, err := http.NewRequest(http.MethodPost, "http://shop.test/echo", body)
			if err != nil {
				t.Fatal(err)
			}
			request.Header.Set("Content-Type", "application/grpc")
			request.Header.Set("TE", "trailers")
			response, err := g.client(c.client).Do(request)
			if err != nil {
				t.Fatal(err)
			}
			defer response.Body.Close()
			if got := response.Header.Get("Proto"); got != c.seen {
				t.Errorf("the backend was spoken to in %s, want %s", got, c.seen)
			}
			// Each chunk comes back before the next one is sent.
			for i := range 20 {
				chunk := fmt.Sprintf("chunk %02d", i)
				if _, err := io.WriteString(write, chunk); err != nil {
					t.Fatal(err)
				}
				got := make([]byte, len(chunk))
				if _, err := io.ReadFull(response.Body, got); err != nil || string(got) != chunk {
					t.Fatalf("chunk %d came back as %q: %v", i, got, err)
				}
			}
			write.Close()
			if rest, err := io.ReadAll(response.Body); err != nil || len(rest) != 0 {
				t.Errorf("after the end: %q, %v", rest, err)
			}
			if c.client && c.upstream == route.HTTP2 && response.Trailer.Get("Grpc-Status") != "0" {
				t.Errorf("trailers are %v, want Grpc-Status 0", response.Trailer)
			}
		})
	}
}

// echoChunks answers its header before it reads, and every chunk as it comes.
func echoChunks(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/echo" {
		return
	}
	flush := http.NewResponseController(w)
	flush.EnableFullDuplex() //nolint:errcheck // HTTP/2 always is
	w.Header().Set("Trailer", "Grpc-Status")
	w.Header().Set("Proto", r.Proto)
	w.WriteHeader(http.StatusOK)
	flush.Flush() //nolint:errcheck // the client would miss it
	buffer := make([]byte, 1<<10)
	for {
		n, err := r.Body.Read(buffer)
		w.Write(buffer[:n])
		flush.Flush() //nolint:errcheck // the client would miss it
		if err != nil {
			break
		}
	}
	w.Header().Set("Grpc-Status", "0")
}

func TestBigBodiesPassBothWays(t *testing.T) {
	const size = 48 << 20
	for _, c := range protocols {
		t.Run(c.name, func(t *testing.T) {
			g := streamingGateway(t, c.upstream, func(w http.ResponseWriter, r *http.Request) {
				n, _ := io.Copy(io.Discard, r.Body)
				w.Header().Set("Received", fmt.Sprint(n))
				io.CopyN(w, zeros{}, n) //nolint:errcheck // the client would miss it
			})
			response, err := g.client(c.client).Post("http://shop.test/", "", io.LimitReader(zeros{}, size))
			if err != nil {
				t.Fatal(err)
			}
			defer response.Body.Close()
			n, err := io.Copy(io.Discard, response.Body)
			if err != nil || n != size || response.Header.Get("Received") != fmt.Sprint(size) {
				t.Errorf("sent %d, the backend got %s, %d came back: %v", size, response.Header.Get("Received"), n, err)
			}
		})
	}
}

// zeros never end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestWebSocket(t *testing.T) {
	for _, name := range []string{"shop.test", "a.shop.test", "other.test"} {
		t.Run(name, func(t *testing.T) {
			g := newGateway(t, testSettings(t),
				host("shop.test", prefix("/", "web")),
				host("*.shop.test", prefix("/", "web")),
				host("*", prefix("/", "web")))
			g.backend(port("web"), serving(t, echoSocket))
			g.ready(name)
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			socket, _, err := websocket.Dial(ctx, "ws://"+name+"/", &websocket.DialOptions{
				HTTPClient: &http.Client{Transport: g.client(false).Transport},
			})
			if err != nil {
				t.Fatal(err)
			}
			defer socket.CloseNow() //nolint:errcheck // it is closed below
			for i := range 10 {
				sent := strings.Repeat("x", i*1000)
				if err := socket.Write(ctx, websocket.MessageText, []byte(sent)); err != nil {
					t.Fatal(err)
				}
				if _, got, err := socket.Read(ctx); err != nil || string(got) != sent {
					t.Fatalf("message %d came back with %d bytes: %v", i, len(got), err)
				}
			}
			if err := socket.Close(websocket.StatusNormalClosure, ""); err != nil {
				t.Errorf("close: %v", err)
			}
		})
	}
}

func echoSocket(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Upgrade") == "" {
		return
	}
	socket, err := websocket.Accept(w, r, &websocket.AcceptOptions{InsecureSkipVerify: true})
	if err != nil {
		return
	}
	defer socket.CloseNow() //nolint:errcheck // the client closes it
	for {
		kind, message, err := socket.Read(r.Context())
		if err != nil {
			return
		}
		if err := socket.Write(r.Context(), kind, message); err != nil {
			return
		}
	}
}

// A browser opens a WebSocket within its HTTP/2 connection (RFC 8441).
func TestWebSocketOverHTTP2(t *testing.T) {
	g := streamingGateway(t, route.HTTP1, echoSocket)
	conn, err := net.Dial("tcp", g.address())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	s := newH2Stream(t, conn)
	s.headers(
		":method", "CONNECT", ":protocol", "websocket", ":scheme", "http", ":path", "/", ":authority", "shop.test",
		"sec-websocket-version", "13", "sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
	if status := s.status(); status != "200" {
		t.Fatalf("status %s, want 200", status)
	}
	masked := []byte{0x81, 0x82, 0, 0, 0, 0, 'h', 'i'}
	s.write(masked)
	if got := s.read(4); string(got) != "\x81\x02hi" {
		t.Errorf("the echo is %q", got)
	}
}
