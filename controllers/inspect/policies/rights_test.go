package policies_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairwaynet/fairway/controllers/inspect/policies"
)

// without is a cluster in which its user may not read one type.
type without struct {
	client.Reader
	what string
}

func (w without) may(what any) error {
	if fmt.Sprintf("%T", what) == w.what {
		return apierrors.NewForbidden(schema.GroupResource{Resource: "x"}, "", errors.New("no"))
	}
	return nil
}

func (w without) List(ctx context.Context, into client.ObjectList, options ...client.ListOption) error {
	return errors.Join(w.may(into), w.Reader.List(ctx, into, options...))
}

func (w without) Get(ctx context.Context, name client.ObjectKey, into client.Object, options ...client.GetOption) error {
	return errors.Join(w.may(into), w.Reader.Get(ctx, name, into, options...))
}

// A user who may not read policies of the cluster sees those of the namespace, and which right is missing. The labels
// of namespaces are asked for if there are such policies.
func TestMissingRights(t *testing.T) {
	const pod = "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n---\n" +
		"apiVersion: v1\nkind: Pod\nmetadata: {namespace: shop, name: web}\nstatus: {podIPs: [{ip: 10.0.0.1}]}\n"
	const own = "---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {namespace: shop, name: own}\nspec: {podSelector: {}}\n"
	const guard = "---\napiVersion: policy.networking.k8s.io/v1beta1\nkind: ClusterNetworkPolicy\nmetadata: {name: guard}\n" +
		"spec: {tier: Admin, priority: 1, subject: {namespaces: {}}, ingress: [{action: Deny, from: [{namespaces: {}}]}]}\n"
	const unknown = "Not known: which ClusterNetworkPolicies select the pod: you need the permission to "
	for name, test := range map[string]struct{ manifests, without, want string }{
		"all rights":                       {pod + own + guard, "", ""},
		"policies of the cluster":          {pod + own + guard, "*unstructured.UnstructuredList", unknown + "list clusternetworkpolicies.policy.networking.k8s.io in all namespaces.\n"},
		"namespaces":                       {pod + own + guard, "*v1.Namespace", unknown + "get namespaces in namespace shop.\n"},
		"namespaces, of which none matter": {pod + own, "*v1.Namespace", ""},
	} {
		reader := readerOf(t, test.manifests)
		reader.Reader = without{reader.Reader, test.without}
		said, err := policies.OfPod(t.Context(), reader, types.NamespacedName{Namespace: "shop", Name: "web"})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if text := said.Text(); !strings.Contains(text, "  own  nothing\n") || !strings.HasSuffix(text, test.want) || strings.Contains(text, "Not known") != (test.want != "") {
			t.Errorf("without %s:\n%s", name, text)
		}
	}
}
