package envoy_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/fairwaynet/fairway/xds/route"
)

// spelled is a backend over HTTP/1.1 that answers with the names of a request's
// headers as they were written, and writes its own in odd ways.
func spelled(t *testing.T) string {
	t.Helper()
	return accepting(t, answerSpelled)
}

func answerSpelled(conn net.Conn) {
	lines := bufio.NewScanner(conn)
	var names []string
	for lines.Scan() {
		if lines.Text() != "" {
			name, _, _ := strings.Cut(lines.Text(), ":")
			names = append(names, name)
			continue
		}
		body := strings.Join(names[1:], " ") // behind the request line
		names = nil
		fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nETag: x\r\nX-LOUD: 1\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	}
}

// written are the names of headers of a reply to a request, and those that the
// backend saw, as they were written.
func written(t *testing.T, g *gateway, host, path string) (reply, request []string) {
	t.Helper()
	conn, err := net.Dial("tcp", g.address())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience)) //nolint:errcheck // it would fail by what follows
	fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHOST: %s\r\nSOAPAction: y\r\nx-lOUd: z\r\nConnection: close\r\n\r\n", path, host)
	// Envoy closes the connection a second after its last octet.
	stream, length := bufio.NewReader(conn), 0
	for i := 0; ; i++ {
		line, err := stream.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		if name == "" {
			break
		}
		if i > 0 { // behind the status line
			reply = append(reply, name)
		}
		if strings.EqualFold(name, "Content-Length") {
			if length, err = strconv.Atoi(strings.TrimSpace(value)); err != nil {
				t.Fatal(err)
			}
		}
	}
	body := make([]byte, length)
	if _, err := io.ReadFull(stream, body); err != nil {
		t.Fatal(err)
	}
	return among(reply, "etag", "x-loud", "content-length", "server"), among(strings.Fields(string(body)), "host", "soapaction", "x-loud", "x-forwarded-for")
}

// among are those of the names that are one of few.
func among(names []string, few ...string) []string {
	return slices.DeleteFunc(names, func(name string) bool { return !slices.Contains(few, strings.ToLower(name)) })
}

// Names of headers are written as the setting says, to backends and to clients,
// under every kind of host, and in the gateway's own answers.
func TestHeaderCase(t *testing.T) {
	for choice, want := range map[route.HeaderCase]struct{ request, reply, own, http2 []string }{
		route.HeaderCaseLower: {
			[]string{"host", "soapaction", "x-loud", "x-forwarded-for"}, []string{"etag", "x-loud", "content-length", "server"},
			[]string{"content-length", "server"}, []string{"host", "soapaction", "x-forwarded-for"},
		},
		route.HeaderCaseTitle: {
			[]string{"Host", "Soapaction", "X-Loud", "X-Forwarded-For"}, []string{"Etag", "X-Loud", "Content-Length", "Server"},
			[]string{"Content-Length", "Server"}, []string{"Host", "Soapaction", "X-Forwarded-For"},
		},
		route.HeaderCasePreserve: {
			[]string{"HOST", "SOAPAction", "x-lOUd", "X-Forwarded-For"}, []string{"ETag", "X-LOUD", "Content-Length", "Server"},
			[]string{"content-length", "server"}, []string{"host", "soapaction", "x-forwarded-for"},
		},
	} {
		t.Run(string(choice), func(t *testing.T) {
			s := testSettings(t)
			s.HeaderCase = choice
			g := newGateway(t, s, host("shop.test", prefix("/web", "web")), host("*.shop.test", prefix("/web", "web")), host("*", prefix("/web", "web")))
			g.backend(port("web"), spelled(t))
			g.eventually("it is served", func() error { return want503(g) })
			for _, host := range []string{"shop.test", "SHOP.TEST.:80", "a.shop.test", "unknown.test"} {
				reply, request := written(t, g, host, "/web")
				if diff := cmp.Diff(want.request, request); diff != "" {
					t.Errorf("%s: the backend saw (-want +got):\n%s", host, diff)
				}
				if diff := cmp.Diff(want.reply, reply); diff != "" {
					t.Errorf("%s: the client saw (-want +got):\n%s", host, diff)
				}
				own, _ := written(t, g, host, "/none")
				if diff := cmp.Diff(want.own, own); diff != "" {
					t.Errorf("%s: an answer of the gateway's own has (-want +got):\n%s", host, diff)
				}
			}
			got := g.h2Ended(":method", "GET", ":scheme", "http", ":path", "/web", ":authority", "shop.test", "soapaction", "y")
			seen := among(strings.Fields(got.data.String()), "host", "soapaction", "x-forwarded-for")
			if diff := cmp.Diff(want.http2, seen); diff != "" || got.got["etag"] != "x" {
				t.Errorf("over HTTP/2 %v; the backend saw (-want +got):\n%s", got.got, diff)
			}
		})
	}
}

// want503 is an error while the backend does not answer.
func want503(g *gateway) error { return want(g.get("shop.test", "/web"), 200) }
