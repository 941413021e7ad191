package challenge

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	typedv1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/cache"

	"github.com/fairwaynet/fairway/api/installation"
	"github.com/fairwaynet/fairway/tls/challenge"
)

// Watch fills a Set from the Secrets of orders.
type Watch struct {
	Secrets      typedv1.CoreV1Interface
	Installation installation.Name
	Namespace    string // of the Secrets; no others are read
	Set          *Set
	Log          logr.Logger

	once sync.Once
	done chan struct{} // closed when the Set has all orders that exist
}

// Run watches until ctx ends.
func (w *Watch) Run(ctx context.Context) error {
	source := cache.NewFilteredListWatchFromClient(w.Secrets.RESTClient(), "secrets", w.Namespace,
		func(options *metav1.ListOptions) {
			options.LabelSelector = w.Installation.Selector()
			options.FieldSelector = fields.OneTermEqualSelector("type", challenge.SecretType).String()
		})
	informer := cache.NewSharedInformer(source, &corev1.Secret{}, 0)
	if err := informer.SetTransform(trim); err != nil {
		return fmt.Errorf("watch the secrets of orders: %w", err)
	}
	registration, err := informer.AddEventHandler(w.Set.handler(w.Log))
	if err != nil {
		return fmt.Errorf("watch the secrets of orders: %w", err)
	}
	var told sync.WaitGroup
	told.Go(func() {
		if cache.WaitForCacheSync(ctx.Done(), registration.HasSynced) {
			close(w.synced())
		}
	})
	informer.RunWithContext(ctx)
	told.Wait()
	return nil
}

// synced returns done; the first caller makes it.
func (w *Watch) synced() chan struct{} {
	w.once.Do(func() { w.done = make(chan struct{}) })
	return w.done
}

// Wait returns when the Set has all orders that exist, or after most: a replica
// that may not read them serves all the same.
func (w *Watch) Wait(ctx context.Context, most time.Duration) {
	timer := time.NewTimer(most)
	defer timer.Stop()
	select {
	case <-w.synced():
	case <-ctx.Done():
	case <-timer.C:
		w.Log.Error(nil, "the secrets of ACME orders cannot be read yet; their challenges are not answered", "namespace", w.Namespace)
	}
}

// trim drops what is not read. An order's Secret holds the key of a certificate,
// which only the leader needs.
func trim(object any) (any, error) {
	secret, ok := object.(*corev1.Secret)
	if !ok {
		return object, nil
	}
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: secret.Namespace, Name: secret.Name,
			UID: secret.UID, ResourceVersion: secret.ResourceVersion,
		},
		Type: secret.Type,
		Data: map[string][]byte{challenge.SecretKey: secret.Data[challenge.SecretKey]},
	}, nil
}
