package envoy_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/fairwaynet/fairway/xds/route"
)

const limit = 1 << 20

// limitGateway serves /limited with a limit and the rest without, under an
// exact, a wildcard and the default host.
func limitGateway(t *testing.T, gatewayLimit int64) *gateway {
	s := testSettings(t)
	s.MaxRequestBody = gatewayLimit
	limited := prefix("/limited", "web")
	limited.MaxBody = limit
	var hosts []*route.Host
	for _, name := range []string{"shop.test", "*.shop.test", "*"} {
		hosts = append(hosts, host(name, limited, prefix("/", "web")))
	}
	g := newGateway(t, s, hosts...)
	g.backend(port("web"), serving(t, func(w http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(io.Discard, r.Body)
		fmt.Fprintf(w, "%d %v", n, err)
	}))
	g.ready("shop.test", "a.shop.test", "other.test")
	return g
}

// limitedHosts find their routes in three ways: at once, as a wildcard, and as
// the default host. A filter has to work for all.
var limitedHosts = []string{"shop.test", "SHOP.test", "a.shop.test", "A.Shop.Test", "other.test"}

// post sends a body of that size, whose length it declares or not.
func (g *gateway) post(h2 bool, url string, size int64, declared bool) (int, string, error) {
	request, err := http.NewRequest(http.MethodPost, url, io.LimitReader(zeros{}, size))
	if err != nil {
		return 0, "", err
	}
	if declared {
		request.ContentLength = size
	}
	response, err := g.client(h2).Do(request)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return response.StatusCode, string(body), err
}

func TestABodyBeyondTheLimitOfItsRouteIsRefused(t *testing.T) {
	g := limitGateway(t, 0)
	for _, host := range limitedHosts {
		for _, h2 := range []bool{false, true} {
			for _, declared := range []bool{true, false} {
				for _, c := range []struct {
					path string
					size int64
					want int
				}{
					{"/limited", limit, http.StatusOK},
					{"/limited", limit + 1, http.StatusRequestEntityTooLarge},
					{"/limited", 0, http.StatusOK},
					{"/", 4 * limit, http.StatusOK},
				} {
					status, body, err := g.post(h2, "http://"+host+c.path, c.size, declared)
					if err != nil || status != c.want {
						t.Errorf("%s%s, HTTP/2 %t, %d bytes, declared %t: %d %q %v, want %d",
							host, c.path, h2, c.size, declared, status, body, err, c.want)
					}
				}
			}
		}
	}
}

func TestTheLimitOfTheGatewayIsForRoutesThatHaveNone(t *testing.T) {
	const gatewayLimit = 100 << 10
	g := limitGateway(t, gatewayLimit)
	for _, host := range limitedHosts {
		for _, c := range []struct {
			path string
			size int64
			want int
		}{
			{"/", gatewayLimit, http.StatusOK},
			{"/", gatewayLimit + 1, http.StatusRequestEntityTooLarge},
			{"/limited", limit, http.StatusOK},
			{"/limited", limit + 1, http.StatusRequestEntityTooLarge},
		} {
			if status, body, err := g.post(false, "http://"+host+c.path, c.size, false); err != nil || status != c.want {
				t.Errorf("%s%s, %d bytes: %d %q %v, want %d", host, c.path, c.size, status, body, err, c.want)
			}
		}
	}
}

// A limited route does not delay the requests that it lets pass.
func TestALimitedBodyStreams(t *testing.T) {
	s := testSettings(t)
	limited := prefix("/", "web")
	limited.MaxBody = limit
	g := newGateway(t, s, host("*", limited))
	g.backend(port("web"), serving(t, echoChunks))
	g.ready("shop.test")
	body, write := io.Pipe()
	request, err := http.NewRequest(http.MethodPost, "http://shop.test/echo", body)
	if err != nil {
		t.Fatal(err)
	}
	response, err := g.client(true).Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	for _, chunk := range []string{"first", "second"} {
		io.WriteString(write, chunk) //nolint:errcheck // the next read tells
		got := make([]byte, len(chunk))
		if _, err := io.ReadFull(response.Body, got); err != nil || string(got) != chunk {
			t.Fatalf("%q came back as %q: %v", chunk, got, err)
		}
	}
	// The response has begun, so that what exceeds the limit can only end it.
	go io.Copy(write, strings.NewReader(strings.Repeat("x", 2*limit))) //nolint:errcheck // it is cut off
	if n, err := io.Copy(io.Discard, response.Body); err == nil {
		t.Errorf("%d bytes came back and a proper end, want a reset", n)
	}
}
