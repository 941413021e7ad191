package leaderelected_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"
	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/fairwaynet/fairway/controllers/objects/folder"
	"github.com/fairwaynet/fairway/controllers/objects/watch"
	"github.com/fairwaynet/fairway/controllers/replicas/leaderelected"
)

// office is what the Reconcilers of all terms work on.
type office struct {
	mu     sync.Mutex
	keys   []string // that there are
	broken error    // of looking for all keys
	fails  int      // how many runs fail yet
	panics int      // how many runs panic yet
	clerks []*clerk // of the terms, one after the other
	during func(context.Context, string)
	began  time.Time
	at     []time.Duration // when the runs were, since it began
}

// clerk is the Reconciler of one term.
type clerk struct {
	*office
	done     []string
	resigned []string // what it had done by then
}

func (o *office) hire() leaderelected.Reconciler[string] {
	o.mu.Lock()
	defer o.mu.Unlock()
	c := &clerk{office: o}
	o.clerks = append(o.clerks, c)
	return c
}

func (c *clerk) Keys(context.Context) ([]string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.keys, c.broken
}

func (c *clerk) Reconcile(ctx context.Context, key string) (reconcile.Result, error) {
	if c.during != nil {
		c.during(ctx, key)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = append(c.at, time.Since(c.began))
	if c.panics > 0 {
		c.panics--
		panic("a bug")
	}
	if c.fails > 0 {
		c.fails--
		return reconcile.Result{}, errors.New("it fails")
	}
	c.done = append(c.done, key)
	return reconcile.Result{}, nil
}

func (c *clerk) Resign(ctx context.Context) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.resigned = append(slices.Clone(c.done), fmt.Sprintf("context: %v", ctx.Err()))
}

// taken is what the clerk of the last term has done since this was called last,
// sorted. A key that is woken while it is worked on may be done twice.
func (o *office) taken() []string {
	synctest.Wait()
	o.mu.Lock()
	defer o.mu.Unlock()
	last := o.clerks[len(o.clerks)-1]
	done := slices.Compact(slices.Sorted(slices.Values(last.done)))
	last.done = nil
	return done
}

// controller is one whose terms work in the office.
func (o *office) controller() *leaderelected.Controller[string] {
	o.began = time.Now()
	return &leaderelected.Controller[string]{Name: "test", Workers: 2, New: o.hire, Log: logr.Discard()}
}

// lead begins a term. The function that it returns ends it.
func lead(t *testing.T, c *leaderelected.Controller[string]) (end func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- c.Lead(ctx) }()
	synctest.Wait()
	return func() {
		t.Helper()
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the term ends with %v", err)
		}
		synctest.Wait()
	}
}

// informers is a cache that tells of what a test has it tell.
type informers struct {
	cache.Cache
	cache.Informer

	toolscache.ResourceEventHandler
	broken error
}

func (i *informers) GetInformer(context.Context, client.Object, ...cache.InformerGetOption) (cache.Informer, error) {
	return i, nil
}

func (i *informers) AddEventHandler(handler toolscache.ResourceEventHandler) (toolscache.ResourceEventHandlerRegistration, error) {
	i.ResourceEventHandler = handler
	return nil, i.broken
}

// service is a Service that concerns the key of its external name, too.
func service(name, external string) *corev1.Service {
	return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name}, Spec: corev1.ServiceSpec{ExternalName: external}}
}

func keysOf(_ context.Context, s *corev1.Service) ([]string, error) {
	if s.Spec.ExternalName == "broken" {
		return []string{s.Name}, errors.New("there is no such index")
	}
	return []string{s.Name, s.Spec.ExternalName}, nil
}

// watched is a controller that watches Services.
func watched(t *testing.T, o *office) (*leaderelected.Controller[string], *informers) {
	t.Helper()
	c, objects := o.controller(), &informers{}
	if err := leaderelected.Watch(t.Context(), c, objects, &corev1.Service{}, watch.Service, keysOf); err != nil {
		t.Fatal(err)
	}
	return c, objects
}

// pass lets time pass.
func pass(d time.Duration) {
	time.Sleep(d) //nolint:forbidigo // the clock is synctest's
}

func expect(t *testing.T, what string, got []string, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func TestATermBeginsWithAllKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := &office{keys: []string{"a", "b"}}
		c := o.controller()
		if c.Leads() || c.Current() != nil || len(o.clerks) != 0 {
			t.Error("a controller leads before its first term")
		}
		end := lead(t, c)
		expect(t, "the first term does", o.taken(), "a", "b")
		if !c.Leads() || c.Current() != o.clerks[0] {
			t.Errorf("in a term it leads: %t, by %v", c.Leads(), c.Current())
		}
		end()
		if c.Leads() || c.Current() != nil {
			t.Error("it leads after the term")
		}
		o.keys = []string{"b", "c"} // as another leader has left them
		end = lead(t, c)
		defer end()
		expect(t, "the second term does", o.taken(), "b", "c")
	})
}

