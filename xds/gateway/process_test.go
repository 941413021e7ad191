package gateway

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"

	"github.com/fairwaynet/fairway/test/tools"
)

// deadline is for anything that happens at once on an idle machine.
const deadline = 30 * time.Second

// eventually polls until a check has nothing to say.
func eventually(t *testing.T, check func() error) {
	t.Helper()
	end := time.Now().Add(deadline)
	for now := range time.Tick(10 * time.Millisecond) {
		err := check()
		if err == nil {
			return
		}
		if now.After(end) {
			t.Fatal(err)
		}
	}
}

// privateDir is a folder whose path is short enough for sockets.
func privateDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "gw") //nolint:usetesting // its paths are too long
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// running is an Envoy that a test has started.
type running struct {
	*Process
	stop context.CancelFunc
	done chan error
}

// run starts an Envoy and stops it, at the latest when the test ends.
func run(t *testing.T, p *Process) *running {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	r := &running{Process: p, stop: cancel, done: make(chan error, 1)}
	go func() { r.done <- p.Run(ctx); close(r.done) }()
	t.Cleanup(func() {
		cancel()
		if err := <-r.done; err != nil {
			t.Errorf("Run = %v", err)
		}
	})
	return r
}

// overSocket is an xDS server on a Unix socket and the Envoy that uses it.
func overSocket(t *testing.T) (*ads, *Process) {
	t.Helper()
	dir := privateDir(t)
	on, err := net.Listen("unix", filepath.Join(dir, "xds.sock"))
	if err != nil {
		t.Fatal(err)
	}
	return serveADS(t, on, nil), &Process{
		Path: tools.Path(t, "envoy"), Dir: dir, Workers: 1, Log: logTo(t),
		Bootstrap: Bootstrap{
			Gateway: "blue", Node: "test", Admin: filepath.Join(dir, "admin.sock"),
			XDS: XDS{Socket: filepath.Join(dir, "xds.sock")},
		},
	}
}

