package secretcache

import (
	"context"
	"maps"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/fairwaynet/fairway/api/shrink"
)

// Reader shows the Secrets to one reconciler, whose keys are of type K, as values
// of type C. It parses a Secret once, however many keys name it. Use NewReader.
type Reader[K comparable, C any] struct {
	cache *Cache
	parse func(types.NamespacedName, *corev1.Secret) C
	keys  []string
	woken func(K)

	mu      sync.Mutex
	held    map[K][]types.NamespacedName
	users   map[types.NamespacedName]int // how many keys hold it
	known   map[types.NamespacedName]parsed[C]
	waiting map[K]struct{} // keys that were told that something is not known; see Waiting
}

// parsed is what a version of a Secret holds.
type parsed[C any] struct {
	version string
	content C
}

// NewReader makes a Reader that parses Secrets by parse, which gets nil for a
// Secret that does not exist. keys are the data keys that matter. woken is called
// for each key when what is known of its Secrets changes.
func NewReader[K comparable, C any](cache *Cache, woken func(K), parse func(types.NamespacedName, *corev1.Secret) C, keys ...string) *Reader[K, C] {
	return &Reader[K, C]{cache: cache, parse: parse, keys: keys, woken: woken}
}

// Answer is what is known of a Secret.
type Answer[C any] struct {
	// Content is what the Secret holds; the zero value if it is not Known.
	Content C
	// Known says that there is a Content. If there is neither Content nor Err, the
	// key is woken as soon as there is.
	Known bool
	// Partial says that there is no Secret here but that it may exist elsewhere
	// (Cache.Partial). So naming it is no mistake.
	Partial bool
	// Err is why the API server does not give the Secret (see Why). Content is
	// then what the Secret held before. It is asked for again, and the key is
	// woken when the answer changes.
	Err error
}

// use is a key of a Reader as a holder.
type use[K comparable, C any] struct {
	reader *Reader[K, C]
	key    K
}

func (u use[K, C]) wake() { u.reader.woken(u.key) }

// Hold sets which Secrets matter to key from now on, each once. Call it before
// reading them. A Secret that matters to no key is forgotten.
func (r *Reader[K, C]) Hold(key K, names []types.NamespacedName) {
	r.mu.Lock()
	before := r.held[key]
	if r.held == nil {
		r.held, r.users, r.known = map[K][]types.NamespacedName{}, map[types.NamespacedName]int{}, map[types.NamespacedName]parsed[C]{}
		r.waiting = map[K]struct{}{}
	}
	if len(names) > 0 {
		r.held[key] = names
	} else {
		shrink.Delete(&r.held, key)
		delete(r.waiting, key)
	}
	still := make(map[types.NamespacedName]bool, len(names))
	for _, name := range names {
		r.users[name]++
		still[name] = true
	}
	for _, name := range before {
		if r.users[name]--; r.users[name] == 0 {
			shrink.Delete(&r.users, name)
			shrink.Delete(&r.known, name)
		}
	}
	r.mu.Unlock()
	for _, name := range before {
		if !still[name] {
			r.cache.drop(name, use[K, C]{r, key})
		}
	}
}

// Read returns what a Secret holds. key must hold it.
func (r *Reader[K, C]) Read(ctx context.Context, key K, name types.NamespacedName) (Answer[C], error) {
	return r.read(ctx, key, name, false)
}

// ReadUnwatched is Read for a Secret in a namespace that may not be watched.
func (r *Reader[K, C]) ReadUnwatched(ctx context.Context, key K, name types.NamespacedName) (Answer[C], error) {
	return r.read(ctx, key, name, true)
}

func (r *Reader[K, C]) read(ctx context.Context, key K, name types.NamespacedName, unwatched bool) (Answer[C], error) {
	found, err := r.cache.look(ctx, use[K, C]{r, key}, name, unwatched, r.keys...)
	if err != nil {
		return Answer[C]{}, err
	}
	if !found.known {
		r.wait(key, found.err)
		return Answer[C]{Err: found.err}, nil
	}
	return Answer[C]{
		Content: r.contentOf(name, found.secret), Known: true, Err: found.err,
		Partial: found.secret == nil && r.cache.partial != nil && r.cache.partial(name),
	}, nil
}

func (r *Reader[K, C]) wait(key K, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err == nil && r.held[key] != nil {
		r.waiting[key] = struct{}{}
	}
}

// Waiting returns the keys that lacked something since the last call and may have
// it now.
func (r *Reader[K, C]) Waiting() []K {
	r.mu.Lock()
	defer r.mu.Unlock()
	keys := slices.Collect(maps.Keys(r.waiting))
	r.waiting = map[K]struct{}{}
	return keys
}

// Holds reports whether any Secret matters to any key.
func (r *Reader[K, C]) Holds() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.held)+len(r.users)+len(r.known) > 0
}

// Saw says that a watch has reported a Secret. Call it before the keys are queued.
func (r *Reader[K, C]) Saw(ctx context.Context, secret *corev1.Secret) {
	r.cache.saw(ctx, types.NamespacedName{Namespace: secret.Namespace, Name: secret.Name})
}

// contentOf parses a Secret, unless this version of it is parsed already. secret
// is nil if there is none.
func (r *Reader[K, C]) contentOf(name types.NamespacedName, secret *corev1.Secret) C {
	if secret == nil {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.known, name)
		return r.parse(name, nil)
	}
	version := versionOf(secret)
	r.mu.Lock()
	last, ok := r.known[name]
	r.mu.Unlock()
	if ok && last.version == version && secret.ResourceVersion != "" {
		return last.content
	}
	content := r.parse(name, secret)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.users[name] > 0 { // else it would never be forgotten
		r.known[name] = parsed[C]{version, content}
	}
	return content
}
