package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/fairwaynet/fairway/images"
	"github.com/fairwaynet/fairway/test/lab/rack"
)

// Lab is a running lab. Its methods, except Down, are safe for concurrent use.
type Lab struct {
	// Options are the options that it was started with.
	Options Options

	// Config is the administrator's configuration for clients on the real
	// machine. It has no client-side rate limit. Copy it before changing it.
	Config *rest.Config

	// Kubeconfig is the path of a file with the same rights.
	Kubeconfig string

	dir  string
	pid  int // of the rack
	rack *rack.Client

	builder  *images.Builder // of Fairway's images; nil: the lab has none of them
	began    time.Time
	lifeline *os.File // nil: the lab outlives this process
	ended    chan struct{}
	progress sync.Mutex
}

// Up starts a lab, which lives until Down, even after this process has ended.
// Until it is up, it dies with this process. An error holds the last lines of the
// relevant logs.
func Up(ctx context.Context, options Options) (_ *Lab, err error) {
	options, err = options.complete()
	if err != nil {
		return nil, err
	}
	if err := options.check(); err != nil {
		return nil, err
	}
	if err := sweep(ctx); err != nil {
		return nil, err
	}
	held, err := lock(options.Name)
	if err != nil {
		return nil, fmt.Errorf("start lab %s: %w", options.Name, err)
	}
	l := &Lab{Options: options, dir: dirOf(options.Name), began: time.Now()}
	err = errors.Join(l.prepare(ctx, held), held.Close())
	if err == nil {
		err = l.await(ctx)
	}
	if err == nil && !options.mortal {
		err = l.letLive()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start lab %s: %w%s", options.Name, err, l.lastWords()), l.Down()) //nolint:contextcheck // even if ctx has ended
	}
	return l, nil
}

// Attach returns the running lab with that name.
func Attach(name string) (*Lab, error) {
	l := &Lab{dir: dirOf(name), began: time.Now()}
	pid, err := rackOf(name)
	if err != nil {
		return nil, fmt.Errorf("there is no lab %q: start it with `lab up`", name)
	}
	encoded, err := os.ReadFile(l.path("options.json"))
	if err != nil {
		return nil, fmt.Errorf("find lab %s: %w", name, err)
	}
	if err := json.Unmarshal(encoded, &l.Options); err != nil {
		return nil, fmt.Errorf("find lab %s: %w", name, err)
	}
	l.pid, l.rack = pid, rack.NewClient(l.dir)
	return l, l.loadKubeconfig()
}

// Down ends the named lab and removes all of it. If no such lab runs, it removes
// what an earlier one has left.
func Down(ctx context.Context, name string) error { return down(ctx, name) }

// Down ends the lab at once and removes all of it.
func (l *Lab) Down() error {
	if l.lifeline != nil {
		_ = l.lifeline.Close() // this ends the rack
	}
	return down(context.Background(), l.Options.Name)
}

// say reports progress.
func (l *Lab) say(format string, args ...any) {
	l.progress.Lock()
	defer l.progress.Unlock()
	fmt.Fprintf(l.Options.Progress, "%6.1fs  %s\n", time.Since(l.began).Seconds(), fmt.Sprintf(format, args...))
}

func (l *Lab) path(name string) string { return filepath.Join(l.dir, name) }

func (l *Lab) loadKubeconfig() (err error) {
	l.Kubeconfig = l.path("kubeconfig")
	l.Config, err = clientcmd.BuildConfigFromFlags("", l.Kubeconfig)
	if err != nil {
		return fmt.Errorf("read kubeconfig: %w", err)
	}
	l.Config.QPS = -1
	return nil
}
