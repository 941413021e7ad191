package fairway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/go-logr/logr/funcr"

	"github.com/fairwaynet/fairway/test/tools"
	"github.com/fairwaynet/fairway/xds/gateway"
)

// Envoy is one Envoy of the gateway. All Envoys listen on port 8080 of every
// address; the kernel spreads connections over them.
type Envoy struct {
	process *gateway.Process
	stop    context.CancelFunc
	ended   chan struct{}
}

// startEnvoy runs an Envoy of a gateway until the test ends.
func (r *Installation) startEnvoy(t testing.TB, i int, gatewayName string) *Envoy {
	t.Helper()
	dir := r.path("envoy", i)
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	log := &tail{}
	e := &Envoy{ended: make(chan struct{}), process: &gateway.Process{
		Path: tools.Path(t, "envoy"),
		Dir:  dir,
		Bootstrap: gateway.Bootstrap{
			Gateway: gatewayName,
			Node:    fmt.Sprintf("envoy-%d", i),
			XDS:     gateway.XDS{Addresses: r.asks(i), TLS: r.tls},
			ACME:    r.responders(),
			Admin:   filepath.Join(dir, "admin"),
		},
		Workers: 2,
		Stdout:  r.accessLog(i),
		Log:     funcr.New(func(_, line string) { fmt.Fprintln(log, line) }, funcr.Options{}),
	}}
	ctx, cancel := context.WithCancel(context.Background())
	e.stop = cancel
	go func() {
		defer close(e.ended)
		if err := e.process.Run(ctx); err != nil {
			fmt.Fprintln(log, err)
		}
	}()
	t.Cleanup(func() {
		e.Stop()
		if t.Failed() {
			t.Logf("last words of envoy %d:\n%s", i, log)
		}
	})
	return e
}

// accessLog notes the requests that were not answered 200. It notes a sequence of
// equal ones once.
func (r *Installation) accessLog(i int) io.Writer {
	if !r.recorded {
		return nil
	}
	var last string
	return &lineWriter{line: func(line string) {
		var l struct {
			Host, Path, Flags, Details, Reason, Ingress, Upstream string
			Status                                                int
			Cluster                                               string `json:"upstream_cluster"`
		}
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			r.Timeline.Note("envoy-%d's access log: %s", i, line)
			return
		}
		if text := fmt.Sprintf("%+v", l); l.Status != http.StatusOK && text != last {
			r.Timeline.Note("envoy-%d's access log: %s", i, text)
			last = text
		}
	}}
}

// AddEnvoy starts one more Envoy, and returns when it serves.
func (r *Installation) AddEnvoy(t testing.TB) *Envoy {
	t.Helper()
	e := r.startEnvoy(t, len(r.Envoys), gatewayName)
	r.Envoys = append(r.Envoys, e)
	e.WaitReady(t)
	return e
}

// Freeze stops the Envoy process without ending it, so that it does not answer.
func (e *Envoy) Freeze(t testing.TB) (thaw func()) {
	t.Helper()
	pid := e.PID(t)
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatalf("freeze envoy: %v", err)
	}
	var once sync.Once
	thaw = func() { once.Do(func() { _ = syscall.Kill(pid, syscall.SIGCONT) }) } // it may have ended
	t.Cleanup(thaw)
	return thaw
}

// Kill kills the Envoy process, as a crash would, and returns when it is gone.
// The gateway restarts it.
func (e *Envoy) Kill(t testing.TB) {
	t.Helper()
	pid := e.PID(t)
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatalf("kill envoy: %v", err)
	}
	Eventually(t, time.Minute, func(context.Context) error {
		if _, err := os.Stat(fmt.Sprintf("/proc/%d", pid)); err == nil {
			return fmt.Errorf("envoy %d is still there", pid)
		}
		return nil
	})
}

// RSS is Envoy's resident memory in bytes.
func (e *Envoy) RSS(t testing.TB) int64 { return rss(t, e.PID(t)) }

// PID is the running Envoy process with this gateway's bootstrap on its command
// line.
func (e *Envoy) PID(t testing.TB) int {
	t.Helper()
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range lines {
		text, err := os.ReadFile(path)
		if err != nil || !strings.Contains(string(text), e.process.Dir+"/") {
			continue // it has ended, or belongs to another user
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if err != nil {
			t.Fatal(err)
		}
		return pid
	}
	t.Fatalf("no envoy runs for %s", e.process.Dir)
	return 0
}

// WaitReady waits until Envoy serves.
func (e *Envoy) WaitReady(t testing.TB) {
	t.Helper()
	Eventually(t, 2*time.Minute, func(ctx context.Context) error {
		select {
		case <-e.ended:
			return errors.New("envoy has ended")
		default:
			return e.process.Ready(ctx)
		}
	})
}

// Stop drains and stops Envoy.
func (e *Envoy) Stop() {
	e.stop()
	<-e.ended
}
