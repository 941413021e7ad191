// Package secretcache knows what the Secrets hold that reconcilers' keys name. It
// takes that from the watch where the watch covers a Secret. Other Secrets it
// reads from the API server by name.
//
// It neither knows what a Secret is for nor writes any
// (controllers/objects/secretstore). Its invariants: no reconciler waits for the
// API server here, so a Secret that is slow to come, or never comes, affects only
// the keys that name it; the number of requests depends on the namespaces with
// such Secrets, not on how many Secrets each has; and a Secret that no key names
// is not remembered.
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
	live    client.Reader // nil: the watched Secrets are all there are
	now     func() time.Time
	partial func(types.NamespacedName) bool // a missing Secret may exist elsewhere; nil: none may

	mu         sync.Mutex
	entries    map[types.NamespacedName]*entry
	namespaces map[string]*namespace // the namespaces of the entries
	visits     uint64                // so far
	busy       int                   // namespaces that are asked about now
	failing    int                   // of these, those that failed last time
	asked      int                   // requests so far
	poked      chan struct{}         // closed when there may be something to do
}

// New makes a Cache of the Secrets that watched has, and of those that only live
// has. live is the API server itself, or nil where there is none. now is the
// clock; nil: time.Now.
func New(watched, live client.Reader, now func() time.Time) *Cache {
	if now == nil {
		now = time.Now
	}
	return &Cache{
		watched: watched, live: live, now: now,
		entries: map[types.NamespacedName]*entry{}, namespaces: map[string]*namespace{}, poked: make(chan struct{}),
	}
}

// Partial sets which missing Secrets may exist all the same: the reader was given
// only some Secrets. Call it before the first is read.
func (c *Cache) Partial(mayExist func(types.NamespacedName) bool) *Cache {
	c.partial = mayExist
	return c
}

// entry is a Secret that the watch does not cover, or not fully.
type entry struct {
	name      types.NamespacedName
	holders   map[holder]struct{}
	unwatched bool // do not look at the watch

	secret  *corev1.Secret // as the API server last gave it, with keptKeys only; nil: none
	known   bool           // secret is an answer, though perhaps an old one
	fresh   bool           // and no event since could have changed it
	err     error          // why the last question has no answer
	against string         // the version that the watch last had
	changes uint64         // how often it was found not to be fresh

	due  time.Time     // when to ask for it
	wait time.Duration // until it is asked for again, if nothing changes
}

// holder is a key to which an entry matters. It is comparable.
type holder interface{ wake() }

// answer is what is known of a Secret.
type answer struct {
	secret *corev1.Secret // nil: there is none
	known  bool           // if false, the holder is woken when that changes
	err    error          // the API server's last word, if that was no answer
}

// look returns what is known of a Secret now. It takes the watch's version only if
// that has one of the data keys. The next Run or Settle asks for a Secret that is
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

// saw says that a watch has reported a Secret.
func (c *Cache) saw(ctx context.Context, name types.NamespacedName) {
	c.mu.Lock()
	e := c.entries[name]
	c.mu.Unlock()
	if e == nil {
		return // most Secrets have no holder
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

// spoil marks an entry to be asked for, because what is known of it may no longer
// hold.
func (c *Cache) spoil(e *entry) {
	e.changes++
	e.fresh, e.wait, e.due = false, 0, c.now()
	if in := c.namespaces[e.name.Namespace]; in != nil {
		c.poke(in, e.due)
	}
}

// poke wakes the askers: something of the namespace is due at due.
func (c *Cache) poke(in *namespace, due time.Time) {
	if in.due.IsZero() || due.Before(in.due) {
		in.due = due
	}
	close(c.poked)
	c.poked = make(chan struct{})
}

// keptKeys returns the data keys that any reader here uses.
func keptKeys() []string {
	return []string{corev1.TLSCertKey, corev1.TLSPrivateKeyKey, corev1.ServiceAccountRootCAKey}
}

// kept returns a copy of a Secret with keptKeys only.
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

// versionOf identifies a Secret and its version; empty for none.
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
