package envoy_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// seen is what a backend saw of a request.
type seen struct {
	Backend, Method, Host, URI, Proto string
	Header                            http.Header
}

// reporting is a backend that answers with what it saw, in JSON.
func reporting(t testing.TB, name string) string {
	return serving(t, func(w http.ResponseWriter, r *http.Request) {
		json.NewEncoder(w).Encode(seen{ //nolint:errcheck // the client would miss it
			Backend: name, Method: r.Method, Host: r.Host, URI: r.RequestURI, Proto: r.Proto, Header: r.Header,
		})
	})
}

// serving runs a backend that speaks HTTP/1.1 and, by prior knowledge, HTTP/2.
func serving(t testing.TB, handler http.HandlerFunc) string {
	t.Helper()
	server := httptest.NewUnstartedServer(handler)
	server.Config.Protocols = &http.Protocols{}
	server.Config.Protocols.SetHTTP1(true)
	server.Config.Protocols.SetUnencryptedHTTP2(true)
	server.Start()
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

// reply is a response with its body read.
type reply struct {
	*http.Response
	Text string
}

// seen is what the backend reported; none if no backend answered.
func (r reply) seen() seen {
	var s seen
	json.Unmarshal([]byte(r.Text), &s) //nolint:errcheck // other answers are no report
	return s
}

// raw sends what is written here, with line ends of HTTP, and reads one reply.
func (g *gateway) raw(request string) reply {
	g.t.Helper()
	r, err := g.tryRaw(request)
	if err != nil {
		g.t.Fatalf("%q: %v", request, err)
	}
	return r
}

func (g *gateway) tryRaw(request string) (reply, error) {
	conn, err := net.Dial("tcp", g.address())
	if err != nil {
		return reply{}, err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return reply{}, err
	}
	if _, err := io.WriteString(conn, strings.ReplaceAll(request, "\n", "\r\n")); err != nil {
		return reply{}, err
	}
	method, _, _ := strings.Cut(request, " ")
	return readReply(bufio.NewReader(conn), method)
}

func readReply(from *bufio.Reader, method string) (reply, error) {
	response, err := http.ReadResponse(from, &http.Request{Method: method})
	if err != nil {
		return reply{}, err
	}
	return readWhole(response)
}

// roundTrip is the answer to a request.
func roundTrip(over http.RoundTripper, request *http.Request) (reply, error) {
	response, err := over.RoundTrip(request)
	if err != nil {
		return reply{}, err
	}
	return readWhole(response)
}

func readWhole(response *http.Response) (reply, error) {
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return reply{response, string(body)}, err
}

// get asks for a URL's host and path without touching either.
func (g *gateway) get(host, path string, headers ...string) reply {
	g.t.Helper()
	lines := append([]string{"GET " + path + " HTTP/1.1", "Host: " + host}, headers...)
	return g.raw(strings.Join(lines, "\n") + "\n\n")
}

// ready waits until the host answers from a backend.
func (g *gateway) ready(hosts ...string) {
	g.t.Helper()
	for _, host := range hosts {
		g.eventually(host+" is served", func() error {
			if r := g.get(host, "/"); r.StatusCode == http.StatusServiceUnavailable {
				return io.ErrNoProgress
			}
			return nil
		})
	}
}

// knows waits until Envoy has the addresses as endpoints, whatever they answer.
func (g *gateway) knows(addresses ...string) {
	g.t.Helper()
	g.eventually("Envoy has the endpoints", func() error {
		clusters := g.admin("/clusters")
		for _, address := range addresses {
			if !strings.Contains(clusters, "::"+address+"::health_flags::healthy") {
				return fmt.Errorf("it has not %s", address)
			}
		}
		return nil
	})
}

// want is an error unless the reply has the status.
func want(r reply, status int) error {
	if r.StatusCode != status {
		return fmt.Errorf("status %d, want %d: %s", r.StatusCode, status, r.Text)
	}
	return nil
}

func readReplyFrom(conn io.Reader) (reply, error) {
	return readReply(bufio.NewReader(conn), http.MethodGet)
}
