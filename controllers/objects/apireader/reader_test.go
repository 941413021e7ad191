package apireader

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
)

// server is an API server that counts what it is asked, and may hang.
type server struct {
	client.Reader

	asked int
	hangs chan struct{} // nil: it answers; else it receives a value when a request hangs
}

func (s *server) Get(ctx context.Context, name client.ObjectKey, into client.Object, opts ...client.GetOption) error {
	if s.hangs != nil {
		s.hangs <- struct{}{}
		<-ctx.Done()
		return ctx.Err()
	}
	s.asked++
	return s.Reader.Get(ctx, name, into, opts...)
}

func (s *server) List(ctx context.Context, into client.ObjectList, opts ...client.ListOption) error {
	s.asked++
	return s.Reader.List(ctx, into, opts...)
}

func serverOf(objects ...client.Object) *server {
	return &server{Reader: fake.NewClientBuilder().WithScheme(scheme.Scheme).WithObjects(objects...).Build()}
}

func ingressOf(namespace, name string) *networkingv1.Ingress {
	return &networkingv1.Ingress{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, UID: types.UID(name), ResourceVersion: "999"}}
}

// backends asks for Ingresses of a namespace and a Service that each names.
func backends(t *testing.T, a *Reader, namespace string, cached ...*networkingv1.Ingress) ([]*networkingv1.Ingress, error) {
	t.Helper()
	found, _, err := a.Backends(t.Context(), namespace, cached, func(i *networkingv1.Ingress) []string { return []string{"of-" + i.Name} })
	return found, err
}

func isLater(err error) bool {
	later := (*LaterError)(nil)
	return errors.As(err, &later) && later.After > 0 && later.After <= longestWait
}

// Many Ingresses of a namespace take few questions too: only those that have
// changed are read.
func TestManyIngressesAreFewQuestions(t *testing.T) {
	var there []client.Object
	var cached []*networkingv1.Ingress
	for i := range 50 {
		ingress := ingressOf("shop", fmt.Sprint("i-", i))
		there, cached = append(there, ingress.DeepCopy()), append(cached, ingress)
	}
	cached[3].ResourceVersion = "998"
	cached = append(cached, ingressOf("shop", "gone"))
	s := serverOf(there...)
	a := New(s, nil)
	found, err := backends(t, a, "shop", cached...)
	if err != nil || len(found) != 50 {
		t.Fatalf("%d Ingresses, %v", len(found), err)
	}
	if s.asked != 3 { // the list, the one that changed, and the Services
		t.Errorf("%d questions, want 3", s.asked)
	}
	if found[3].ResourceVersion != "999" {
		t.Error("an old version is taken for the newest")
	}
	if _, err := backends(t, a, "shop", cached...); err != nil || s.asked != 3 {
		t.Errorf("asked again: %d questions, %v", s.asked, err)
	}
	// The cache has something newer than the last answer: that is asked for, and
	// what it names.
	cached[5] = cached[5].DeepCopy()
	cached[5].ResourceVersion = "1000"
	if _, err := backends(t, a, "shop", cached[5]); err != nil || s.asked != 5 {
		t.Errorf("%d questions, want 5; %v", s.asked, err)
	}
}

// The questions about a namespace are bounded over time, and that bounds no other
// namespace.
func TestANamespaceHasABudget(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	s := serverOf()
	a := New(s, func() time.Time { return now })
	refused := 0
	for i := range 1000 {
		_, err := backends(t, a, "noisy", ingressOf("noisy", fmt.Sprint(i)))
		switch {
		case isLater(err):
			refused++
		case err != nil:
			t.Fatal(err)
		}
		a.Forget("noisy")
		now = now.Add(10 * time.Millisecond)
	}
	if most := burst + 10*rate + 1; s.asked > most || refused == 0 {
		t.Errorf("%d questions in 10 s, want at most %d; %d came back", s.asked, most, refused)
	}
	if _, err := backends(t, a, "quiet", ingressOf("quiet", "a")); err != nil {
		t.Errorf("another namespace: %v", err)
	}
	now = now.Add(2 * memory)
	if _, err := backends(t, a, "third", ingressOf("third", "a")); err != nil || len(a.namespaces) != 1 {
		t.Errorf("%d namespaces are remembered, want one; %v", len(a.namespaces), err)
	}
}

// While the API server hangs, only some callers can wait for it. All others are
// told to come back, at different times.
func TestThoseWhoWaitAreFew(t *testing.T) {
	s := serverOf()
	s.hangs = make(chan struct{})
	a := New(s, nil)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	for i := range asking {
		go func() {
			_, _, err := a.Backends(ctx, fmt.Sprint(i), []*networkingv1.Ingress{ingressOf(fmt.Sprint(i), "a")}, nil)
			ended <- err
		}()
	}
	for range asking {
		<-s.hangs
	}
	seen := map[time.Duration]bool{}
	for i := range 20 {
		_, err := backends(t, a, "other", ingressOf("other", "a"))
		later := (*LaterError)(nil)
		if !errors.As(err, &later) {
			t.Fatalf("%d: %v, want a wait", i, err)
		}
		seen[later.After.Round(spacing)] = true
	}
	if len(seen) < 15 {
		t.Errorf("20 come back at %d times", len(seen))
	}
	cancel()
	for range asking {
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	}
	s.hangs = nil
	if _, err := backends(t, a, "other", ingressOf("other", "a")); err != nil {
		t.Errorf("when nobody waits any more: %v", err)
	}
}

// Only one caller at a time asks about a namespace.
func TestANamespaceIsAskedAboutOnceAtATime(t *testing.T) {
	a := New(serverOf(), nil)
	if _, err := a.enter("shop"); err != nil {
		t.Fatal(err)
	}
	if _, err := a.enter("shop"); !isLater(err) {
		t.Errorf("a second one enters: %v", err)
	}
	if _, err := a.enter("blog"); err != nil {
		t.Error(err)
	}
	a.leave("shop")
	if _, err := a.enter("shop"); err != nil {
		t.Error(err)
	}
}

func TestWithoutAnAskerNothingIsForgotten(t *testing.T) {
	var a *Reader
	a.Forget("shop")
	if (&LaterError{time.Second}).Error() == "" {
		t.Error("nobody is told")
	}
}
