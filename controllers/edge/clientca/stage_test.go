package clientca

import (
	"context"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairwaynet/fairway/controllers/objects/index"
	"github.com/fairwaynet/fairway/controllers/objects/report"
	"github.com/fairwaynet/fairway/controllers/objects/secretcache"
	"github.com/fairwaynet/fairway/test/authority"
	"github.com/fairwaynet/fairway/test/indexed"
	"github.com/fairwaynet/fairway/xds/route"
)

// shelf is a Publisher.
type shelf map[types.NamespacedName]string

func (s shelf) PublishClientCA(secret types.NamespacedName, authorities []byte) {
	s[secret] = string(authorities)
}

// apiServer answers with an error, if there is one.
type apiServer struct {
	client.Reader
	err error
}

func (a *apiServer) Get(ctx context.Context, name client.ObjectKey, into client.Object, opts ...client.GetOption) error {
	if a.err != nil {
		return a.err
	}
	return a.Reader.Get(ctx, name, into, opts...)
}

// watchedOnly is a watch of the Secrets of one type.
type watchedOnly struct{ client.Reader }

func (w watchedOnly) Get(ctx context.Context, name client.ObjectKey, into client.Object, opts ...client.GetOption) error {
	err := w.Reader.Get(ctx, name, into, opts...)
	if secret, ok := into.(*corev1.Secret); ok && err == nil && secret.Type != corev1.SecretTypeTLS {
		return apierrors.NewNotFound(corev1.Resource("secrets"), name.Name)
	}
	return err
}

// queue is a queue that remembers what was added, and after which time.
type queue struct {
	workqueue.TypedRateLimitingInterface[Key]

	added []Key
	later map[Key]time.Duration
}

func (q *queue) Add(key Key) { q.added = append(q.added, key) }

func (q *queue) AddAfter(key Key, d time.Duration) { q.later[key] = d }

// theCA is the Secret that most cases are about.
func theCA() Key { return Key{Namespace: "shop", Name: "staff-ca"} }

func newAuthority(t *testing.T, name string) *authority.Authority {
	t.Helper()
	a, err := authority.New(name, 24*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func secretOf(key Key, kind corev1.SecretType, data map[string]string) *corev1.Secret {
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name}, Type: kind, Data: map[string][]byte{}}
	for name, value := range data {
		secret.Data[name] = []byte(value)
	}
	return secret
}

// caSecret is theCA with that for authorities.
func caSecret(text string) *corev1.Secret {
	return secretOf(theCA(), corev1.SecretTypeTLS, map[string]string{route.CAKey: text})
}

// guarded is an Ingress of ours whose clients are verified by the Secret of that
// name.
func guarded(name, ca string) *networkingv1.Ingress {
	return &networkingv1.Ingress{ObjectMeta: metav1.ObjectMeta{
		Namespace: "shop", Name: name,
		Annotations: map[string]string{"kubernetes.io/ingress.class": route.WellKnownClass, route.AnnotationClientCA: ca},
	}}
}

// with changes an object in place, for a table.
func with[O client.Object](object O, change func(O)) O {
	change(object)
	return object
}

// stage is a Reconciler and all that it reads and writes.
type stage struct {
	*testing.T
	*Reconciler

	cluster   client.Client
	server    *apiServer
	cache     *secretcache.Cache
	published shelf
	reporter  *report.Reporter
	now       time.Time // of the cache of Secrets
}

// newStage has a Reconciler whose clock stands at that time.
func newStage(t *testing.T, clock time.Time, objects ...client.Object) *stage {
	t.Helper()
	s := &stage{T: t, cluster: indexed.Cluster(t, objects...), published: shelf{}, reporter: report.New(), now: clock}
	s.server = &apiServer{Reader: s.cluster}
	s.cache = secretcache.New(watchedOnly{s.cluster}, s.server, func() time.Time { return s.now })
	s.Reconciler = New(index.Objects{Cluster: s.cluster}, s.cache, s.published, s.reporter, func() time.Time { return clock })
	return s
}

// reconcile returns after how long the key wants to be looked at again.
func (s *stage) reconcile(key Key) time.Duration {
	s.Helper()
	result, err := s.Reconcile(s.Context(), key)
	if err != nil {
		s.Fatal(err)
	}
	return result.RequeueAfter
}

// answer lets the API server be asked for all that is due within a minute.
func (s *stage) answer() {
	for end := s.now.Add(time.Minute); s.now.Before(end); s.now = s.now.Add(time.Second) {
		for s.cache.Step(s.Context()) {
			s.now = s.now.Add(time.Second)
		}
	}
}

// says is the Problems, each in a line.
func (s *stage) says() string {
	var lines []string
	for _, p := range s.reporter.Problems() {
		if p.Field != "metadata.annotations[fairway.dev/client-ca]" {
			s.Errorf("a Problem is of %s", p.Field)
		}
		lines = append(lines, p.Object.String()+": "+string(p.Reason)+": "+p.Message)
	}
	return strings.Join(lines, "\n")
}
