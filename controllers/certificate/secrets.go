package certificate

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairwaynet/fairway/api/shrink"
)

// secrets reads Secrets: from the cache where it has them, by name from the API
// server where it has not, or has only their names (see Trimmer). It remembers
// what it has read, by the version of the Secret, so that one with many names is
// parsed once.
type secrets struct {
	cache client.Reader
	live  client.Reader // nil: the cache is all there is
	asked atomic.Int64  // how often live was

	mu    sync.Mutex
	known map[types.NamespacedName]remembered // of those that are held
	held  map[Key][]types.NamespacedName
	users map[types.NamespacedName]int // how many keys hold it
}

// hold takes which Secrets may be served under key from now on, each once, before
// they are read. What no key holds any more is forgotten.
func (s *secrets) hold(key Key, names []types.NamespacedName) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held == nil {
		s.held, s.users = map[Key][]types.NamespacedName{}, map[types.NamespacedName]int{}
	}
	before := s.held[key]
	if len(names) > 0 {
		s.held[key] = names
	} else {
		shrink.Delete(&s.held, key)
	}
	for _, name := range names {
		s.users[name]++
	}
	for _, name := range before {
		if s.users[name]--; s.users[name] == 0 {
			shrink.Delete(&s.users, name)
			shrink.Delete(&s.known, name)
		}
	}
}

// remembered is the content of a Secret at a version.
type remembered struct {
	uid     types.UID
	version string
	content content
}

// read is what the Secret holds.
func (s *secrets) read(ctx context.Context, name types.NamespacedName) (content, error) {
	if c, here, err := s.look(ctx, name); here || err != nil {
		return c, err
	}
	return s.ask(ctx, name)
}

// maxAsked bounds how often the API server is asked for a Secret before the
// first picture is complete. Who would ask once more is left to the queue.
const maxAsked = 100

// errNotRead is of a Secret that only the API server has, and that it did not
// give: it has been asked for enough of them, or it failed.
var errNotRead = errors.New("the API server has not given the Secret") // a constant

// readSparingly is read for the first picture. What can be read without the API
// server always is: a restart must not take a certificate from an Envoy that has
// it because others' Secrets are missing, or cannot be read.
func (s *secrets) readSparingly(ctx context.Context, name types.NamespacedName) (content, error) {
	if c, here, err := s.look(ctx, name); here || err != nil {
		return c, err
	}
	if s.asked.Load() >= maxAsked {
		return content{}, errNotRead
	}
	return s.ask(ctx, name)
}

// look is what the Secret holds, if that can be told without the API server.
func (s *secrets) look(ctx context.Context, name types.NamespacedName) (c content, here bool, err error) {
	secret, err := get(ctx, s.cache, name, client.UnsafeDisableDeepCopy)
	if err != nil {
		return content{}, false, err
	}
	if secret != nil {
		if c, ok := s.recall(name, secret); ok {
			return c, true, nil
		}
	}
	if s.live != nil && (secret == nil || isTrimmed(secret)) {
		return content{}, false, nil
	}
	return s.open(name, secret), true, nil
}

// ask is what the Secret holds by the API server, which may know one that no
// watch tells of.
func (s *secrets) ask(ctx context.Context, name types.NamespacedName) (content, error) {
	s.asked.Add(1)
	secret, err := get(ctx, s.live, name)
	if err != nil {
		return content{}, fmt.Errorf("%w: %w", errNotRead, err)
	}
	return s.open(name, secret), nil
}

// open is what a Secret holds; nil: it is not there.
func (s *secrets) open(name types.NamespacedName, secret *corev1.Secret) content {
	if secret == nil {
		s.forget(name)
		return missing()
	}
	if c, ok := s.recall(name, secret); ok {
		return c
	}
	c := contentOf(secret)
	s.remember(name, secret, c)
	return c
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

func (s *secrets) recall(name types.NamespacedName, secret *corev1.Secret) (content, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, ok := s.known[name]
	if !ok || r.uid != secret.UID || r.version != secret.ResourceVersion {
		return content{}, false
	}
	return r.content, true
}

func (s *secrets) remember(name types.NamespacedName, secret *corev1.Secret, c content) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.users[name] == 0 {
		return // nobody would have it forgotten
	}
	if s.known == nil {
		s.known = map[types.NamespacedName]remembered{}
	}
	s.known[name] = remembered{secret.UID, secret.ResourceVersion, c}
}

// forget lets go of what a Secret held that is gone.
func (s *secrets) forget(name types.NamespacedName) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.known, name)
}