func TestWhatATermRememberedTheNextDoesNotKnow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := &office{keys: []string{"a"}, fails: 10}
		c := o.controller()
		lead(t, c)() // ends while the key is to be tried again
		o.fails = 0
		o.keys = nil
		end := lead(t, c)
		pass(time.Hour)
		expect(t, "a term without keys does", o.taken())
		end()
		if len(o.clerks) != 2 || o.clerks[0] == o.clerks[1] {
			t.Errorf("%d Reconcilers for two terms", len(o.clerks))
		}
	})
}

func TestWhichKeysAnEventWakesInATerm(t *testing.T) {
	var unknown toolscache.DeletedFinalStateUnknown
	for _, test := range []struct {
		name  string
		event func(toolscache.ResourceEventHandler)
		want  []string
	}{
		{"a new object: its keys", func(h toolscache.ResourceEventHandler) { h.OnAdd(service("a", "b"), false) }, []string{"a", "b"}},
		{"an object that was there when the watch began: its keys", func(h toolscache.ResourceEventHandler) { h.OnAdd(service("a", "b"), true) }, []string{"a", "b"}},
		{
			"a changed object: its keys as it was and as it is",
			func(h toolscache.ResourceEventHandler) { h.OnUpdate(service("a", "b"), service("a", "c")) },
			[]string{"a", "b", "c"},
		},
		{"an unchanged object: none", func(h toolscache.ResourceEventHandler) { h.OnUpdate(service("a", "b"), service("a", "b")) }, nil},
		{"a deleted object: its keys", func(h toolscache.ResourceEventHandler) { h.OnDelete(service("a", "b")) }, []string{"a", "b"}},
		{
			"an object whose deletion nobody saw: the keys of its last state",
			func(h toolscache.ResourceEventHandler) {
				h.OnDelete(toolscache.DeletedFinalStateUnknown{Key: "shop/a", Obj: service("a", "b")})
			},
			[]string{"a", "b"},
		},
		{"an object of which no last state is known: none", func(h toolscache.ResourceEventHandler) { h.OnDelete(unknown) }, nil},
		{"an object of another kind: none", func(h toolscache.ResourceEventHandler) { h.OnAdd(&corev1.Pod{}, false) }, nil},
		{"keys found beside an error are woken", func(h toolscache.ResourceEventHandler) { h.OnAdd(service("a", "broken"), false) }, []string{"a"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o := &office{}
				c, objects := watched(t, o)
				end := lead(t, c)
				defer end()
				test.event(objects)
				expect(t, "done", o.taken(), test.want...)
			})
		})
	}
}

// The next term looks at all: a replica that does not lead does not even ask which
// keys an event concerns.
func TestEventsBetweenTermsWakeNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, asked := &office{}, 0
		c, objects := o.controller(), &informers{}
		count := func(ctx context.Context, s *corev1.Service) ([]string, error) {
			asked++
			return keysOf(ctx, s)
		}
		if err := leaderelected.Watch(t.Context(), c, objects, &corev1.Service{}, watch.Service, count); err != nil {
			t.Fatal(err)
		}
		tell := func() {
			objects.OnAdd(service("a", "b"), false)
			objects.OnUpdate(service("a", "b"), service("a", "c"))
			objects.OnDelete(service("a", "c"))
			c.Wake("d")
		}
		tell()
		lead(t, c)()
		tell()
		end := lead(t, c)
		expect(t, "done", o.taken())
		if asked != 0 {
			t.Errorf("it was asked %d times which keys an event concerns", asked)
		}
		tell()
		expect(t, "the same events in a term", o.taken(), "a", "b", "c", "d")
		end()
	})
}

// Resign comes last: what a run has told of is taken back, too.
func TestATermResignsWhenItsRunsHaveEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := &office{keys: []string{"slow"}}
		o.during = func(ctx context.Context, _ string) {
			<-ctx.Done()
			pass(time.Second) // of cleaning up
		}
		lead(t, o.controller())()
		expect(t, "had been done when it resigned", o.clerks[0].resigned, "slow", "context: <nil>")
	})
}

func TestAFailedKeyIsTriedAgainLaterAndLater(t *testing.T) {
	const s = time.Second
	for _, test := range []struct {
		name        string
		first, last time.Duration
		want        []time.Duration // between two runs
	}{
		{"as it is told", s, 5 * s, []time.Duration{s, 2 * s, 4 * s, 5 * s, 5 * s}},
		{"or else after 100 ms, up to a minute", 0, 0, []time.Duration{
			s / 10, s / 5, 2 * s / 5, 4 * s / 5, 8 * s / 5, 16 * s / 5, 32 * s / 5, 64 * s / 5, 128 * s / 5, 256 * s / 5, 60 * s, 60 * s,
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o := &office{keys: []string{"a"}, fails: len(test.want)}
				c := o.controller()
				c.FirstRetry, c.LastRetry = test.first, test.last
				end := lead(t, c)
				defer end()
				pass(time.Hour)
				expect(t, "done", o.taken(), "a")
				var between []time.Duration
				for i, at := range o.at[1:] {
					between = append(between, (at - o.at[i]).Round(10*time.Millisecond))
				}
				if diff := cmp.Diff(test.want, between); diff != "" {
					t.Errorf("between two runs (-want +got):\n%s", diff)
				}
			})
		})
	}
}

func TestAPanicCostsItsKeyOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := &office{keys: []string{"a", "b"}, panics: 1}
		end := lead(t, o.controller())
		defer end()
		pass(time.Minute)
		expect(t, "done", o.taken(), "a", "b")
	})
}

func TestAsManyKeysAreWorkedOnAtOnceAsThereAreWorkers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		goOn := make(chan struct{})
		o := &office{keys: []string{"a", "b", "c"}, during: func(context.Context, string) { <-goOn }}
		end := lead(t, o.controller())
		goOn <- struct{}{}
		synctest.Wait()
		if done := o.taken(); len(done) != 1 {
			t.Errorf("done %v", done)
		}
		goOn <- struct{}{}
		goOn <- struct{}{}
		if done := o.taken(); len(done) != 2 {
			t.Errorf("done %v", done)
		}
		end()
	})
}

func TestWakeAllHasAllKeysOfTheTermLookedAt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := &office{keys: []string{"a", "b"}}
		c := o.controller()
		if err := c.WakeAll(t.Context()); err != nil || len(o.clerks) != 0 {
			t.Errorf("without a term: %v, %d Reconcilers", err, len(o.clerks))
		}
		end := lead(t, c)
		o.taken()
		o.keys = []string{"b", "c"}
		if err := c.WakeAll(t.Context()); err != nil {
			t.Error(err)
		}
		expect(t, "done", o.taken(), "b", "c")
		o.broken = errors.New("half of them cannot be read")
		if err := c.WakeAll(t.Context()); !errors.Is(err, o.broken) {
			t.Errorf("error %v, want %v", err, o.broken)
		}
		expect(t, "done, of the half that could be read", o.taken(), "b", "c")
		end()
	})
}

func TestATermWhoseKeysCannotBeReadEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		o := &office{broken: errors.New("there is no such index")}
		c := o.controller()
		if err := c.Lead(ctx); !errors.Is(err, o.broken) {
			t.Errorf("error %v, want %v", err, o.broken)
		}
		if c.Leads() || c.Current() != nil {
			t.Error("it leads all the same")
		}
		expect(t, "resigned after", o.clerks[0].resigned, "context: <nil>")
	})
}

// The Lease may be lost in the moment in which it was taken. Nobody waits then for
// what controller-runtime has just begun.
func TestATermThatEndsAsItBeginsLeavesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		c := (&office{keys: []string{"a"}}).controller()
		held, over := false, make(chan struct{})
		c.Log = funcr.New(func(_, args string) {
			if strings.Contains(args, "Starting EventSource") {
				held = true
				<-over
			}
		}, funcr.Options{Verbosity: 1})
		if err := c.Lead(ctx); err != nil {
			t.Error(err)
		}
		close(over)
		synctest.Wait()
		if !held {
			t.Error("controller-runtime calls this something else now: hold it up in another way")
		}
		if c.Leads() || c.Current() != nil {
			t.Error("it leads after the term")
		}
	})
}

func TestWhatIsWrongWithAnEventIsLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := &office{}
		c, objects := watched(t, o)
		var lines []string
		c.Log = funcr.New(func(_, args string) { lines = append(lines, args) }, funcr.Options{})
		end := lead(t, c)
		objects.OnAdd(service("a", "broken"), false)
		end()
		if log := strings.Join(lines, "\n"); !strings.Contains(log, "there is no such index") || !strings.Contains(log, `"name"="a"`) {
			t.Errorf("logged %s", log)
		}
	})
}

// Neither a kind that the cluster lacks nor a cache that does not work ends the
// process: the caller decides.
func TestWhatCannotBeWatchedIsAnError(t *testing.T) {
	o := &office{}
	lacking, err := folder.Fixed(nil)
	if err != nil {
		t.Fatal(err)
	}
	none := func(context.Context, *corev1.Pod) ([]string, error) { return nil, nil }
	all := func(pod *corev1.Pod) any { return pod }
	err = leaderelected.Watch(t.Context(), o.controller(), lacking, &corev1.Pod{}, all, none)
	if err == nil || !strings.Contains(err.Error(), "watch *v1.Pod: ") || !meta.IsNoMatchError(err) {
		t.Errorf("of a kind that the cluster lacks: %v", err)
	}
	broken := &informers{broken: errors.New("the informer has stopped")}
	if err := leaderelected.Watch(t.Context(), o.controller(), broken, &corev1.Pod{}, all, none); !errors.Is(err, broken.broken) {
		t.Errorf("of a cache that does not work: %v", err)
	}
}
