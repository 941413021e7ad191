package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/fairwaynet/fairway/test/freeport"
	"github.com/fairwaynet/fairway/test/soak"
	"github.com/fairwaynet/fairway/test/tools"
)

// soon is the time within which an edit must be live; patience allows for a busy
// machine.
const (
	soon     = time.Second
	patience = 30 * time.Second
)

// program is a "fairway serve" of a test: a process of its own.
type program struct {
	t       *testing.T
	command *exec.Cmd
	port    int
	temp    string // where it makes its private folder
	ended   chan struct{}
	failure error // once ended

	mu    sync.Mutex
	lines []string // of standard error
}

// elsewhere makes an empty folder the working directory, and returns the Envoy
// of the repository.
func elsewhere(t *testing.T) (envoy string) {
	t.Helper()
	envoy = tools.Path(t, "envoy")
	t.Chdir(t.TempDir())
	return envoy
}

// startServe serves the folder "dir" of the working directory.
func startServe(t *testing.T, envoy string, args ...string) *program {
	t.Helper()
	temp := shortTemp(t)
	p := &program{t: t, port: freePort(t), temp: temp, ended: make(chan struct{})}
	args = append([]string{"serve", "dir", "--http-port", strconv.Itoa(p.port), "--https-port=0", "--envoy", envoy}, args...)
	p.command = exec.Command(os.Args[0], args...)
	p.command.Env = append(os.Environ(), asFairway+"=yes", "TMPDIR="+temp)
	stderr, err := p.command.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.command.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.ended)
		for scanner := bufio.NewScanner(stderr); scanner.Scan(); {
			p.mu.Lock()
			p.lines = append(p.lines, scanner.Text())
			p.mu.Unlock()
		}
		p.failure = p.command.Wait()
	}()
	t.Cleanup(func() {
		_ = p.command.Process.Kill() // it may have ended
		<-p.ended
		if t.Failed() {
			t.Logf("it said:\n%s", p.said())
		}
	})
	return p
}

func freePort(t *testing.T) int { return int(freeport.Get(t)) }

func (p *program) said() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.lines, "\n")
}

// says waits for a line.
func (p *program) says(text string) {
	p.t.Helper()
	eventually(p.t, patience, func() error {
		if !strings.Contains(p.said(), text) {
			return fmt.Errorf("it does not say %q", text)
		}
		return nil
	})
}

// eventually polls until check returns nil. Passing the limit is an error even if
// check succeeds later.
func eventually(t *testing.T, limit time.Duration, check func() error) {
	t.Helper()
	began := time.Now()
	for range time.Tick(5 * time.Millisecond) {
		err := check()
		if err == nil {
			return
		}
		if time.Since(began) > limit {
			t.Fatalf("not within %s: %v", limit, err)
		}
	}
}

// live waits for what an edit makes true soon.
func live(t *testing.T, check func() error) {
	t.Helper()
	began := time.Now()
	eventually(t, patience, check)
	soak.Promised(t, "an edit is live", time.Since(began), soon)
}

// answers is nil if a request gets this status and, if it is not empty, body.
func (p *program) answers(host, path string, status int, body string) func() error {
	return func() error {
		request, err := http.NewRequest(http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d%s", p.port, path), nil)
		if err != nil {
			return err
		}
		request.Host = host
		client := http.Client{Timeout: 15 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
		response, err := client.Do(request)
		if err != nil {
			return err
		}
		defer response.Body.Close()
		text, err := io.ReadAll(response.Body)
		if err != nil {
			return err
		}
		if response.StatusCode != status || body != "" && string(text) != body {
			return fmt.Errorf("%s%s answers %d %q, want %d %q", host, path, response.StatusCode, text, status, body)
		}
		return nil
	}
}

// stop sends a signal and waits for the end.
func (p *program) stop(signal os.Signal) error {
	p.t.Helper()
	if err := p.command.Process.Signal(signal); err != nil {
		p.t.Fatal(err)
	}
	select {
	case <-p.ended:
		return p.failure
	case <-time.After(patience):
		p.t.Fatal("it does not end")
		return nil
	}
}

// envoy is the process id of its Envoy.
func (p *program) envoy() int {
	p.t.Helper()
	var pid int
	eventually(p.t, patience, func() error {
		tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", p.command.Process.Pid))
		if err != nil {
			return err
		}
		for _, task := range tasks {
			if text, err := os.ReadFile(task); err == nil && len(text) > 0 {
				_, err := fmt.Sscan(string(text), &pid)
				return err
			}
		}
		return errors.New("it has no child")
	})
	return pid
}

// isGone is nil if the process does not exist.
func isGone(pid int) func() error {
	return func() error {
		if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("process %d is still there (%w)", pid, err)
		}
		return nil
	}
}

// backend answers with its name; its port goes into manifests.
func backend(t *testing.T, name string) int {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, name) }))
	t.Cleanup(server.Close)
	return server.Listener.Addr().(*net.TCPAddr).Port
}

