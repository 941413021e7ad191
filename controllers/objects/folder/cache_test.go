package folder

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairwaynet/fairway/test/soak"
)

// soon is how soon an edit is seen, as we promise; deadline is for a busy machine.
const (
	soon     = time.Second
	deadline = 30 * time.Second
)

// start runs a cache until the test ends.
func start(t *testing.T, paths ...string) *Cache {
	t.Helper()
	c := open(t, paths...)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- c.Start(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	if !c.WaitForCacheSync(ctx) {
		t.Fatal("the cache does not sync")
	}
	return c
}

// within polls until a check returns nothing to complain of. It fails after a
// while, which is generous only because the machine may be busy.
func within(t *testing.T, limit time.Duration, check func() error) {
	t.Helper()
	began := time.Now()
	for range time.Tick(5 * time.Millisecond) {
		err := check()
		if err == nil {
			soak.Promised(t, "an edit is seen", time.Since(began), limit)
			return
		}
		if time.Since(began) > deadline {
			t.Fatal(err)
		}
	}
}

// seen is nil when the informers know exactly these Services, "name:port".
func seen(t *testing.T, c *Cache, want ...string) func() error {
	return func() error {
		var list corev1.ServiceList
		if err := c.List(t.Context(), &list); err != nil {
			return err
		}
		found := map[string]bool{}
		for _, s := range list.Items {
			found[fmt.Sprintf("%s:%d", s.Name, s.Spec.Ports[0].Port)] = true
		}
		for _, w := range want {
			if !found[w] {
				return fmt.Errorf("have %v, want %v", found, want)
			}
		}
		if len(found) != len(want) {
			return fmt.Errorf("have %v, want %v", found, want)
		}
		return nil
	}
}

func TestEditsAreSeenWithinASecond(t *testing.T) {
	t.Chdir(t.TempDir())
	a, b := doc{"a", 80, ""}.text(), doc{"b", 80, ""}.text()
	do := func(what string, errs ...error) {
		t.Helper()
		if err := errors.Join(errs...); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	write(t, "dir/a.yaml", a)
	c := start(t, "dir")
	within(t, soon, seen(t, c, "a:80"))

	write(t, "dir/a.yaml", doc{"a", 81, ""}.text())
	within(t, soon, seen(t, c, "a:81"))

	write(t, "dir/.a.yaml.swp", a)
	do("an editor renames", os.Rename("dir/.a.yaml.swp", "dir/a.yaml"))
	within(t, soon, seen(t, c, "a:80"))

	write(t, "dir/sub/deep/b.yaml", b)
	within(t, soon, seen(t, c, "a:80", "b:80"))
	write(t, "dir/sub/deep/b.yaml", doc{"b", 81, ""}.text())
	within(t, soon, seen(t, c, "a:80", "b:81"))

	do("a subfolder goes and comes back", os.Rename("dir/sub", "away"))
	within(t, soon, seen(t, c, "a:80"))
	do("back", os.Rename("away", "dir/sub"))
	within(t, soon, seen(t, c, "a:80", "b:81"))
	write(t, "dir/sub/deep/b.yaml", b)
	within(t, soon, seen(t, c, "a:80", "b:80"))

	do("the folder goes", os.Rename("dir", "away"))
	within(t, soon, func() error {
		if problems := describeProblems(c); !strings.Contains(problems, "dir: UnreadableFile: cannot be read: no such file or directory; what it held stays") {
			return fmt.Errorf("problems %q", problems)
		}
		return nil
	})
	within(t, soon, seen(t, c, "a:80", "b:80"))
	write(t, "dir/a.yaml", doc{"a", 90, ""}.text())
	within(t, soon, seen(t, c, "a:90"))
	write(t, "dir/a.yaml", doc{"a", 91, ""}.text())
	within(t, soon, seen(t, c, "a:91"))
	if problems := describeProblems(c); problems != "" {
		t.Errorf("problems %s", problems)
	}
}

// TestASwappedLink: a mounted ConfigMap is a link to a link to a folder, and
// the link in the middle is swapped.
func TestASwappedLink(t *testing.T) {
	t.Chdir(t.TempDir())
	write(t, "dir/..1/a.yaml", doc{"a", 80, ""}.text())
	write(t, "dir/..2/a.yaml", doc{"a", 81, ""}.text())
	link := func(target, name string) {
		t.Helper()
		if err := errors.Join(os.Symlink(target, name+".new"), os.Rename(name+".new", name)); err != nil {
			t.Fatal(err)
		}
	}
	link("..1", "dir/..data")
	link("..data/a.yaml", "dir/a.yaml")
	c := start(t, "dir")
	within(t, soon, seen(t, c, "a:80"))
	link("..2", "dir/..data")
	within(t, soon, seen(t, c, "a:81"))

	// A folder that is itself a link, as in deployments by symlink.
	write(t, "releases/1/b.yaml", doc{"b", 80, ""}.text())
	write(t, "releases/2/b.yaml", doc{"b", 81, ""}.text())
	link("releases/1", "current")
	released := start(t, "current")
	within(t, soon, seen(t, released, "b:80"))
	link("releases/2", "current")
	within(t, soon, seen(t, released, "b:81"))
	write(t, "releases/2/b.yaml", doc{"b", 82, ""}.text())
	within(t, soon, seen(t, released, "b:82"))
}

func TestAFileBehindALinkIsWatched(t *testing.T) {
	t.Chdir(t.TempDir())
	write(t, "elsewhere/a.yaml", doc{"a", 80, ""}.text())
	write(t, "dir/b.yaml", doc{"b", 80, ""}.text())
	if err := os.Symlink("../elsewhere/a.yaml", "dir/a.yaml"); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("..", "dir/loop"); err != nil { // a loop is walked once
		t.Fatal(err)
	}
	c := start(t, "dir")
	within(t, soon, seen(t, c, "a:80", "b:80"))
	write(t, "elsewhere/a.yaml", doc{"a", 81, ""}.text())
	within(t, soon, seen(t, c, "a:81", "b:80"))
}

func TestTheCacheIsOneOfControllerRuntime(t *testing.T) {
	t.Chdir(t.TempDir())
	write(t, "dir/all.yaml", `apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: cart, namespace: shop, labels: {tier: front}}
---
apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata: {name: fairway}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: cart-1, namespace: shop, labels: {kubernetes.io/service-name: cart}}
addressType: IPv4
ports: [{port: 8080}]
`)
	c := open(t, "dir")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	if err := c.IndexField(ctx, &discoveryv1.EndpointSlice{}, "service", func(o client.Object) []string {
		return []string{o.GetLabels()[discoveryv1.LabelServiceName]}
	}); err != nil {
		t.Fatal(err)
	}
	events := make(chan string, 100)
	informer, err := c.GetInformer(ctx, &corev1.Service{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
		AddFunc:    func(o any) { events <- "add " + o.(*corev1.Service).Name },
		UpdateFunc: func(_, o any) { events <- "update " + o.(*corev1.Service).Name },
		DeleteFunc: func(o any) { events <- "delete " + o.(*corev1.Service).Name },
	}); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- c.Start(ctx) }()
	if !c.WaitForCacheSync(ctx) {
		t.Fatal("the cache does not sync")
	}

	var slices discoveryv1.EndpointSliceList
	if err := c.List(ctx, &slices, client.InNamespace("shop"), client.MatchingFields{"service": "cart"}); err != nil || len(slices.Items) != 1 {
		t.Errorf("by index: %d slices, %v", len(slices.Items), err)
	} else if port := slices.Items[0].Ports[0]; *port.Name != "" || *port.Protocol != corev1.ProtocolTCP {
		t.Errorf("port %v has no defaults", port)
	}
	var ingress networkingv1.Ingress
	if err := c.Get(ctx, types.NamespacedName{Namespace: "shop", Name: "cart"}, &ingress); err != nil {
		t.Error(err)
	}
	if ingress.UID != "file:Ingress shop/cart" || ingress.ResourceVersion == "" || !ingress.CreationTimestamp.IsZero() {
		t.Errorf("metadata %v", ingress.ObjectMeta)
	}
	var class networkingv1.IngressClass
	if err := c.Get(ctx, types.NamespacedName{Name: "fairway"}, &class); err != nil {
		t.Error(err)
	}
	if err := c.Get(ctx, types.NamespacedName{Name: "other"}, &class); !apierrors.IsNotFound(err) {
		t.Errorf("Get of what is not there: %v", err)
	}
	var ingresses networkingv1.IngressList
	for _, reader := range []client.Reader{c, c.Live()} {
		if err := reader.List(ctx, &ingresses, client.MatchingLabels{"tier": "front"}); err != nil || len(ingresses.Items) != 1 {
			t.Errorf("by label: %d, %v", len(ingresses.Items), err)
		}
		if err := reader.List(ctx, &ingresses, client.MatchingLabels{"tier": "back"}); err != nil || len(ingresses.Items) != 0 {
			t.Errorf("by another label: %d, %v", len(ingresses.Items), err)
		}
	}

	for _, step := range []struct{ text, want string }{
		{doc{"a", 80, ""}.text(), "add a"},
		{doc{"a", 81, ""}.text(), "update a"},
		{doc{"a", 81, "field"}.text() + "---\n" + doc{"b", 80, ""}.text(), "add b"},
		{"", "delete a"},
		{"", "delete b"},
	} {
		write(t, "dir/service.yaml", step.text)
		select {
		case got := <-events:
			if got != step.want {
				t.Fatalf("event %q, want %q", got, step.want)
			}
		case <-time.After(deadline):
			t.Fatalf("no event, want %q", step.want)
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestAWatchThatIsTooLateListsAgain: events are remembered, not for ever.
func TestAWatchThatIsTooLateListsAgain(t *testing.T) {
	t.Chdir(t.TempDir())
	write(t, "dir/a.yaml", doc{"a", 80, ""}.text())
	c := open(t, "dir")
	kind := corev1.SchemeGroupVersion.WithKind("Service")
	lw := listWatch{c.store, kind, c.scheme}

	write(t, filepath.Join("dir", "b.yaml"), doc{"b", 80, ""}.text())
	c.scan(t.Context(), nil)
	begun, err := lw.WatchWithContext(t.Context(), metav1.ListOptions{ResourceVersion: "1"})
	if err != nil {
		t.Fatal(err)
	}
	if e := <-begun.ResultChan(); e.Type != watch.Added || e.Object.(*corev1.Service).Name != "b" {
		t.Errorf("a watch from version 1 begins with %v", e)
	}
	begun.Stop()

	c.store.mu.Lock()
	c.store.events, c.store.dropped = nil, c.store.version
	c.store.mu.Unlock()
	late, err := lw.WatchWithContext(t.Context(), metav1.ListOptions{ResourceVersion: "1"})
	if err != nil {
		t.Fatal(err)
	}
	e := <-late.ResultChan()
	if status, ok := e.Object.(*metav1.Status); !ok || status.Reason != metav1.StatusReasonExpired {
		t.Errorf("a watch from a forgotten version begins with %v", e)
	}
	if _, open := <-late.ResultChan(); open {
		t.Error("and it goes on")
	}
	c.store.watches.Wait()
}
