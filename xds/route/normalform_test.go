package route_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	networkingv1 "k8s.io/api/networking/v1"

	"github.com/fairwaynet/fairway/test/tools"
	"github.com/fairwaynet/fairway/xds/route"
)

// Rules and requests meet in one form of a path. Envoy says which: every path
// that it hands to its routes is one that a rule can have as it is, and every
// path that Build makes of a rule is one that Envoy leaves as it is.
func TestPathsHaveEnvoysNormalForm(t *testing.T) {
	envoy := startEcho(t)
	for _, path := range oddPaths() {
		if seen, ok := envoy.echo(t, path); ok && plain(path) && !leftover(seen) {
			if built, ok := builtPath(seen); !ok || built != seen {
				t.Errorf("a request for %q arrives as %q, which a rule cannot match (%q)", path, seen, built)
			}
		}
		if built, ok := builtPath(path); ok {
			if seen, ok := envoy.echo(t, built); !ok || seen != built {
				t.Errorf("a rule for %q waits for %q, which arrives as %q", path, built, seen)
			}
		}
	}
}

// oddPaths are every byte, bare and escaped, and mixtures of all that matters.
func oddPaths() []string {
	var paths []string
	for c := range 256 {
		paths = append(paths, "/a"+string([]byte{byte(c)})+"b", fmt.Sprintf("/a%%%02Xb", c), fmt.Sprintf("/a%%%02xb", c))
	}
	pieces := []string{"/", "/", ".", "..", "%2e", "%2E", ";", "%", "%2", "a", "%41", "~", "%7e", "%25", "\\", "{", "é", "%c3%a9", " ", "+", "*", "%32F", "%zz"}
	random := rand.New(rand.NewPCG(1, 2))
	for range 500 {
		path := "/"
		for range random.IntN(6) {
			path += pick(random, pieces)
		}
		paths = append(paths, path)
	}
	return paths
}

// plain reports whether a request line can hold a path, and all of it is path.
func plain(path string) bool {
	return !strings.ContainsFunc(path, func(r rune) bool { return r <= ' ' || r > '~' || r == '?' || r == '#' })
}

// leftover recognises what Envoy leaves although it is not normal: "//" where a
// path is nothing but slashes, and dot segments with parameters whose dots were
// escaped. No rule matches these on purpose.
func leftover(seen string) bool {
	return seen == "//" || regexp.MustCompile(`/\.\.?;`).MatchString(seen)
}

// builtPath is the path that Build makes of an Exact rule.
func builtPath(path string) (string, bool) {
	ing := ingressOf("web", "a.test", path)
	ing.Spec.Rules[0].HTTP.Paths[0].PathType = new(networkingv1.PathTypeExact)
	host, _ := route.Build(route.Key{Host: "a.test"}, route.Objects{Ingresses: []*networkingv1.Ingress{ing}})
	if len(host.Routes) == 0 {
		return "", false
	}
	return host.Routes[0].Match.Path, true
}

// echo is a running Envoy that answers with the path of a request as its routes
// see it.
type echo struct{ address string }

func startEcho(t *testing.T) echo {
	t.Helper()
	admin := filepath.Join(t.TempDir(), "admin")
	cmd := exec.Command(tools.Path(t, "envoy"), "--config-path", "testdata/normalform.envoy.yaml",
		"--admin-address-path", admin, "--use-dynamic-base-id", "--concurrency", "1", "--log-level", "error")
	cmd.Stderr = t.Output()
	must(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	deadline := time.After(30 * time.Second)
	for tick := time.Tick(20 * time.Millisecond); ; {
		select {
		case <-deadline:
			t.Fatal("Envoy does not listen")
		case <-tick:
			if address, ok := listenerOf(admin); ok {
				return echo{address}
			}
		}
	}
}

// listenerOf asks the admin whose address is in a file where the listener is.
func listenerOf(adminFile string) (string, bool) {
	admin, err := os.ReadFile(adminFile)
	if err != nil || len(admin) == 0 {
		return "", false
	}
	response, err := http.Get("http://" + string(admin) + "/listeners?format=json")
	if err != nil {
		return "", false
	}
	defer func() { _ = response.Body.Close() }()
	var listeners struct {
		Statuses []struct {
			Address struct {
				Socket struct {
					Address string `json:"address"`
					Port    int    `json:"port_value"`
				} `json:"socket_address"`
			} `json:"local_address"`
		} `json:"listener_statuses"`
	}
	if json.NewDecoder(response.Body).Decode(&listeners) != nil || len(listeners.Statuses) == 0 {
		return "", false
	}
	socket := listeners.Statuses[0].Address.Socket
	address := net.JoinHostPort(socket.Address, fmt.Sprint(socket.Port))
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return "", false
	}
	return address, conn.Close() == nil
}

// echo asks for a path, byte for byte. It is not ok when Envoy refuses the
// request, or sends it elsewhere.
func (e echo) echo(t *testing.T, path string) (seen string, ok bool) {
	t.Helper()
	conn, err := net.Dial("tcp", e.address)
	must(t, err)
	defer func() { _ = conn.Close() }()
	must(t, conn.SetDeadline(time.Now().Add(10*time.Second)))
	_, err = fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n", path)
	must(t, err)
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	must(t, err)
	body, err := io.ReadAll(response.Body)
	must(t, err)
	return string(body), response.StatusCode == http.StatusOK
}
