package assembly

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/go-logr/logr"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// Large keys come after all others, however many there are. A key that is added
// several times runs once.
func TestLargeKeysComeLast(t *testing.T) {
	q := queues(logr.Discard(), func(key string) bool { return strings.HasPrefix(key, "large") })(
		"test", workqueue.DefaultTypedControllerRateLimiter[string]())
	defer q.ShutDown()
	for i := range 100 {
		q.Add(fmt.Sprintf("large-%d", i))
	}
	first, _ := q.Get() // a large one may already be on its way to a waiting worker
	for i := range 3 {
		q.Add(fmt.Sprintf("small-%d", i))
	}
	var order []string
	for q.Len() > 0 {
		key, _ := q.Get()
		order = append(order, key)
		q.Done(key)
	}
	q.Done(first)
	if len(order) != 102 {
		t.Fatalf("%d keys, want 102", len(order))
	}
	for i, key := range order[4:] {
		if strings.HasPrefix(key, "small") {
			t.Errorf("%s comes as number %d, after large ones", key, i+4)
		}
	}
}

// While one large key is worked on, other large keys are put off and small ones
// are worked on.
func TestFewLargeKeysRunAtOnce(t *testing.T) {
	entered, leave := make(chan string), make(chan struct{})
	bounded := boundLarge(reconcile.TypedFunc[string](func(_ context.Context, key string) (reconcile.Result, error) {
		if strings.HasPrefix(key, "large") {
			entered <- key
			<-leave
		}
		return reconcile.Result{}, nil
	}), func(key string) bool { return strings.HasPrefix(key, "large") })
	run := func(key string) reconcile.Result {
		result, err := bounded.Reconcile(t.Context(), key)
		if err != nil {
			t.Error(err)
		}
		return result
	}
	first := make(chan reconcile.Result)
	go func() { first <- run("large-1") }()
	<-entered
	if result := run("large-2"); result.RequeueAfter <= 0 || result.Priority == nil || *result.Priority >= 0 {
		t.Errorf("a second large key: %+v, want it to come back after all others", result)
	}
	if result := run("small"); !result.IsZero() {
		t.Errorf("a small key: %+v, want it done", result)
	}
	close(leave)
	if result := <-first; !result.IsZero() {
		t.Errorf("the first large key: %+v, want it done", result)
	}
	go func() { first <- run("large-2") }()
	if key := <-entered; key != "large-2" {
		t.Errorf("%s is worked on, want large-2", key)
	}
	<-first
}
