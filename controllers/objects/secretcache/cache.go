// Package secretcache says what the Secrets hold that reconcilers' keys name: as
// the watch tells of them where it does, else as the API server says when it is
// asked for them by name.
//
// It neither knows what a Secret is for nor writes any (controllers/objects/secretstore). Its
// invariants: no reconciler waits for the API server here, so that a Secret which
// is slow to come, or never does, costs the keys that name it and no other; what
// the API server is asked depends on the namespaces with such Secrets, not on how
// many each of them names; and nothing is remembered that no key names.
package secretcache

import (
	"context"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairwaynet/fairway/api/shrink"
)

// Cache is shared by all reconcilers that read Secrets. Use New. Its methods are
// safe for concurrent use.
type Cache struct {
	watched client.Reader
	live    client.Reader // nil: what is watched is all there is
	now     func() time.Time
	partial func(types.NamespacedName) bool // a Secret that is not there may exist; nil: none

	mu         sync.Mutex
	entries    map[types.NamespacedName]*entry
	namespaces map[string]*namespace // that have entries
	visits     uint64                // so far
	busy       int                   // namespaces that are asked about now
	failing    int                   // of these, those that failed last time
	asked      int                   // requests so far
	poked      chan struct{}         // closed when there may be something to do
}

// New is a Cache of the Secrets that watched has, and of those that only live
// has: the API server itself, or nil where there is none. now is the clock;
// time.Now if nil.
func New(watched, live client.Reader, now func() time.Time) *Cache {
	if now == nil {
		now = time.Now
	}
	return &Cache{
		watched: watched, live: live, now: now,
		entries: map[types.NamespacedName]*entry{}, namespaces: map[string]*namespace{}, poked: make(chan struct{}),
	}
}

// Partial says of which Secrets that are not there nobody knows whether they exist:
// the reader was given some Secrets only. Call it before the first is read.
func (c *Cache) Partial(mayExist func(types.NamespacedName) bool) *Cache {
	c.partial = mayExist
	return c
}

// entry is a Secret of which the watch does not tell, or not enough.
type entry struct {
	name      types.NamespacedName
	holders   map[holder]struct{}
	unwatched bool // no watch is looked at

	secret  *corev1.Secret // as it was given last, with what anybody reads; nil: none
	known   bool           // secret is an answer, if perhaps an old one
	fresh   bool           // and nothing was heard since that could change it
	err     error          // why the last question has no answer
	against string         // the version that the watch had last
	changes uint64         // how often it was found to be not fresh

	due  time.Time     // when it is to be asked
	wait time.Duration // until it is asked again, if nothing changes
}

// holder is a key that an entry matters to. It is comparable.
type holder interface{ wake() }

// answer is what is known of a Secret.
type answer struct {
	secret *corev1.Secret // nil: there is none
	known  bool           // false: nobody can tell, and the holder is woken when that changes
	err    error          // the API server's last word, if that was no answer
}

// look is what is known of a Secret now. It counts as watched only if the watch
// has kept one of the data keys. The next Run or Settle asks for a Secret that is
// not known.
func (c *Cache) look(ctx context.Context, by holder, name types.NamespacedName, unwatched bool, keys ...string) (answer, error) {
	var seen *corev1.Secret
	if !unwatched || c.live == nil {
		var err error
		if seen, err = get(ctx, c.watched, name, client.UnsafeDisableDeepCopy); err != nil {
			return answer{}, err
		}
	}
	if c.live == nil || seen != nil && hasAny(seen, keys) {
		c.drop(name, by)
		return answer{secret: seen, known: true}, nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.entries[name]
	if e == nil {
		e = c.add(name, unwatched)
	}
	e.holders[by] = struct{}{}
	version := versionOf(seen)
	if version != e.against && version != versionOf(e.secret) {
		c.spoil(e)
	}
	e.against = version
	return answer{secret: e.secret, known: e.known && (e.fresh || e.err != nil), err: e.err}, nil
}

// saw says that a watch has told of a Secret.
func (c *Cache) saw(ctx context.Context, name types.NamespacedName) {
	c.mu.Lock()
	e := c.entries[name]
	c.mu.Unlock()
	if e == nil {
		return // most are nobody's
	}
	seen, err := get(ctx, c.watched, name, client.UnsafeDisableDeepCopy)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil || versionOf(seen) == "" || versionOf(seen) != versionOf(e.secret) {
		c.spoil(e)
	}
}

// drop says that an entry no longer matters to a holder.
func (c *Cache) drop(name types.NamespacedName, by holder) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.entries[name]
	if e == nil {
		return
	}
	if delete(e.holders, by); len(e.holders) > 0 {
		return
	}
	shrink.Delete(&c.entries, name)
	in := c.namespaces[name.Namespace]
	if delete(in.entries, e); len(in.entries) == 0 {
		c.poke(in, c.now()) // to be forgotten
	}
}

func (c *Cache) add(name types.NamespacedName, unwatched bool) *entry {
	e := &entry{name: name, unwatched: unwatched, holders: map[holder]struct{}{}, due: c.now()}
	c.entries[name] = e
	in := c.namespaces[name.Namespace]
	if in == nil {
		in = &namespace{name: name.Namespace, entries: map[*entry]struct{}{}}
		c.namespaces[name.Namespace] = in
	}
	in.entries[e] = struct{}{}
	c.poke(in, e.due)
	return e
}

// spoil has an entry asked for, as what is known of it may no longer hold.
func (c *Cache) spoil(e *entry) {
	e.changes++
	e.fresh, e.wait, e.due = false, 0, c.now()
	if in := c.namespaces[e.name.Namespace]; in != nil {
		c.poke(in, e.due)
	}
}

// poke wakes those who ask: something of the namespace is due then.
func (c *Cache) poke(in *namespace, due time.Time) {
	if in.due.IsZero() || due.Before(in.due) {
		in.due = due
	}
	close(c.poked)
	c.poked = make(chan struct{})
}

// keptKeys are those of a Secret that anybody here reads.
func keptKeys() []string {
	return []string{corev1.TLSCertKey, corev1.TLSPrivateKeyKey, corev1.ServiceAccountRootCAKey}
}

// kept is a Secret with what anybody reads.
func kept(secret *corev1.Secret) *corev1.Secret {
	if secret == nil {
		return nil
	}
	less := &corev1.Secret{Type: secret.Type, Data: map[string][]byte{}}
	less.Namespace, less.Name, less.UID, less.ResourceVersion = secret.Namespace, secret.Name, secret.UID, secret.ResourceVersion
	for _, key := range keptKeys() {
		if value, there := secret.Data[key]; there {
			less.Data[key] = value
		}
	}
	return less
}

func hasAny(secret *corev1.Secret, keys []string) bool {
	for _, key := range keys {
		if len(secret.Data[key]) > 0 {
			return true
		}
	}
	return false
}

// versionOf is which Secret it is, and which version of it; empty for none.
func versionOf(secret *corev1.Secret) string {
	if secret == nil {
		return ""
	}
	return string(secret.UID) + "/" + secret.ResourceVersion
}

// get reads a Secret, nil if there is none.
func get(ctx context.Context, from client.Reader, name types.NamespacedName, options ...client.GetOption) (*corev1.Secret, error) {
	secret := &corev1.Secret{}
	switch err := from.Get(ctx, name, secret, options...); {
	case apierrors.IsNotFound(err):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("get secret %s: %w", name, err)
	}
	return secret, nil
}
