package snapshot_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/fairwaynet/fairway/api/v1alpha1"
	"github.com/fairwaynet/fairway/controllers/inspect/snapshot"
	"github.com/fairwaynet/fairway/controllers/objects/index"
)

// replicaLabel marks the Leases of replicas.
const replicaLabel = "fairway.dev/replica"

// apiServer is one that has an answer of its own to some requests: of a verb and a
// kind, "list Service", or of a namespace alone, "list Service shop".
type apiServer struct {
	client.Reader
	fails map[string]error
}

func (a apiServer) answer(verb string, object any, namespace string) error {
	_, kind, _ := strings.Cut(strings.TrimSuffix(fmt.Sprintf("%T", object), "List"), ".")
	if err := a.fails[verb+" "+kind+" "+namespace]; err != nil {
		return err
	}
	return a.fails[verb+" "+kind]
}

func (a apiServer) Get(ctx context.Context, name client.ObjectKey, into client.Object, options ...client.GetOption) error {
	if err := a.answer("get", into, name.Namespace); err != nil {
		return err
	}
	return a.Reader.Get(ctx, name, into, options...)
}

func (a apiServer) List(ctx context.Context, into client.ObjectList, options ...client.ListOption) error {
	if err := a.answer("list", into, (&client.ListOptions{}).ApplyOptions(options).Namespace); err != nil {
		return err
	}
	return a.Reader.List(ctx, into, options...)
}

func forbidden() error {
	return apierrors.NewForbidden(schema.GroupResource{Resource: "x"}, "", errors.New("no"))
}

// readerOf reads a cluster that holds one object of each kind.
func readerOf(t *testing.T, fails map[string]error) snapshot.Reader {
	t.Helper()
	scheme, err := index.Scheme()
	if err != nil {
		t.Fatal(err)
	}
	at := func(namespace, name string) metav1.ObjectMeta {
		return metav1.ObjectMeta{Namespace: namespace, Name: name}
	}
	slice := func(namespace, name, service string) *discoveryv1.EndpointSlice {
		s := &discoveryv1.EndpointSlice{ObjectMeta: at(namespace, name)}
		s.Labels = map[string]string{discoveryv1.LabelServiceName: service}
		return s
	}
	lease := func(namespace, name, label string) *coordinationv1.Lease {
		l := &coordinationv1.Lease{ObjectMeta: at(namespace, name)}
		if label != "" {
			l.Labels = map[string]string{label: "x"}
		}
		return l
	}
	return snapshot.Reader{Reader: apiServer{fails: fails, Reader: fake.NewClientBuilder().WithScheme(scheme).WithObjects(
		&networkingv1.IngressClass{ObjectMeta: at("", "class")},
		&networkingv1.Ingress{ObjectMeta: at("shop", "ingress")},
		&v1alpha1.ClusterGatewayConfig{ObjectMeta: at("", "cluster-config")},
		&v1alpha1.GatewayConfig{ObjectMeta: at("shop", "config")},
		&v1alpha1.Issuer{ObjectMeta: at("", "issuer")}, &v1alpha1.AddressPool{ObjectMeta: at("", "pool")},
		&corev1.Service{ObjectMeta: at("shop", "web")}, &corev1.Service{ObjectMeta: at("blog", "web")},
		slice("shop", "web-1", "web"), slice("shop", "other-1", "other"), slice("blog", "web-1", "web"),
		&corev1.Secret{ObjectMeta: at("shop", "tls")}, &corev1.Secret{ObjectMeta: at("blog", "tls")},
		lease("fairway", "one", replicaLabel), lease("fairway", "two", replicaLabel), lease("fairway", "leader", ""),
		lease("kube-system", "scheduler", ""), lease("edge", "one", replicaLabel),
	).Build()}}
}