func ingress(name, host, service string) string {
	return fmt.Sprintf(`---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: %s}
spec:
  rules:
  - host: %q
    http:
      paths:
      - path: /
        pathType: Prefix
        backend: {service: {name: %s, port: {number: 80}}}
`, name, host, service)
}

func service(name string, port int) string {
	return fmt.Sprintf(`---
apiVersion: v1
kind: Service
metadata: {name: %[1]s}
spec: {ports: [{port: 80}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: %[1]s, labels: {kubernetes.io/service-name: %[1]s}}
addressType: IPv4
ports: [{port: %[2]d}]
endpoints: [{addresses: [127.0.0.1]}]
`, name, port)
}

func TestServe(t *testing.T) {
	envoy := elsewhere(t)
	red, blue := backend(t, "red"), backend(t, "blue")
	put(t, "dir/services.yaml", service("red", red)+service("blue", blue))
	put(t, "dir/a.yaml", ingress("a", "a.test", "red"))
	p := startServe(t, envoy)
	p.says(fmt.Sprintf("serving dir on http://127.0.0.1:%d: 1 host (a.test)", p.port))
	// The console has said that the host is served, so the test does not wait.
	if err := p.answers("a.test", "/", 200, "red")(); err != nil {
		t.Error(err)
	}

	put(t, "dir/a.yaml", ingress("a", "a.test", "blue")+ingress("b", "*.b.test", "red"))
	live(t, p.answers("a.test", "/", 200, "blue"))
	live(t, p.answers("x.b.test", "/", 200, "red"))
	p.says("live: a.test")

	put(t, "dir/services.yaml", service("red", red)+service("blue", red))
	live(t, p.answers("a.test", "/", 200, "red"))

	// Backends on this machine are allowed here, also by name.
	put(t, "dir/external.yaml", strings.Replace(ingress("external", "external.test", "external"), "number: 80", fmt.Sprintf("number: %d", red), 1)+`---
apiVersion: v1
kind: Service
metadata: {name: external}
spec: {type: ExternalName, externalName: localhost}
`)
	eventually(t, patience, p.answers("external.test", "/", 200, "red"))

	// A broken file keeps its last good version, and other hosts stay.
	put(t, "dir/a.yaml", strings.Replace(ingress("a", "a.test", "blue"), "host:", "hots:", 1)+ingress("b", "c.b.test", "red"))
	live(t, p.answers("c.b.test", "/", 200, "red"))
	p.says(`problem: dir/a.yaml:7: InvalidField: Ingress default/a: unknown field "spec.rules[0].hots"; its last good version stays`)
	if err := p.answers("a.test", "/", 200, "red")(); err != nil {
		t.Error(err)
	}
	put(t, "dir/a.yaml", ingress("a", "a.test", "blue"))
	p.says("mended: dir/a.yaml:7")
	p.says("gone: c.b.test")

	// A Problem from Build names line and file.
	put(t, "dir/b.yaml", ingress("b", "b.test", "green"))
	live(t, p.answers("b.test", "/", 503, ""))
	p.says(`problem: dir/b.yaml:12: Ingress default/b: spec.rules[0].http.paths[0].backend.service.name: BackendNotFound`)

	if err := os.Remove("dir/b.yaml"); err != nil {
		t.Fatal(err)
	}
	live(t, p.answers("b.test", "/", 404, ""))
}

func TestServeSurvivesEnvoyAndLeavesNothing(t *testing.T) {
	for _, signal := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		t.Run(signal.String(), func(t *testing.T) {
			envoy := elsewhere(t)
			put(t, "dir/a.yaml", ingress("a", "a.test", "red")+service("red", backend(t, "red")))
			p := startServe(t, envoy)
			p.says("serving dir")

			first := p.envoy()
			if err := syscall.Kill(first, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			eventually(t, patience, isGone(first))
			eventually(t, patience, p.answers("a.test", "/", 200, "red"))
			p.says("envoy ended by itself and is started again")

			second := p.envoy()
			if err := p.stop(signal); err != nil {
				t.Errorf("it ends with %v", err)
			}
			if err := isGone(second)(); err != nil {
				t.Error(err)
			}
			if left, err := os.ReadDir(p.temp); err != nil || len(left) > 0 {
				t.Errorf("it leaves %v (%v)", left, err)
			}
			if strings.Contains(p.said(), "SIGTERM") {
				t.Error("it speaks of how Envoy was ended")
			}
		})
	}
}

