package envoy_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/fairwaynet/fairway/xds/route"
)

// short is a timeout that a test can wait for.
const short = 300 * time.Millisecond

func timeoutsGateway(t *testing.T, set func(*route.Settings)) *gateway {
	s := testSettings(t)
	set(&s)
	g := newGateway(t, s, host("shop.test", prefix("/", "web")))
	g.backend(port("web"), serving(t, func(_ http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body) //nolint:errcheck // the client would miss the answer
		if r.URL.Path == "/hangs" {
			<-r.Context().Done()
		}
	}))
	g.ready("shop.test")
	return g
}

func TestTimeouts(t *testing.T) {
	for _, c := range []struct {
		name    string
		set     func(*route.Settings)
		request string
		status  int // 0: closed without an answer
	}{
		{
			"headers that never end", func(s *route.Settings) { s.RequestHeadersTimeout = short },
			"GET / HTTP/1.1\nHost: shop.test\nX: ", http.StatusRequestTimeout,
		},
		{
			"a body that never ends", func(s *route.Settings) { s.RequestTimeout = short },
			"POST / HTTP/1.1\nHost: shop.test\nContent-Length: 10\n\n12345", http.StatusRequestTimeout,
		},
		{
			"a request in which nothing moves", func(s *route.Settings) { s.StreamIdleTimeout = short },
			"POST / HTTP/1.1\nHost: shop.test\nContent-Length: 10\n\n12345", http.StatusRequestTimeout,
		},
		{
			"a backend that hangs", func(s *route.Settings) { s.StreamIdleTimeout = short },
			"GET /hangs HTTP/1.1\nHost: shop.test\n\n", http.StatusGatewayTimeout,
		},
		{
			"a connection without a request", func(s *route.Settings) { s.IdleTimeout = short }, "", 0,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			g := timeoutsGateway(t, c.set)
			conn, err := net.Dial("tcp", g.address())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
				t.Fatal(err)
			}
			io.WriteString(conn, strings.ReplaceAll(c.request, "\n", "\r\n")) //nolint:errcheck // the next read tells
			start := time.Now()
			response, err := http.ReadResponse(bufio.NewReader(conn), nil)
			status := 0
			if err == nil {
				status = response.StatusCode
				response.Body.Close()
			}
			if took := time.Since(start); status != c.status || took < short/2 {
				t.Errorf("%d after %s (%v), want %d after %s", status, took, err, c.status, short)
			}
		})
	}
}

// Nothing ends a request in which something moves, however long it takes.
func TestASlowRequestThatMovesIsNotCut(t *testing.T) {
	g := timeoutsGateway(t, func(s *route.Settings) {
		s.StreamIdleTimeout, s.RequestHeadersTimeout, s.IdleTimeout = short, short, short
	})
	body, write := io.Pipe()
	go func() {
		tick := time.NewTicker(short / 3)
		defer tick.Stop()
		for range 9 {
			<-tick.C
			io.WriteString(write, "x") //nolint:errcheck // the response tells
		}
		write.Close()
	}()
	response, err := g.client(false).Post("http://shop.test/", "", body)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusOK {
		t.Errorf("%d, want 200", response.StatusCode)
	}
}