// names are of objects, sorted.
func names[O client.Object](objects []O) string {
	var all []string
	for _, object := range objects {
		all = append(all, object.GetNamespace()+"/"+object.GetName())
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}

func in(namespace, name string) types.NamespacedName {
	return types.NamespacedName{Namespace: namespace, Name: name}
}

// calls are what a Reader can be asked for, but for Secrets.
func calls() map[string]func(context.Context, snapshot.Reader) ([]client.Object, error) {
	return map[string]func(context.Context, snapshot.Reader) ([]client.Object, error){
		"Routing":      func(ctx context.Context, r snapshot.Reader) ([]client.Object, error) { return r.Routing(ctx) },
		"Issuers":      func(ctx context.Context, r snapshot.Reader) ([]client.Object, error) { return r.Issuers(ctx) },
		"AddressPools": func(ctx context.Context, r snapshot.Reader) ([]client.Object, error) { return r.AddressPools(ctx) },
		"LabelledLeases": func(ctx context.Context, r snapshot.Reader) ([]client.Object, error) {
			return r.LabelledLeases(ctx, replicaLabel)
		},
		"AllServices": func(ctx context.Context, r snapshot.Reader) ([]client.Object, error) { return r.AllServices(ctx) },
		"Services": func(ctx context.Context, r snapshot.Reader) ([]client.Object, error) {
			return r.Services(ctx, []types.NamespacedName{in("shop", "web"), in("shop", "absent"), in("absent", "web")})
		},
		"Leases": func(ctx context.Context, r snapshot.Reader) (objects []client.Object, err error) {
			leases, err := r.Leases(ctx, replicaLabel)
			for _, lease := range leases {
				objects = append(objects, lease)
			}
			return objects, err
		},
	}
}

func TestWhatIsReadOfACluster(t *testing.T) {
	for call, want := range map[string]string{
		"Routing":        "/class /cluster-config shop/config shop/ingress",
		"Issuers":        "/issuer",
		"AddressPools":   "/pool",
		"LabelledLeases": "edge/one fairway/one fairway/two",
		"AllServices":    "blog/web blog/web-1 shop/other-1 shop/web shop/web-1",
		"Services":       "shop/web shop/web-1",
		"Leases":         "edge/one fairway/leader fairway/one fairway/two", // of namespaces that hold a replica's
	} {
		found, err := calls()[call](t.Context(), readerOf(t, nil))
		if err != nil || names(found) != want {
			t.Errorf("%s: %s, %v, want %s", call, names(found), err, want)
		}
	}
}

func TestWhatMayNotBeReadIsSaidWithThePermissionThatIsMissing(t *testing.T) {
	for _, test := range []struct {
		call, forbidden string
		want            snapshot.PermissionError
		says            string
	}{
		{"Routing", "list IngressClass", snapshot.PermissionError{Verb: "list", Resource: "ingressclasses.networking.k8s.io"}, "you need the permission to list ingressclasses.networking.k8s.io in all namespaces"},
		{"Routing", "list Ingress", snapshot.PermissionError{Verb: "list", Resource: "ingresses.networking.k8s.io"}, ""},
		{"Routing", "list ClusterGatewayConfig", snapshot.PermissionError{Verb: "list", Resource: "clustergatewayconfigs.fairway.dev"}, ""},
		{"Routing", "list GatewayConfig", snapshot.PermissionError{Verb: "list", Resource: "gatewayconfigs.fairway.dev"}, ""},
		{"Issuers", "list Issuer", snapshot.PermissionError{Verb: "list", Resource: "issuers.fairway.dev"}, ""},
		{"AddressPools", "list AddressPool", snapshot.PermissionError{Verb: "list", Resource: "addresspools.fairway.dev"}, ""},
		{"LabelledLeases", "list Lease", snapshot.PermissionError{Verb: "list", Resource: "leases.coordination.k8s.io"}, ""},
		{"AllServices", "list Service", snapshot.PermissionError{Verb: "list", Resource: "services"}, ""},
		{"AllServices", "list EndpointSlice", snapshot.PermissionError{Verb: "list", Resource: "endpointslices.discovery.k8s.io"}, ""},
		{"Services", "get Service", snapshot.PermissionError{Verb: "get", Resource: "services", Namespace: "shop"}, "you need the permission to get services in namespace shop"},
		{"Services", "list EndpointSlice", snapshot.PermissionError{Verb: "list", Resource: "endpointslices.discovery.k8s.io", Namespace: "shop"}, ""},
		{"Leases", "list Lease", snapshot.PermissionError{Verb: "list", Resource: "leases.coordination.k8s.io"}, ""},
		{"Leases", "list Lease fairway", snapshot.PermissionError{Verb: "list", Resource: "leases.coordination.k8s.io", Namespace: "fairway"}, ""},
	} {
		_, err := calls()[test.call](t.Context(), readerOf(t, map[string]error{test.forbidden: forbidden()}))
		missing := (*snapshot.PermissionError)(nil)
		if !errors.As(err, &missing) || !apierrors.IsForbidden(missing.Unwrap()) {
			t.Errorf("%s without %s: %v", test.call, test.forbidden, err)
			continue
		}
		got := *missing
		got.Cause = nil
		if got != test.want || test.says != "" && missing.Error() != test.says {
			t.Errorf("%s without %s: %+v, %s", test.call, test.forbidden, got, missing)
		}
	}
}

// Somebody who asks an administrator for permissions asks once.
func TestAllPermissionsThatAreMissingAreSaidAtOnce(t *testing.T) {
	reader := readerOf(t, map[string]error{"list IngressClass": forbidden(), "list GatewayConfig": forbidden(), "list Service": forbidden(), "list EndpointSlice": forbidden()})
	_, routing := reader.Routing(t.Context())
	_, services := reader.AllServices(t.Context())
	for err, want := range map[error]string{
		routing: "you need the permission to list ingressclasses.networking.k8s.io in all namespaces\n" +
			"you need the permission to list gatewayconfigs.fairway.dev in all namespaces",
		services: "you need the permission to list services in all namespaces\n" +
			"you need the permission to list endpointslices.discovery.k8s.io in all namespaces",
	} {
		if err == nil || err.Error() != want {
			t.Errorf("error %v, want %s", err, want)
		}
	}
}

func TestAKindThatIsNotInstalledHasNoObjects(t *testing.T) {
	fails := map[string]error{}
	for _, kind := range []string{"ClusterGatewayConfig", "GatewayConfig", "Issuer"} {
		fails["list "+kind] = &meta.NoKindMatchError{GroupKind: schema.GroupKind{Group: "fairway.dev", Kind: kind}}
	}
	reader := readerOf(t, fails)
	if found, err := reader.Routing(t.Context()); err != nil || names(found) != "/class shop/ingress" {
		t.Errorf("routing: %s, %v", names(found), err)
	}
	if found, err := reader.Issuers(t.Context()); err != nil || len(found) != 0 {
		t.Errorf("issuers: %s, %v", names(found), err)
	}
}

func TestAnErrorSaysWhatWasRead(t *testing.T) {
	away := errors.New("connection refused")
	for _, test := range []struct{ call, request, want string }{
		{"Routing", "list Ingress", "list ingresses.networking.k8s.io: connection refused"},
		{"Issuers", "list Issuer", "list issuers.fairway.dev: connection refused"},
		{"AllServices", "list Service", "list services: connection refused"},
		{"Services", "get Service", "get service shop/web: connection refused"},
		{"Services", "list EndpointSlice", "list endpointslices.discovery.k8s.io: connection refused"},
		{"Leases", "list Lease", "list leases.coordination.k8s.io: connection refused"},
		{"Leases", "list Lease fairway", "list leases.coordination.k8s.io: connection refused"},
	} {
		_, err := calls()[test.call](t.Context(), readerOf(t, map[string]error{test.request: away}))
		if !errors.Is(err, away) || err.Error() != test.want {
			t.Errorf("%s: %v, want %s", test.call, err, test.want)
		}
	}
}

// Few people may read Secrets. Nothing is said of one that they may not.
func TestSecretsAreFoundMissingOrUnknown(t *testing.T) {
	reader := readerOf(t, map[string]error{"get Secret blog": forbidden(), "get Secret away": errors.New("connection refused")})
	found, missing := reader.Secrets(t.Context(), []types.NamespacedName{
		in("shop", "tls"), in("shop", "absent"), in("blog", "tls"), in("blog", "absent"), in("away", "tls"),
	})
	if names(found) != "shop/tls" {
		t.Errorf("found %s", names(found))
	}
	if diff := cmp.Diff(map[types.NamespacedName]bool{in("shop", "absent"): true}, missing); diff != "" {
		t.Errorf("missing (-want +got):\n%s", diff)
	}
}

// An API server gives a long list in pages. What an object of one page has, an object
// of the next does not get.
func TestALongListIsReadPageByPage(t *testing.T) {
	issuer := func(name string, annotations map[string]string) v1alpha1.Issuer {
		return v1alpha1.Issuer{ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: annotations}}
	}
	pages := map[string]v1alpha1.IssuerList{
		"":       {ListMeta: metav1.ListMeta{Continue: "second"}, Items: []v1alpha1.Issuer{issuer("a", map[string]string{"of": "a"}), issuer("b", map[string]string{"of": "b"})}},
		"second": {ListMeta: metav1.ListMeta{Continue: "third"}, Items: []v1alpha1.Issuer{issuer("c", nil), issuer("d", map[string]string{"also": "d"})}},
		"third":  {Items: []v1alpha1.Issuer{issuer("e", nil)}},
	}
	var asked []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		query := r.URL.Query()
		asked = append(asked, query.Get("limit")+" "+query.Get("continue"))
		page := pages[query.Get("continue")]
		if len(asked) > len(pages) {
			page = v1alpha1.IssuerList{} // enough
		}
		page.SetGroupVersionKind(v1alpha1.SchemeGroupVersion().WithKind("IssuerList"))
		w.Header().Set("Content-Type", "application/json")
		if err := json.NewEncoder(w).Encode(page); err != nil {
			t.Error(err)
		}
	}))
	defer server.Close()
	scheme, err := index.Scheme()
	if err != nil {
		t.Fatal(err)
	}
	mapper := meta.NewDefaultRESTMapper(nil)
	mapper.Add(v1alpha1.SchemeGroupVersion().WithKind("Issuer"), meta.RESTScopeRoot)
	reader, err := client.New(&rest.Config{Host: server.URL}, client.Options{Scheme: scheme, Mapper: mapper})
	if err != nil {
		t.Fatal(err)
	}
	found, err := snapshot.Reader{Reader: reader}.Issuers(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, object := range found {
		got = append(got, fmt.Sprintf("%s %v", object.GetName(), object.GetAnnotations()))
	}
	if diff := cmp.Diff([]string{"a map[of:a]", "b map[of:b]", "c map[]", "d map[also:d]", "e map[]"}, got); diff != "" {
		t.Errorf("found (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"500 ", "500 second", "500 third"}, asked); diff != "" {
		t.Errorf("asked (-want +got):\n%s", diff)
	}
}
