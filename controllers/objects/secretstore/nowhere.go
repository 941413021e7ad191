package secretstore

import (
	"context"
	"errors"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Nowhere is a Store that keeps nothing. It can read what others have written;
// every write is an error.
type Nowhere struct{ Others client.Reader }

var _ Store = Nowhere{}

var errNowhere = errors.New("there is nowhere to keep it") // a constant

// Get implements Store.
func (n Nowhere) Get(ctx context.Context, name types.NamespacedName) (*corev1.Secret, error) {
	return Cluster{Live: n.Others}.Get(ctx, name)
}

// List implements Store.
func (Nowhere) List(context.Context, string, string) ([]corev1.Secret, error) { return nil, nil }

// Create implements Store.
func (Nowhere) Create(_ context.Context, secret *corev1.Secret) error {
	return wrote("create", secret, errNowhere)
}

// Update implements Store.
func (Nowhere) Update(_ context.Context, secret *corev1.Secret) error {
	return wrote("update", secret, errNowhere)
}

// Delete implements Store.
func (Nowhere) Delete(_ context.Context, secret *corev1.Secret) error {
	return wrote("delete", secret, errNowhere)
}

// Apply implements Store.
func (Nowhere) Apply(_ context.Context, secret *corev1.Secret, _ bool) error {
	return wrote("apply", secret, errNowhere)
}
