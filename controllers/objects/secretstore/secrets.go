// Package secretstore keeps the Secrets that controllers write: in a cluster, or
// in files where there is no cluster.
//
// It knows neither what they hold nor who uses them. Its invariant: a write
// happens completely or not at all, and it fails if it is based on any but the
// newest version of the Secret.
package secretstore

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	applycorev1 "k8s.io/client-go/applyconfigurations/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Store is where Secrets are. Errors are those of the API: not found, already
// exists, conflict, forbidden.
type Store interface {
	// Get returns the Secret as it is now, nil if there is none. The caller may
	// change it.
	Get(ctx context.Context, name types.NamespacedName) (*corev1.Secret, error)
	// List returns the Secrets of a namespace that have a label with the value
	// "true".
	List(ctx context.Context, namespace, label string) ([]corev1.Secret, error)
	// Create makes a Secret that does not exist yet.
	Create(ctx context.Context, secret *corev1.Secret) error
	// Update replaces the version that was read.
	Update(ctx context.Context, secret *corev1.Secret) error
	// Delete deletes the version that was read. A Secret that is gone is no error.
	Delete(ctx context.Context, secret *corev1.Secret) error
	// Apply sets the given labels, annotations, type and data, and leaves the
	// rest. It is a conflict if another has written the same fields. With dryRun
	// it only checks whether it could.
	Apply(ctx context.Context, secret *corev1.Secret, dryRun bool) error
}

// FieldOwner is our field manager for server-side apply.
const FieldOwner = "fairway-certificates"

// Cluster is a Store in a cluster.
type Cluster struct {
	Live   client.Reader // the API server itself
	Writer client.Writer
}

var _ Store = Cluster{}

// Get implements Store.
func (c Cluster) Get(ctx context.Context, name types.NamespacedName) (*corev1.Secret, error) {
	secret := &corev1.Secret{}
	switch err := c.Live.Get(ctx, name, secret); {
	case apierrors.IsNotFound(err):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("get secret %s: %w", name, err)
	}
	return secret, nil
}

// List implements Store.
func (c Cluster) List(ctx context.Context, namespace, label string) ([]corev1.Secret, error) {
	var list corev1.SecretList
	if err := c.Live.List(ctx, &list, client.InNamespace(namespace), client.MatchingLabels{label: "true"}); err != nil {
		return nil, fmt.Errorf("list secrets of %s: %w", namespace, err)
	}
	return list.Items, nil
}

// Create implements Store.
func (c Cluster) Create(ctx context.Context, secret *corev1.Secret) error {
	return wrote("create", secret, c.Writer.Create(ctx, secret))
}

// Update implements Store.
func (c Cluster) Update(ctx context.Context, secret *corev1.Secret) error {
	return wrote("update", secret, c.Writer.Update(ctx, secret))
}

// Delete implements Store.
func (c Cluster) Delete(ctx context.Context, secret *corev1.Secret) error {
	err := c.Writer.Delete(ctx, secret, client.Preconditions{UID: &secret.UID, ResourceVersion: &secret.ResourceVersion})
	return wrote("delete", secret, client.IgnoreNotFound(err))
}

// Apply implements Store, by server-side apply.
func (c Cluster) Apply(ctx context.Context, secret *corev1.Secret, dryRun bool) error {
	wanted := applycorev1.Secret(secret.Name, secret.Namespace).
		WithLabels(secret.Labels).WithAnnotations(secret.Annotations).WithType(secret.Type).WithData(secret.Data)
	options := []client.ApplyOption{client.FieldOwner(FieldOwner)}
	if dryRun {
		options = append(options, client.DryRunAll)
	}
	return wrote("apply", secret, c.Writer.Apply(ctx, wanted, options...))
}

// wrote wraps an error with what was to be written, but never with what that held:
// the API server repeats values that it refuses.
func wrote(verb string, secret *corev1.Secret, err error) error {
	if err == nil {
		return nil
	}
	if status := apierrors.APIStatus(nil); errors.As(err, &status) && apierrors.IsInvalid(err) {
		err = &refusedError{status}
	}
	return fmt.Errorf("%s secret %s/%s: %w", verb, secret.Namespace, secret.Name, err)
}

// refusedError is an API server's report that an object is invalid, without the
// values.
type refusedError struct{ apierrors.APIStatus }

// Error names the fields.
func (w *refusedError) Error() string {
	text := "the API server refuses it"
	if details := w.Status().Details; details != nil {
		for _, cause := range details.Causes {
			text += fmt.Sprintf("; %s: %s", cause.Field, cause.Type)
		}
	}
	return text
}
