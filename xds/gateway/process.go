package gateway

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	goruntime "runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/go-logr/logr"
)

const (
	// A crashed Envoy is started again after firstRestart, then twice that, up to
	// lastRestart. After it ran for stableAfter, the pause begins at firstRestart again.
	firstRestart = 100 * time.Millisecond
	lastRestart  = 10 * time.Second
	stableAfter  = 30 * time.Second
	// maxFailedStarts is how often an Envoy may end before it was ever ready.
	maxFailedStarts = 3
	// killTimeout is how long Envoy may take from SIGTERM to its end.
	killTimeout = 5 * time.Second
	// pollInterval is how often Envoy's state is read.
	pollInterval = 50 * time.Millisecond
)

// Process is an Envoy as a child process.
type Process struct {
	// Path is Envoy's program.
	Path string
	// Dir is a private folder for the files that Envoy reads.
	Dir       string
	Bootstrap Bootstrap
	// Workers are Envoy's worker threads; 0: one for each CPU.
	Workers int
	// LogLevel is how much Envoy says: "warning" if empty.
	LogLevel string
	// Stdout takes Envoy's standard output, which is the access log; nil: it is
	// discarded. Envoy's standard error goes to Log.
	Stdout io.Writer
	Log    logr.Logger
	// DrainDelay is how long Envoy serves as before when it is to be stopped, except that
	// Ready fails: load balancers need a while to notice.
	DrainDelay time.Duration
	// Drain is how long clients may take to leave after that.
	Drain time.Duration
	// Prover proves to the controllers which certificates are served; nil: they get no
	// proofs.
	Prover *Prover

	wasReady atomic.Bool
	stopping atomic.Bool
	restarts atomic.Int64
}

// ErrStopping is the reason why an Envoy that is about to end is not ready.
var ErrStopping = errors.New("envoy is being stopped")

// Admin is the admin interface of the Envoy that runs.
func (p *Process) Admin() Admin { return Admin{Socket: p.Bootstrap.Admin} }

// Ready is nil when Envoy serves, else the reason why it does not.
func (p *Process) Ready(ctx context.Context) error {
	if p.stopping.Load() {
		return ErrStopping
	}
	err := p.Admin().Ready(ctx)
	if err == nil {
		p.wasReady.Store(true)
	}
	return err
}

// Run keeps an Envoy running until ctx ends, then drains and stops it. It returns an error
// only if the program cannot be started, or ends again and again without ever having been
// ready.
func (p *Process) Run(ctx context.Context) error {
	files, err := openFiles()
	if err != nil {
		return err
	}
	bootstrap := p.Bootstrap.limitConnections(files)
	if bootstrap.MaxConnections != p.Bootstrap.MaxConnections {
		p.Log.Info("few files may be open, which bounds the connections of clients", "files", files, "connections", bootstrap.MaxConnections)
	}
	config, err := bootstrap.Write(p.Dir)
	if err != nil {
		return err
	}
	wait := firstRestart
	for failures := 1; ; failures++ {
		began := time.Now()
		said, err := p.runOnce(ctx, config, cmp.Or(bootstrap.MaxConnections, DefaultMaxConnections))
		if err == nil {
			return nil
		}
		if start := (*startError)(nil); errors.As(err, &start) {
			return err
		}
		if !p.wasReady.Load() && failures >= maxFailedStarts {
			return fmt.Errorf("run %s: %w, %d times before it was ready; its last words: %s", p.Path, err, failures, said)
		}
		if time.Since(began) > stableAfter {
			wait = firstRestart
		}
		p.Log.Error(err, "envoy ended by itself and is started again", "after", wait)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
		p.restarts.Add(1)
		wait = min(2*wait, lastRestart)
	}
}

// startError says that the program could not be started.
type startError struct{ cause error }

func (e *startError) Error() string { return "start envoy: " + e.cause.Error() }
func (e *startError) Unwrap() error { return e.cause }