func get(url string) error {
	client := http.Client{Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Get(url)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if body, err := io.ReadAll(response.Body); err != nil || string(body) != "hello" {
		return fmt.Errorf("answer %q, %w", body, err)
	}
	return nil
}

// children are the processes whose parent we are.
func children(t *testing.T) []int {
	t.Helper()
	var found []int
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", os.Getpid()))
	if err != nil {
		t.Fatal(err)
	}
	for _, task := range tasks {
		text, err := os.ReadFile(task)
		if err != nil {
			continue // the thread has ended
		}
		for _, field := range strings.Fields(string(text)) {
			var pid int
			if _, err := fmt.Sscan(field, &pid); err != nil {
				t.Fatal(err)
			}
			found = append(found, pid)
		}
	}
	return found
}

func TestEnvoyServesWhatTheServerSays(t *testing.T) {
	server, process := overSocket(t)
	envoy := run(t, process)
	eventually(t, func() error { return envoy.Ready(t.Context()) })
	if err := get(server.url()); err != nil {
		t.Error(err)
	}
	node := <-server.nodes
	if node.Cluster != "blue" || node.Id != "test" {
		t.Errorf("Envoy is node %q of gateway %q", node.Id, node.Cluster)
	}
	info, err := os.Stat(process.Bootstrap.Admin)
	if err != nil {
		t.Fatal(err)
	}
	if mode := info.Mode().Perm(); mode != 0o600 {
		t.Errorf("the admin socket has mode %o", mode)
	}

	envoy.stop()
	if err := <-envoy.done; err != nil {
		t.Errorf("Run = %v", err)
	}
	if left := children(t); left != nil {
		t.Errorf("processes left: %v", left)
	}
}

func TestEnvoyIsNotReadyWithoutAServer(t *testing.T) {
	dir := privateDir(t)
	envoy := run(t, &Process{
		Path: tools.Path(t, "envoy"), Dir: dir, Workers: 1, Log: logTo(t),
		Bootstrap: Bootstrap{
			Gateway: "blue", Node: "test", Admin: filepath.Join(dir, "admin.sock"),
			XDS: XDS{Socket: filepath.Join(dir, "nobody.sock")},
		},
	})
	eventually(t, func() error {
		err := envoy.Ready(t.Context())
		if err == nil || !strings.Contains(err.Error(), "INITIALIZING") {
			return fmt.Errorf("Ready = %w, want that it initializes", err)
		}
		return nil
	})
}

func TestACrashedEnvoyComesBack(t *testing.T) {
	server, process := overSocket(t)
	envoy := run(t, process)
	eventually(t, func() error { return envoy.Ready(t.Context()) })
	for range 2 {
		first := children(t)
		if len(first) != 1 {
			t.Fatalf("children %v, want one", first)
		}
		if err := syscall.Kill(first[0], syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		eventually(t, func() error {
			if now := children(t); len(now) != 1 || now[0] == first[0] {
				return fmt.Errorf("children %v after %v", now, first)
			}
			return errors.Join(envoy.Ready(t.Context()), get(server.url()))
		})
	}
}

func TestStopWaitsForClientsToLeave(t *testing.T) {
	server, process := overSocket(t)
	process.Drain = deadline
	envoy := run(t, process)
	eventually(t, func() error { return envoy.Ready(t.Context()) })

	connection, err := net.Dial("tcp", strings.TrimSuffix(strings.TrimPrefix(server.url(), "http://"), "/"))
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	answers := bufio.NewReader(connection)
	ask := func() (*http.Response, error) {
		if _, err := io.WriteString(connection, "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"); err != nil {
			return nil, err
		}
		response, err := http.ReadResponse(answers, nil)
		if err != nil {
			return nil, err
		}
		_, err = io.Copy(io.Discard, response.Body)
		return response, err
	}
	if response, err := ask(); err != nil || response.Close {
		t.Fatalf("before the drain: %v, %v", response, err)
	}

	envoy.stop()
	eventually(t, func() error { // it has been told to drain
		if err := envoy.Ready(t.Context()); err == nil {
			return errors.New("envoy is still ready")
		}
		return nil
	})
	select {
	case err := <-envoy.done:
		t.Fatalf("Run ended (%v) with a connection open", err)
	default:
	}
	response, err := ask()
	if err != nil || !response.Close {
		t.Errorf("while it drains: %v, %v; want an answer that closes the connection", response, err)
	}
	connection.Close()
	began := time.Now()
	if err := <-envoy.done; err != nil {
		t.Errorf("Run = %v", err)
	}
	if took := time.Since(began); took > deadline/2 {
		t.Errorf("the last client has left, and Run ended after %s", took)
	}
}

func TestStopCutsOffWhoDoesNotLeave(t *testing.T) {
	server, process := overSocket(t)
	process.Drain = 200 * time.Millisecond
	envoy := run(t, process)
	eventually(t, func() error { return envoy.Ready(t.Context()) })
	connection, err := net.Dial("tcp", strings.TrimSuffix(strings.TrimPrefix(server.url(), "http://"), "/"))
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	eventually(t, func() error {
		if open, err := envoy.Admin().Connections(t.Context()); open != 1 {
			return fmt.Errorf("%d connections, %w", open, err)
		}
		return nil
	})
	envoy.stop()
	select {
	case err := <-envoy.done:
		if err != nil {
			t.Errorf("Run = %v", err)
		}
	case <-time.After(deadline):
		t.Fatal("Run has not ended")
	}
}

// An Envoy that drains serves on, and may fill up meanwhile: it is told.
func TestPressureIsToldWhileEnvoyDrains(t *testing.T) {
	server, process := overSocket(t)
	process.Drain, process.Bootstrap.MaxConnections = deadline, 10
	envoy := run(t, process)
	eventually(t, func() error { return envoy.Ready(t.Context()) })
	var open []net.Conn
	connect := func() {
		connection, err := net.Dial("tcp", strings.TrimSuffix(strings.TrimPrefix(server.url(), "http://"), "/"))
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, connection)
	}
	told := func(want string) func() error {
		return func() error {
			if text, err := os.ReadFile(filepath.Join(process.Dir, pressureFile)); err != nil || string(text) != want {
				return fmt.Errorf("envoy is told %q (%w), want %q", text, err, want)
			}
			return nil
		}
	}
	connect()
	eventually(t, told("0.10"))
	envoy.stop()
	eventually(t, func() error {
		if err := envoy.Ready(t.Context()); !errors.Is(err, ErrStopping) {
			return fmt.Errorf("envoy is not being stopped: %w", err)
		}
		return nil
	})
	for range 4 {
		connect()
	}
	eventually(t, told("0.50"))
	for _, connection := range open {
		connection.Close()
	}
	if err := <-envoy.done; err != nil {
		t.Errorf("Run = %v", err)
	}
}

func TestWhatCannotBeStartedIsAnError(t *testing.T) {
	_, process := overSocket(t)
	process.Path = filepath.Join(process.Dir, "absent")
	if err := process.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("Run = %v", err)
	}
}

