package challenge

import (
	"context"
	"fmt"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairwaynet/fairway/tls/challenge"
)

// Follow fills the Set from the Secrets of orders in a cache that the process has
// anyway.
func (s *Set) Follow(ctx context.Context, secrets cache.Cache, log logr.Logger) error {
	informer, err := secrets.GetInformer(ctx, &corev1.Secret{}, cache.BlockUntilSynced(false))
	if err != nil {
		return fmt.Errorf("watch orders: %w", err)
	}
	if _, err = informer.AddEventHandler(s.handler(log)); err != nil {
		return fmt.Errorf("watch orders: %w", err)
	}
	return nil
}

// handler puts the challenges of each order's Secret into the Set. It leaves out other
// Secrets.
func (s *Set) handler(log logr.Logger) toolscache.ResourceEventHandler {
	return toolscache.ResourceEventHandlerFuncs{
		AddFunc:    func(object any) { s.put(object, log) },
		UpdateFunc: func(_, object any) { s.put(object, log) },
		DeleteFunc: s.remove,
	}
}

func (s *Set) put(object any, log logr.Logger) {
	secret, ok := object.(*corev1.Secret)
	if !ok || secret.Type != challenge.SecretType {
		return
	}
	challenges, err := challenge.Decode(secret.Data[challenge.SecretKey])
	if err != nil {
		log.Error(err, "cannot read the challenges of an order; they are not answered", "secret", client.ObjectKeyFromObject(secret).String())
	}
	s.Put(secret.Name, challenges)
}

func (s *Set) remove(object any) {
	if last, ok := object.(toolscache.DeletedFinalStateUnknown); ok {
		object = last.Obj
	}
	if secret, ok := object.(*corev1.Secret); ok {
		s.Put(secret.Name, nil)
	}
}