// runOnce runs one Envoy until ctx ends, and then stops it. If Envoy ends by itself, that
// is an error, and said is its last lines.
func (p *Process) runOnce(ctx context.Context, config string, connections int64) (said string, err error) {
	// The kernel kills the child when the thread that started it ends: the
	// thread must live as long as the child.
	goruntime.LockOSThread()
	defer goruntime.UnlockOSThread()

	log := &envoyLog{log: p.Log.WithName("envoy"), now: time.Now}
	command := exec.Command(p.Path, p.arguments(config)...)
	command.Stdout = p.Stdout
	command.Stderr = log
	command.SysProcAttr = childAttributes()
	command.WaitDelay = time.Second // for a grandchild that holds the log open
	if err := command.Start(); err != nil {
		return "", &startError{err}
	}
	p.Log.V(1).Info("envoy started", "pid", command.Process.Pid)

	running := &child{process: command.Process, ended: make(chan struct{})}
	go func() { defer close(running.ended); running.how = command.Wait() }()
	// They run until Envoy's end: while it drains it still serves, and may fill up.
	watch, stopWatching := context.WithCancel(context.WithoutCancel(ctx))
	var watching sync.WaitGroup
	watching.Go(func() { p.watch(watch) })
	watching.Go(func() { p.reportPressure(watch, connections) })
	if p.Prover != nil {
		watching.Go(func() { p.Prover.run(watch, p) })
	}
	defer func() { stopWatching(); watching.Wait() }()

	select {
	case <-running.ended:
		if running.how == nil {
			return log.lastLines(), errors.New("envoy: exit status 0")
		}
		return log.lastLines(), fmt.Errorf("envoy: %w", running.how)
	case <-ctx.Done():
		log.expectExit()
		p.stop(context.WithoutCancel(ctx), running)
		return "", nil
	}
}

// child is an Envoy that was started.
type child struct {
	process *os.Process
	ended   chan struct{}
	how     error // of Wait, once ended is closed
}

// watch notes the first time that Envoy is ready.
func (p *Process) watch(ctx context.Context) {
	for !p.wasReady.Load() {
		if p.Ready(ctx) == nil {
			p.Log.V(1).Info("envoy is ready")
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pollInterval):
		}
	}
}

func (p *Process) arguments(config string) []string {
	level := p.LogLevel
	if level == "" {
		level = "warning"
	}
	arguments := []string{
		"--config-path", config,
		"--disable-hot-restart", // it would need shared memory of a name of its own
		"--log-level", level,
		"--log-format", logFormat,
		"--drain-strategy", "immediate",
		"--drain-time-s", strconv.Itoa(max(1, int(p.Drain.Seconds()))),
	}
	if p.Workers > 0 {
		arguments = append(arguments, "--concurrency", strconv.Itoa(p.Workers))
	}
	return arguments
}

// stop drains Envoy, ends it, and waits for its end. It has timeouts of its own: the
// context of Run is over by then.
func (p *Process) stop(ctx context.Context, c *child) {
	p.stopping.Store(true)
	if p.wasReady.Load() {
		p.waitDrainDelay(c)
		p.drain(ctx, c)
	}
	_ = c.process.Signal(syscall.SIGTERM) // it may have ended just now
	select {
	case <-c.ended:
	case <-time.After(killTimeout):
		p.Log.Info("envoy does not end and is killed", "pid", c.process.Pid)
		_ = c.process.Kill()
		<-c.ended
	}
	p.Log.V(1).Info("envoy stopped")
}

// waitDrainDelay lets Envoy serve as before for DrainDelay. Clients are not yet asked to
// leave: they would come back to this Envoy.
func (p *Process) waitDrainDelay(c *child) {
	if p.DrainDelay <= 0 {
		return
	}
	p.Log.Info("no longer ready, serving until others have noticed", "for", p.DrainDelay)
	select {
	case <-c.ended:
	case <-time.After(p.DrainDelay):
	}
}

// lastRequestsTimeout is how long requests may take on connections that came just before
// the listeners were closed.
const lastRequestsTimeout = time.Second

// drain asks clients to leave, and waits until the last one has, for Drain at most. Only
// then it closes the listeners: clients that still come are served.
func (p *Process) drain(ctx context.Context, c *child) {
	if p.Drain <= 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, p.Drain)
	defer cancel()
	admin := p.Admin()
	if err := admin.Drain(ctx); err != nil {
		p.Log.Error(err, "envoy could not be told to drain")
		return
	}
	p.waitForNoConnections(ctx, c)
	ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), lastRequestsTimeout)
	defer cancel()
	if err := admin.StopListening(ctx); err != nil {
		p.Log.Error(err, "envoy could not be told to stop listening")
		return
	}
	if open := p.waitForNoConnections(ctx, c); open > 0 {
		p.Log.Info("connections are cut off, their time to drain is over", "connections", open)
	}
}

// waitForNoConnections waits until there is no connection, and returns how many are left
// if ctx or Envoy ends first.
func (p *Process) waitForNoConnections(ctx context.Context, c *child) uint64 {
	for {
		open, err := p.Admin().Connections(ctx)
		if err == nil && open == 0 {
			return 0
		}
		select {
		case <-c.ended:
			return 0
		case <-ctx.Done():
			return max(open, 1)
		case <-time.After(pollInterval):
		}
	}
}
