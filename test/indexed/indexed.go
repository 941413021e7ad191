// Package indexed makes fake clusters in which reconcilers find objects by the same
// indexes as in a cache.
package indexed

import (
	"context"
	"testing"

	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/fairwaynet/fairway/controllers/objects/index"
)

// Cluster is a fake cluster with these objects, all of Kubernetes' own kinds.
func Cluster(t testing.TB, objects ...client.Object) client.Client {
	t.Helper()
	builder := fake.NewClientBuilder().WithScheme(scheme.Scheme).WithObjects(objects...)
	Register(t, builder)
	return builder.Build()
}

// Register adds the indexes to a fake cluster in the making.
func Register(t testing.TB, to *fake.ClientBuilder) {
	t.Helper()
	if err := index.Register(t.Context(), indexer{to}); err != nil {
		t.Fatal(err)
	}
}

// indexer lets index.Register add its indexes to a fake client.
type indexer struct{ *fake.ClientBuilder }

// IndexField implements client.FieldIndexer.
func (i indexer) IndexField(_ context.Context, object client.Object, field string, values client.IndexerFunc) error {
	i.WithIndex(object, field, values)
	return nil
}
