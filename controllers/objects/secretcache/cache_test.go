package secretcache

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// shelf is Secrets: those of an API server, or those that a watch has kept.
type shelf struct {
	client.Reader // for the methods that are never called

	mu      sync.Mutex
	secrets map[types.NamespacedName]*corev1.Secret
	fails   func(ctx context.Context, namespace, name string) error // name is empty for a list
	asked   []string
}

func (s *shelf) put(secrets ...*corev1.Secret) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.secrets == nil {
		s.secrets = map[types.NamespacedName]*corev1.Secret{}
	}
	for _, secret := range secrets {
		s.secrets[client.ObjectKeyFromObject(secret)] = secret
	}
}

func (s *shelf) remove(secret *corev1.Secret) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.secrets, client.ObjectKeyFromObject(secret))
}

func (s *shelf) ask(ctx context.Context, namespace, name string) error {
	s.mu.Lock()
	s.asked = append(s.asked, strings.TrimSpace(namespace+" "+name))
	fails := s.fails
	s.mu.Unlock()
	if fails == nil {
		return nil
	}
	return fails(ctx, namespace, name)
}

// taken returns what was asked since its last call, sorted.
func (s *shelf) taken() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	slices.Sort(s.asked)
	all := strings.Join(s.asked, ", ")
	s.asked = nil
	return all
}

func (s *shelf) Get(ctx context.Context, name client.ObjectKey, into client.Object, _ ...client.GetOption) error {
	if err := s.ask(ctx, name.Namespace, name.Name); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	found, there := s.secrets[name]
	if !there {
		return apierrors.NewNotFound(corev1.Resource("secrets"), name.Name)
	}
	found.DeepCopyInto(into.(*corev1.Secret))
	return nil
}

func (s *shelf) List(ctx context.Context, into client.ObjectList, options ...client.ListOption) error {
	o := (&client.ListOptions{}).ApplyOptions(options)
	if err := s.ask(ctx, o.Namespace, ""); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	list := into.(*metav1.PartialObjectMetadataList)
	for name, secret := range s.secrets {
		if name.Namespace == o.Namespace {
			list.Items = append(list.Items, metav1.PartialObjectMetadata{ObjectMeta: secret.ObjectMeta})
		}
	}
	return nil
}

// secretOf is a Secret of some version, whose tls.crt is what it holds.
func secretOf(namespace, name, version, holds string) *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, UID: "u", ResourceVersion: version},
		Type:       corev1.SecretTypeOpaque,
		Data:       map[string][]byte{corev1.TLSCertKey: []byte(holds), "other": []byte("nobody reads it")},
	}
}

// trimmed is a Secret as a watch keeps it if no Ingress named it when it came.
func trimmed(secret *corev1.Secret) *corev1.Secret {
	less := secret.DeepCopy()
	less.Data = nil
	return less
}

// stage is a Cache between a watch and an API server, with its Reader.
type stage struct {
	*testing.T

	watched, server *shelf
	cache           *Cache
	reader          *Reader[string, string]
	now             time.Time
	mu              sync.Mutex
	woken           []string
}

func newStage(t *testing.T) *stage {
	s := &stage{T: t, watched: &shelf{}, server: &shelf{}, now: time.Unix(1_800_000_000, 0)}
	s.cache = New(s.watched, s.server, func() time.Time { return s.now })
	s.reader = NewReader(s.cache, func(key string) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.woken = append(s.woken, key)
	}, func(_ types.NamespacedName, secret *corev1.Secret) string {
		if secret == nil {
			return "nothing"
		}
		return string(secret.Data[corev1.TLSCertKey])
	}, corev1.TLSCertKey)
	return s
}

// hold lets a key want "shop/NAME" of each name.
func (s *stage) hold(key string, names ...string) {
	var all []types.NamespacedName
	for _, name := range names {
		all = append(all, types.NamespacedName{Namespace: "shop", Name: name})
	}
	s.reader.Hold(key, all)
}

