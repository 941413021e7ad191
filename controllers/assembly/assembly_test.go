package assembly

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/fairwaynet/fairway/api/problem"
)

// diary is what happened, in order.
type diary struct {
	mu      sync.Mutex
	entries []string
}

func (d *diary) note(format string, values ...any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.entries = append(d.entries, fmt.Sprintf(format, values...))
}

func (d *diary) read() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.entries)
}

// keys is a Builder. The value of a key is the key itself; a key that ends in "?"
// has a Problem and no value.
type keys struct {
	diary   *diary
	keys    []string
	waiting []string // not built until complete runs
	build   func(context.Context, string) error
}

func (k *keys) Keys(context.Context) ([]string, error) { return k.keys, nil }
func (k *keys) Waiting() []string                      { return k.waiting }

func (k *keys) Build(ctx context.Context, key string) (*string, []problem.Problem, error) {
	k.diary.note("build %s", key)
	if k.build != nil {
		if err := k.build(ctx, key); err != nil {
			return nil, nil, err
		}
	}
	if strings.HasSuffix(key, "?") {
		return nil, []problem.Problem{{Reason: problem.Reason(key)}}, nil
	}
	return &key, nil, nil
}

// kindOf is a Kind whose reconciler notes its runs. It queues the keys that are
// sent to wakes.
func kindOf(d *diary, name string, builder *keys, wakes <-chan string) *Kind[string, string] {
	builder.diary = d
	return &Kind[string, string]{
		Name: name, Builder: builder,
		Publish: func(key string, _ *string) { d.note("publish %s", key) },
		Reconciler: reconcile.TypedFunc[string](func(_ context.Context, key string) (reconcile.Result, error) {
			d.note("reconcile %s", key)
			return reconcile.Result{}, nil
		}),
		Sources: []source.TypedSource[string]{source.TypedFunc[string](
			func(ctx context.Context, queue workqueue.TypedRateLimitingInterface[string]) error {
				go func() {
					for {
						select {
						case <-ctx.Done():
							return
						case key := <-wakes:
							queue.Add(key)
							d.note("queue %s", key)
						}
					}
				}()
				return nil
			})},
	}
}

func assemblyOf(d *diary, parts ...Part) *Assembly {
	return &Assembly{
		Parts: parts, Log: logr.Discard(),
		Settle: func(context.Context) { d.note("settle") },
		Report: func(_ context.Context, key any, found []problem.Problem) {
			d.note("report %v: %s", key, found[0].Reason)
		},
		Await: func(context.Context) { d.note("await") },
		Begin: func() func(Problems) {
			d.note("begin")
			return func(found Problems) { d.note("published with %d problems", len(found.All())) }
		},
	}
}

// run starts the Assembly and stops it when the test ends.
func run(t *testing.T, a *Assembly) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- a.Start(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("Start: %v", err)
		}
	})
}

func (d *diary) await(t *testing.T, entry string) {
	t.Helper()
	deadline := time.After(30 * time.Second)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !slices.Contains(d.read(), entry) {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("no %q in %q", entry, d.read())
		}
	}
}

func TestTheFirstPassIsPublishedWholeAndInOrder(t *testing.T) {
	d := &diary{}
	backends := kindOf(d, "endpoints", &keys{keys: []string{"b", "b"}}, nil)
	hosts := kindOf(d, "ingress", &keys{keys: []string{"h", "h?"}}, nil)
	hosts.Built = func(built map[string]*string) { d.note("built %d", len(built)) }
	run(t, assemblyOf(d, backends, hosts))
	d.await(t, "published with 1 problems")
	want := []string{
		"await", "begin", "build b", "build h", "build h?", "built 1", "settle",
		"publish b", "publish h", "report h?: h?", "published with 1 problems",
	}
	if diff := cmp.Diff(want, d.read()); diff != "" {
		t.Errorf("what happened (-want +got):\n%s", diff)
	}
}

func TestAnEventDuringTheFirstPassIsReconciledAfterIt(t *testing.T) {
	d, wakes := &diary{}, make(chan string)
	builder := &keys{keys: []string{"h"}, build: func(context.Context, string) error {
		wakes <- "new"
		return nil
	}}
	run(t, assemblyOf(d, kindOf(d, "ingress", builder, wakes)))
	d.await(t, "reconcile new")
	seen := d.read()
	if slices.Index(seen, "reconcile new") < slices.Index(seen, "published with 0 problems") {
		t.Errorf("it is reconciled before all is published: %q", seen)
	}
}

func TestWhatWaitsIsBuiltAgainOnceItHasSettled(t *testing.T) {
	d := &diary{}
	asked := kindOf(d, "certificate", &keys{keys: []string{"c", "late"}, waiting: []string{"late"}}, nil)
	if _, err := assemblyOf(d, asked).FirstPass(t.Context()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"build c", "build late", "settle", "build late"}, d.read()); diff != "" {
		t.Errorf("what happened (-want +got):\n%s", diff)
	}
	if n := len(asked.Values()); n != 2 {
		t.Errorf("%d values, want 2", n)
	}
}

func TestNothingIsPublishedOfAFirstPassThatFails(t *testing.T) {
	d, errAway := &diary{}, errors.New("the API server is away")
	good := kindOf(d, "endpoints", &keys{keys: []string{"b"}}, nil)
	bad := kindOf(d, "ingress", &keys{keys: []string{"h"}, build: func(context.Context, string) error { return errAway }}, nil)
	err := assemblyOf(d, good, bad).Start(t.Context())
	if !errors.Is(err, errAway) || err.Error() != "first pass: ingress: the API server is away" {
		t.Errorf("Start: %v", err)
	}
	if slices.Contains(d.read(), "publish b") {
		t.Errorf("something is published: %q", d.read())
	}
}

func TestAnAssemblyThatIsStoppedInItsFirstPassFailsNot(t *testing.T) {
	d := &diary{}
	ctx, stop := context.WithCancel(t.Context())
	kind := kindOf(d, "ingress", &keys{keys: []string{"h", "i"}, build: func(context.Context, string) error {
		stop()
		return nil
	}}, nil)
	if err := assemblyOf(d, kind).Start(ctx); err != nil {
		t.Errorf("Start: %v", err)
	}
	if slices.Contains(d.read(), "publish h") {
		t.Errorf("something is published: %q", d.read())
	}
}

func TestNothingOfTheFirstPassStays(t *testing.T) {
	d := &diary{}
	kind := kindOf(d, "ingress", &keys{keys: []string{"h"}}, nil)
	if err := assemblyOf(d, kind).Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	if kind.Values() != nil {
		t.Errorf("%d values are kept", len(kind.Values()))
	}
}

func TestASourceThatComesLater(t *testing.T) {
	d := &diary{}
	kind := kindOf(d, "gateway", &keys{}, nil)
	later := source.TypedFunc[string](func(_ context.Context, queue workqueue.TypedRateLimitingInterface[string]) error {
		queue.Add("late")
		return nil
	})
	if err := kind.Watch(later); err == nil {
		t.Error("a source is taken before the controller has started")
	}
	run(t, assemblyOf(d, kind))
	d.await(t, "published with 0 problems")
	if err := kind.Watch(later); err != nil {
		t.Fatal(err)
	}
	d.await(t, "reconcile late")
}
