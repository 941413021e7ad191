package freshness

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"
)

// patience is how long the API server may take for one question.
const patience = 30 * time.Second

// watcher compares what one instance of CoreDNS holds with what the API server has.
type watcher struct {
	cache    picture
	server   server
	pace     Pace
	reporter Reporter
	metrics  *metrics

	newest map[string]uint64 // the highest version that was seen, by resource
	cancel context.CancelFunc
}

// start compares until stop. Restart makes another instance, which reads everything and then ends
// this one, and with it this watcher.
func (w *watcher) start(restart func() error) {
	var ctx context.Context
	ctx, w.cancel = context.WithCancel(context.Background())
	w.newest = map[string]uint64{}
	go w.run(ctx, restart)
}

// stop does not wait: it is the watcher itself that makes another instance.
func (w *watcher) stop() error {
	if w.cancel != nil {
		w.cancel()
	}
	return nil
}

func (w *watcher) run(ctx context.Context, restart func() error) {
	compared := time.Now()
	for {
		// Replicas that started together do not ask together.
		if !sleep(ctx, w.pace.Look/2+rand.N(w.pace.Look)) {
			return
		}
		w.metrics.show(w.cache)
		if !w.cache.HasSynced() {
			continue
		}
		due := time.Since(compared) >= w.pace.Compare
		why, err := w.look(ctx, due)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			log.Warningf("compare with the API server: %v", err) // it may be away, and names go on being served
		case why == "":
			w.metrics.verified.SetToCurrentTime()
			if due {
				compared = time.Now()
			}
		default:
			w.metrics.stale.Inc()
			w.reporter.Warn("StaleNames", why+" All Services, EndpointSlices and Namespaces are read anew.")
			if err := restart(); err != nil {
				log.Errorf("read everything anew: %v", err)
			}
		}
	}
}

func sleep(ctx context.Context, wait time.Duration) bool {
	select {
	case <-time.After(wait):
		return true
	case <-ctx.Done():
		return false
	}
}

// look says what the cache has missed, or "". It compares every object if that is due, or if numbers
// differ.
func (w *watcher) look(ctx context.Context, due bool) (string, error) {
	for _, resource := range []string{services, endpointSlices, namespaces} {
		suspicious, back, err := w.count(ctx, resource)
		if err != nil {
			return "", err
		}
		if back != "" {
			return back, nil
		}
		if !due && !suspicious {
			continue
		}
		missed, err := w.compare(ctx, resource)
		if err != nil {
			return "", err
		}
		if len(missed) > 0 {
			return fmt.Sprintf("The watch of %s missed %d changes, the first of %s.", resource, len(missed), missed[0]), nil
		}
	}
	return "", nil
}

// count asks for the number and the version of a resource's objects. The version went back if etcd
// was restored: watches then wait for versions that come later, and skip those before.
func (w *watcher) count(ctx context.Context, resource string) (suspicious bool, back string, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	held := w.cache.Versions(resource, nil)
	seen := max(w.newest[resource], held.newest())
	number, version, err := w.server.Count(ctx, resource)
	if err != nil {
		return false, "", err
	}
	if version < seen {
		return false, fmt.Sprintf("The API server is at version %d and was at %d: etcd was restored.", version, seen), nil
	}
	w.newest[resource] = version
	return resource != namespaces && number != int64(len(held)), "", nil
}

// compare finds what the cache has missed, and leaves what is on its way some time.
func (w *watcher) compare(ctx context.Context, resource string) ([]name, error) {
	ctx, cancel := context.WithTimeout(ctx, patience+w.pace.Settle)
	defer cancel()
	before := w.cache.Versions(resource, nil) // first, so that what is made meanwhile is not taken for something that is gone
	wanted, err := w.server.Versions(ctx, resource)
	if err != nil {
		return nil, err
	}
	if resource == namespaces {
		for one := range wanted {
			wanted[one] = "" // the cache does not know their versions
		}
		before = w.cache.Versions(resource, wanted)
	}
	if len(behind(wanted, before, before)) == 0 {
		return nil, nil
	}
	if !sleep(ctx, w.pace.Settle) {
		return nil, ctx.Err()
	}
	return behind(wanted, before, w.cache.Versions(resource, wanted)), nil
}

// String is the name as people write it.
func (n name) String() string {
	if n.namespace == "" {
		return n.name
	}
	return n.namespace + "/" + n.name
}