// read is what a key reads of a Secret of namespace shop, for people.
func (s *stage) read(key, name string) string {
	s.Helper()
	answer, err := s.reader.Read(s.Context(), key, types.NamespacedName{Namespace: "shop", Name: name})
	if err != nil {
		s.Fatal(err)
	}
	said := answer.Content
	if !answer.Known {
		said = "unknown"
	}
	if answer.Err != nil {
		said += ": " + Why(answer.Err)
	}
	return said
}

// wants fails the test unless a key reads that content of a Secret and the API
// server got those questions since the last call.
func (s *stage) wants(key, name, content, asked string) {
	s.Helper()
	if got := s.read(key, name); got != content {
		s.Errorf("%s is %q, want %q", name, got, content)
	}
	if got := s.server.taken(); got != asked {
		s.Errorf("%s: the API server was asked %q, want %q", name, got, asked)
	}
}

// pass lets time pass, and lets the Cache ask for what is due then.
func (s *stage) pass(d time.Duration) {
	s.now = s.now.Add(d)
	for s.cache.Step(s.Context()) {
		s.now = s.now.Add(visitRest)
	}
}

// wakes fails the test unless those keys were woken, each once.
func (s *stage) wakes(want ...string) {
	s.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	slices.Sort(s.woken)
	if diff := cmp.Diff(want, s.woken); diff != "" {
		s.Errorf("woken (-want +got):\n%s", diff)
	}
	s.woken = nil
}

func (s *stage) saw(secret *corev1.Secret) { s.reader.Saw(s.Context(), secret) }

func TestWhatTheWatchHasIsNotAskedFor(t *testing.T) {
	s := newStage(t)
	s.watched.put(secretOf("shop", "a", "1", "first"))
	s.hold("key", "a")
	s.wants("key", "a", "first", "")
	s.watched.put(secretOf("shop", "a", "2", "second"))
	s.wants("key", "a", "second", "")
	s.pass(time.Hour)
	s.wants("key", "a", "second", "")
	s.wakes()
}

// A Secret whose content the watch has not kept is asked for once for each
// version, also where the watch is behind.
func TestWhatTheWatchHasNotKeptIsAskedForOnce(t *testing.T) {
	s := newStage(t)
	first, second := secretOf("shop", "a", "1", "first"), secretOf("shop", "a", "2", "second")
	s.watched.put(trimmed(first))
	s.server.put(first)
	s.hold("key", "a")
	s.wants("key", "a", "unknown", "")
	s.pass(0)
	s.wakes("key")
	s.wants("key", "a", "first", "shop a")
	s.pass(time.Second)
	s.wants("key", "a", "first", "")

	s.watched.put(trimmed(second))
	s.server.put(secretOf("shop", "a", "3", "third"))
	s.saw(second)
	s.wants("key", "a", "unknown", "")
	s.pass(0)
	s.wants("key", "a", "third", "shop a")
	s.wakes("key")
	s.watched.put(trimmed(secretOf("shop", "a", "3", "")))
	s.saw(second)
	s.wants("key", "a", "third", "")

	s.watched.remove(first)
	s.server.remove(first)
	s.saw(first)
	s.wants("key", "a", "unknown", "")
	s.pass(0)
	s.wants("key", "a", "nothing", "shop a")
	s.wakes("key")
}

// A Secret that came and went, and of which the watch tells late, is not taken to
// exist.
func TestAnEventOfASecretThatWasAskedForCounts(t *testing.T) {
	s := newStage(t)
	secret := secretOf("shop", "a", "1", "first")
	s.server.put(secret)
	s.hold("key", "a")
	s.read("key", "a")
	s.pass(0)
	s.wants("key", "a", "first", "shop a")
	s.server.remove(secret)
	s.saw(secret) // of its creation: it is gone again
	s.wants("key", "a", "unknown", "")
	s.pass(0)
	s.wants("key", "a", "nothing", "shop a")
}

