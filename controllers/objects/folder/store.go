package folder

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"sync"

	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// history is how many events are remembered for a watch that begins late or is
// slow. A watch that needs older ones is told to list again.
const history = 10_000

// store holds objects as an API server does: with versions, for lists and watches.
// All kinds change together.
type store struct {
	mu      sync.Mutex
	version uint64 // of the newest event
	objects map[ref]versioned
	events  []event // the newest ones, by version
	dropped uint64  // the version of the newest event that is forgotten
	news    chan struct{}
	watches sync.WaitGroup
}

// versioned is an object and the source that it was made of.
type versioned struct {
	client.Object
	source client.Object
}

type event struct {
	version uint64
	kind    string
	watch.Event
}

func newStore() *store {
	return &store{objects: map[ref]versioned{}, news: make(chan struct{})}
}

// set makes objects all that exist, and reports whether anything changed.
func (s *store) set(objects map[ref]locatedObject) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.version
	for _, r := range sortedRefs(s.objects) {
		if _, ok := objects[r]; !ok {
			gone := copyOf(s.objects[r].Object)
			delete(s.objects, r)
			s.happened(watch.Deleted, r, gone)
		}
	}
	for _, r := range sortedRefs(objects) {
		now := objects[r].object
		last, ok := s.objects[r]
		switch {
		case !ok:
			s.put(watch.Added, r, now)
		case last.source == now: // its file has not changed
		case !equal(last, now):
			s.put(watch.Modified, r, now)
		default:
			s.objects[r] = versioned{last.Object, now}
		}
	}
	if s.version == before {
		return false
	}
	if extra := len(s.events) - history; extra > 0 {
		s.dropped = s.events[extra-1].version
		s.events = slices.Clone(s.events[extra:])
	}
	close(s.news)
	s.news = make(chan struct{})
	return true
}

func (s *store) put(kind watch.EventType, r ref, source client.Object) {
	object := copyOf(source)
	s.objects[r] = versioned{object, source}
	s.happened(kind, r, object)
}

func (s *store) happened(kind watch.EventType, r ref, object client.Object) {
	s.version++
	object.SetResourceVersion(strconv.FormatUint(s.version, 10))
	s.events = append(s.events, event{s.version, r.kind, watch.Event{Type: kind, Object: object}})
}

// equal reports whether fresh equals the source of a stored object.
func equal(stored versioned, fresh client.Object) bool {
	return apiequality.Semantic.DeepEqual(stored.source, fresh)
}

func sortedRefs[V any](of map[ref]V) []ref {
	refs := make([]ref, 0, len(of))
	for r := range of {
		refs = append(refs, r)
	}
	slices.SortFunc(refs, compareRefs)
	return refs
}

// copyOf returns a copy that shares everything except the metadata's own fields:
// only those are ever changed.
func copyOf(object client.Object) client.Object {
	fresh := reflect.New(reflect.TypeOf(object).Elem())
	fresh.Elem().Set(reflect.ValueOf(object).Elem())
	return fresh.Interface().(client.Object)
}

// listWatch is what an informer of a kind lists and watches. A kind that is not
// read has no objects.
type listWatch struct {
	store  *store
	kind   schema.GroupVersionKind
	scheme *runtime.Scheme
}

// IsWatchListSemanticsUnSupported makes reflectors list and then watch.
func (l listWatch) IsWatchListSemanticsUnSupported() bool { return true }

// List implements cache.Lister.
func (l listWatch) List(options metav1.ListOptions) (runtime.Object, error) {
	return l.ListWithContext(context.Background(), options)
}

// Watch implements cache.Watcher.
func (l listWatch) Watch(options metav1.ListOptions) (watch.Interface, error) {
	return l.WatchWithContext(context.Background(), options)
}

// ListWithContext implements cache.ListerWithContext.
func (l listWatch) ListWithContext(context.Context, metav1.ListOptions) (runtime.Object, error) {
	list, err := l.scheme.New(l.kind.GroupVersion().WithKind(l.kind.Kind + "List"))
	if err != nil {
		return nil, err
	}
	objects, version := l.store.list(l.kind.Kind, "")
	if err := meta.SetList(list, objects); err != nil {
		return nil, err
	}
	accessor, err := meta.ListAccessor(list)
	if err != nil {
		return nil, err
	}
	accessor.SetResourceVersion(strconv.FormatUint(version, 10))
	return list, nil
}

// WatchWithContext implements cache.WatcherWithContext.
func (l listWatch) WatchWithContext(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
	from, err := strconv.ParseUint(options.ResourceVersion, 10, 64)
	if err != nil {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("watch %s from version %q", l.kind.Kind, options.ResourceVersion))
	}
	ctx, cancel := context.WithCancel(ctx)
	w := &watching{results: make(chan watch.Event), cancel: cancel}
	l.store.watches.Go(func() { w.run(ctx, l.store, l.kind.Kind, from) })
	return w, nil
}

func (s *store) list(kind, namespace string) ([]runtime.Object, uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var found []runtime.Object
	for _, r := range sortedRefs(s.objects) {
		if r.kind == kind && (namespace == "" || namespace == r.name.Namespace) {
			found = append(found, s.objects[r].Object)
		}
	}
	return found, s.version
}

// since returns the events after a version, and a channel that is closed when
// there are more. It is not ok if some of them are forgotten.
func (s *store) since(version uint64) (events []event, news <-chan struct{}, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if version < s.dropped {
		return nil, nil, false
	}
	begin, _ := slices.BinarySearchFunc(s.events, version+1, func(e event, v uint64) int { return int(e.version) - int(v) })
	return slices.Clone(s.events[begin:]), s.news, true
}

// watching is one watch.
type watching struct {
	results chan watch.Event
	cancel  context.CancelFunc
}

// Stop implements watch.Interface.
func (w *watching) Stop() { w.cancel() }

// ResultChan implements watch.Interface.
func (w *watching) ResultChan() <-chan watch.Event { return w.results }

func (w *watching) run(ctx context.Context, s *store, kind string, version uint64) {
	defer close(w.results)
	for {
		events, news, ok := s.since(version)
		if !ok {
			expired := apierrors.NewResourceExpired(fmt.Sprintf("version %d is forgotten", version)).ErrStatus
			w.send(ctx, watch.Event{Type: watch.Error, Object: &expired})
			return
		}
		for _, e := range events {
			if version = e.version; e.kind == kind && !w.send(ctx, e.Event) {
				return
			}
		}
		select {
		case <-news:
		case <-ctx.Done():
			return
		}
	}
}

func (w *watching) send(ctx context.Context, e watch.Event) bool {
	select {
	case w.results <- e:
		return true
	case <-ctx.Done():
		return false
	}
}