func TestWhatNeverBecomesReadyIsAnErrorWithItsLastWords(t *testing.T) {
	_, process := overSocket(t)
	process.LogLevel = "loud"
	err := process.Run(t.Context())
	if err == nil || !strings.Contains(err.Error(), "3 times") || !strings.Contains(err.Error(), "'loud'") {
		t.Errorf("Run = %v", err)
	}
}

func TestMutualTLSWithRotation(t *testing.T) {
	dir := privateDir(t)
	trusted := newAuthority(t)
	trusted.write(t, dir, "first")
	on, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := serveADS(t, on, &tls.Config{
		Certificates: []tls.Certificate{trusted.pair(t, "controller.test")},
		ClientAuth:   tls.RequireAndVerifyClientCert, ClientCAs: trusted.pool, NextProtos: []string{"h2"},
		VerifyConnection: func(state tls.ConnectionState) error {
			_, err := state.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: trusted.pool, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
			return err
		},
	})
	process := &Process{
		Path: tools.Path(t, "envoy"), Dir: dir, Workers: 1, Log: logTo(t),
		Bootstrap: Bootstrap{
			Gateway: "blue", Node: "test", Admin: filepath.Join(dir, "admin.sock"),
			XDS: XDS{Addresses: []string{on.Addr().String()}, TLS: &TLS{
				CA: dir + "/ca.crt", Certificate: dir + "/tls.crt", Key: dir + "/tls.key", ServerName: "controller.test",
			}},
		},
	}
	envoy := run(t, process)
	eventually(t, func() error { return envoy.Ready(t.Context()) })
	if name := <-server.peers; name != "first" {
		t.Errorf("Envoy came as %q", name)
	}

	trusted.write(t, dir, "second")
	eventually(t, func() error {
		stats, err := process.Admin().stats(t.Context(), `ssl_context_update_by_sds$`)
		if err == nil && stats.sum("envoy_cluster_client_ssl_socket_factory_ssl_context_update_by_sds") < 3 {
			err = fmt.Errorf("the certificate was not read again: %v", stats)
		}
		return err
	})
}

func TestAServerOfAnotherNameIsRefused(t *testing.T) {
	dir := privateDir(t)
	trusted := newAuthority(t)
	trusted.write(t, dir, "gateway")
	on, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := serveADS(t, on, &tls.Config{
		Certificates: []tls.Certificate{trusted.pair(t, "somebody.test")}, NextProtos: []string{"h2"},
	})
	process := &Process{
		Path: tools.Path(t, "envoy"), Dir: dir, Workers: 1, Log: logTo(t),
		Bootstrap: Bootstrap{
			Gateway: "blue", Node: "test", Admin: filepath.Join(dir, "admin.sock"),
			XDS: XDS{Addresses: []string{on.Addr().String()}, TLS: &TLS{
				CA: dir + "/ca.crt", Certificate: dir + "/tls.crt", Key: dir + "/tls.key", ServerName: "controller.test",
			}},
		},
	}
	run(t, process)
	eventually(t, func() error {
		stats, err := process.Admin().stats(t.Context(), `ssl\.fail_verify_san$`)
		if err == nil && stats.sum("envoy_cluster_ssl_fail_verify_san") == 0 {
			err = fmt.Errorf("no refusal: %v", stats)
		}
		return err
	})
	select {
	case node := <-server.nodes:
		t.Errorf("Envoy %q talks to a server of another name", node.Id)
	default:
	}
}

// logTo writes the log into that of the test.
func logTo(t *testing.T) logr.Logger {
	return funcr.New(func(prefix, args string) { t.Log(prefix, args) }, funcr.Options{Verbosity: 1})
}