// A Secret that no watch covers is asked for again, a missing one ever less often.
// A key that wants it hears only of changes.
func TestUnwatchedSecretsAreAskedForAgain(t *testing.T) {
	s := newStage(t)
	s.hold("key", "a")
	s.hold("other", "a")
	s.read("other", "a")
	s.wants("key", "a", "unknown", "")
	s.pass(0)
	s.wakes("key", "other")
	s.wants("key", "a", "nothing", "shop a")
	for _, wait := range []time.Duration{againMissing, 2 * againMissing, 4 * againMissing, 8 * againMissing, againAtLast, againAtLast} {
		s.pass(wait - time.Second)
		s.wants("key", "a", "nothing", "")
		s.pass(time.Second)
		s.wants("key", "a", "nothing", "shop a")
	}
	s.wakes()
	s.server.put(secretOf("shop", "a", "1", "first"))
	s.pass(againAtLast)
	s.wakes("key", "other")
	s.wants("key", "a", "first", "shop a")
	s.pass(again)
	s.wakes()
	s.wants("key", "a", "first", "shop a")
	s.server.put(secretOf("shop", "a", "2", "second"))
	s.pass(again)
	s.wakes("key", "other")
	s.wants("key", "a", "second", "shop a")
}

// However many Secrets of a namespace are missing, they take one question. A
// Secret that exists is asked for when it has changed.
func TestManySecretsAreOneQuestion(t *testing.T) {
	s := newStage(t)
	var names []string
	for i := range 2000 {
		names = append(names, fmt.Sprintf("missing-%d", i))
	}
	s.server.put(secretOf("shop", "a", "1", "first"), secretOf("shop", "b", "1", "second"), secretOf("shop", "unnamed", "1", ""))
	s.hold("key", append(names, "a", "b")...)
	look := func() {
		for _, name := range append(names, "a", "b") {
			s.read("key", name)
		}
	}
	look()
	s.pass(0)
	s.wants("key", "a", "first", "shop, shop a, shop b")
	s.wants("key", "missing-7", "nothing", "")
	for range 10 { // however often the key is looked at
		look()
		s.pass(0)
	}
	s.wants("key", "b", "second", "")
	s.server.put(secretOf("shop", "b", "2", "third"))
	s.pass(again)
	s.wants("key", "b", "third", "shop, shop b")
	// A new name in such a namespace is not kept waiting by the others.
	s.hold("new", "a", "missing-new")
	s.read("new", "missing-new")
	s.pass(visitRest)
	s.wants("new", "missing-new", "nothing", "shop missing-new")
}

// A user who adds names again and again does not cause a list each time.
func TestANamespaceIsListedSeldom(t *testing.T) {
	s := newStage(t)
	lists := 0
	for round := range 100 {
		var names []string
		for i := range 50 {
			names = append(names, fmt.Sprintf("missing-%d-%d", round, i))
		}
		s.hold("key", names...)
		for _, name := range names {
			s.read("key", name)
		}
		s.pass(100 * time.Millisecond)
		lists += strings.Count(s.server.taken(), "shop")
	}
	if lists > 5 {
		t.Errorf("the namespace was asked about %d times in 20 s, want at most every %s", lists, listRest)
	}
}

// A namespace that must not be listed is asked about by name.
func TestANamespaceThatMayNotBeListed(t *testing.T) {
	s := newStage(t)
	s.server.fails = func(_ context.Context, _, name string) error {
		if name == "" {
			return apierrors.NewForbidden(corev1.Resource("secrets"), "", nil)
		}
		return nil
	}
	names := []string{"a", "b", "c", "d", "e", "f"}
	s.hold("key", names...)
	for _, name := range names {
		s.read("key", name)
	}
	s.pass(0)
	s.wants("key", "f", "nothing", "shop, shop a, shop b, shop c, shop d, shop e, shop f")
}
