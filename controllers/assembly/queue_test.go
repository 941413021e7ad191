package assembly

import (
	"fmt"
	"strings"
	"testing"

	"github.com/go-logr/logr"
	"k8s.io/client-go/util/workqueue"
)

// Keys that take long come after all others, however many they are; an addition
// of each is one run.
func TestLargeKeysComeLast(t *testing.T) {
	q := queues(logr.Discard(), func(key string) bool { return strings.HasPrefix(key, "large") })(
		"test", workqueue.DefaultTypedControllerRateLimiter[string]())
	defer q.ShutDown()
	for i := range 100 {
		q.Add(fmt.Sprintf("large-%d", i))
	}
	first, _ := q.Get() // a large one may be on its way to whoever waits
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
