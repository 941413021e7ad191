package index

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
)

// failing is a cache that cannot list.
type failing struct {
	client.Reader
	err error
}

func (f failing) List(context.Context, client.ObjectList, ...client.ListOption) error { return f.err }

// A cluster that does not say whether it has our kinds counts as having none: that
// fails no start. A fault of the cache itself does.
func TestACustomKindThatNobodyAnswersFor(t *testing.T) {
	group := schema.GroupVersion{Group: "fairway.dev", Version: "v1alpha1"}
	broken := errors.New("there is no such index")
	for _, test := range []struct{ err, want error }{
		{apierrors.NewTooManyRequests("later", 1), nil},
		{fmt.Errorf("get API group: %w", apierrors.NewTimeoutError("slow", 1)), nil},
		{&url.Error{Op: "Get", URL: "https://10.96.0.1/apis", Err: context.DeadlineExceeded}, nil},
		{new(apiutil.ErrResourceDiscoveryFailed{group: errors.New("no answer")}), nil},
		{broken, broken},
	} {
		configs, err := Objects{Cluster: failing{err: test.err}}.Configs(t.Context())
		if !errors.Is(err, test.want) || len(configs) > 0 {
			t.Errorf("%v: %d configurations and %v, want %v", test.err, len(configs), err, test.want)
		}
	}
}