func TestEnvoyDoesNotOutliveAKilledServe(t *testing.T) {
	envoy := elsewhere(t)
	put(t, "dir/a.yaml", ingress("a", "a.test", "red")+service("red", backend(t, "red")))
	p := startServe(t, envoy)
	p.says("serving dir")
	child := p.envoy()
	if err := p.stop(syscall.SIGKILL); err == nil {
		t.Error("it ends well")
	}
	eventually(t, patience, isGone(child))
}

func TestServeHasMetricsAndHealth(t *testing.T) {
	envoy := elsewhere(t)
	put(t, "dir/a.yaml", ingress("a", "a.test", "red")+"---\nkind: [\n")
	address := fmt.Sprintf("127.0.0.1:%d", freePort(t))
	startServe(t, envoy, "--metrics-address", address, "--log-format=json").says(`"msg":"serving","folder":"dir"`)
	for path, want := range map[string]string{
		"/healthz": "ok", "/readyz": "ok",
		"/metrics": `fairway_problems{kind="File",reason="InvalidSyntax"} 1`,
	} {
		response, err := http.Get("http://" + address + path)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(response.Body)
		response.Body.Close()
		if err != nil || response.StatusCode != http.StatusOK || !strings.Contains(string(text), want) {
			t.Errorf("%s answers %d (%v) without %q", path, response.StatusCode, err, want)
		}
	}
}

func TestAnEmptyFolderIsServedToo(t *testing.T) {
	envoy := elsewhere(t)
	if err := os.Mkdir("dir", 0o755); err != nil {
		t.Fatal(err)
	}
	p := startServe(t, envoy)
	p.says("no hosts")
	if err := p.answers("a.test", "/", 404, "")(); err != nil {
		t.Error(err)
	}
}

// TestServeSaysWhatItWaitsFor: this Envoy never asks for its configuration.
func TestServeSaysWhatItWaitsFor(t *testing.T) {
	elsewhere(t)
	put(t, "dir/a.yaml", "")
	put(t, "idle", "#!/bin/sh\nexec sleep 1000\n")
	if err := os.Chmod("idle", 0o755); err != nil {
		t.Fatal(err)
	}
	p := startServe(t, "./idle")
	p.says("not yet serving: Envoy has not connected")
	if err := p.stop(syscall.SIGTERM); err != nil {
		t.Errorf("it ends with %v", err)
	}
}

func TestServeSaysWhyItCannot(t *testing.T) {
	envoy := elsewhere(t)
	put(t, "dir/a.yaml", "")
	put(t, "file", "")
	put(t, "dud", "#!/bin/sh\necho 'not today' >&2\nexit 3\n")
	if err := os.Chmod("dud", 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", t.TempDir())
	t.Setenv("FAIRWAY_ENVOY", "")
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	inUse := strconv.Itoa(taken.Addr().(*net.TCPAddr).Port)
	free := strconv.Itoa(freePort(t))
	for _, test := range []struct {
		name string
		args []string
		want string
	}{
		{"no folder", []string{"absent"}, "serve absent: no such file or directory"},
		{"a file", []string{"file"}, "serve file: it is not a folder"},
		{"no Envoy", []string{"dir", "--http-port", free}, "find Envoy: envoy: executable file not found in $PATH: run 'make tools-envoy', or say with --envoy or $FAIRWAY_ENVOY where it is"},
		{"an Envoy that is not there", []string{"dir", "--http-port", free, "--https-port=0", "--envoy=./absent"}, "find Envoy: ./absent: "},
		{"no Envoy at all", []string{"dir", "--http-port", free, "--https-port=0", "--envoy=./dud"}, "exit status 3, 3 times before it was ready; its last words: not today\n"},
		{"a port in use", []string{"dir", "--http-port", inUse, "--https-port=0", "--envoy", envoy}, "the port is in use: stop what serves there, or choose another with --http-port"},
		{"another machine's address", []string{"dir", "--http-port", free, "--https-port=0", "--address=192.0.2.1", "--envoy", envoy}, "this machine does not have that address: choose another with --address"},
		{"metrics on a port in use", []string{"dir", "--http-port", free, "--https-port=0", "--envoy", envoy, "--metrics-address=127.0.0.1:" + inUse}, "serve --metrics-address: "},
	} {
		t.Run(test.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			command := exec.CommandContext(ctx, os.Args[0], append([]string{"serve"}, test.args...)...)
			temp := t.TempDir()
			command.Env = append(os.Environ(), asFairway+"=yes", "TMPDIR="+temp)
			text, err := command.CombinedOutput()
			if code := command.ProcessState.ExitCode(); code != exitFailed {
				t.Errorf("exit code %d (%v)", code, err)
			}
			if !strings.Contains(string(text), test.want) {
				t.Errorf("says %s, want %q", text, test.want)
			}
			if left, err := os.ReadDir(temp); err != nil || len(left) > 0 {
				t.Errorf("leaves %v (%v)", left, err)
			}
		})
	}
}
