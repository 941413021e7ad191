package endpoints

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairwaynet/fairway/controllers/objects/apireader"
	"github.com/fairwaynet/fairway/controllers/objects/index"
	"github.com/fairwaynet/fairway/controllers/objects/report"
	"github.com/fairwaynet/fairway/test/indexed"
	"github.com/fairwaynet/fairway/xds/route"
)

// to is an Ingress of a class that routes to a port of a Service, by name or
// number.
func to(name, class, service string, port networkingv1.ServiceBackendPort) *networkingv1.Ingress {
	return &networkingv1.Ingress{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "shop", Name: name,
			Annotations: map[string]string{"kubernetes.io/ingress.class": class},
		},
		Spec: networkingv1.IngressSpec{DefaultBackend: &networkingv1.IngressBackend{
			Service: &networkingv1.IngressServiceBackend{Name: service, Port: port},
		}},
	}
}

func number(port int32) networkingv1.ServiceBackendPort {
	return networkingv1.ServiceBackendPort{Number: port}
}

func named(port string) networkingv1.ServiceBackendPort {
	return networkingv1.ServiceBackendPort{Name: port}
}

// service has the ports http and, if there is a second number, admin.
func service(name string, numbers ...int32) *corev1.Service {
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name}}
	for i, n := range numbers {
		s.Spec.Ports = append(s.Spec.Ports, corev1.ServicePort{Name: []string{"http", "admin"}[i], Port: n})
	}
	return s
}

func external(s *corev1.Service) *corev1.Service {
	s.Spec.Type, s.Spec.ExternalName = corev1.ServiceTypeExternalName, "elsewhere.test"
	return s
}

// slice is of the Service and has one endpoint for its port http.
func slice(service string, addresses ...string) *discoveryv1.EndpointSlice {
	s := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "shop", Name: service + "-1",
			Labels: map[string]string{discoveryv1.LabelServiceName: service},
		},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Name: new("http"), Port: new(int32(8000))}},
	}
	for _, address := range addresses {
		s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{Addresses: []string{address}})
	}
	return s
}

func portOf(service string, port int32) route.ServicePort {
	return route.ServicePort{Service: types.NamespacedName{Namespace: "shop", Name: service}, Port: port}
}

// shelf is a Publisher that remembers the addresses of what it has.
type shelf map[route.ServicePort][]string

func (s shelf) PublishBackend(port route.ServicePort, backend *route.Backend) {
	if backend == nil {
		delete(s, port)
		return
	}
	addresses := []string{}
	for _, endpoint := range backend.Endpoints {
		addresses = append(addresses, endpoint.Address.String())
	}
	s[port] = addresses
}

// ours is the class of our Ingresses.
const ours = route.WellKnownClass

func TestWhichPortsAnObjectConcerns(t *testing.T) {
	cart, blog := portOf("cart", 80), portOf("blog", 80)
	cartAdmin := portOf("cart", 9090)
	cluster := []client.Object{
		to("a", ours, "cart", named("http")),
		to("b", ours, "late", number(80)),
		to("c", "theirs", "blog", number(80)),
		service("cart", 80, 9090), service("blog", 80), service("unrelated", 80),
	}
	tests := []struct {
		name      string
		object    client.Object
		published []route.ServicePort
		want      []route.ServicePort
	}{
		{name: "an Ingress: all ports of the Services that it names", object: to("new", ours, "cart", number(80)), want: []route.ServicePort{cart, cartAdmin}},
		{name: "an Ingress, whatever its class", object: to("new", "theirs", "blog", number(80)), want: []route.ServicePort{blog}},
		{name: "an Ingress to a Service that is not there yet: the Service will come", object: to("new", ours, "late", number(80))},
		{
			name: "an Ingress to a Service that has changed its ports: the old ones too", object: to("new", ours, "cart", named("http")),
			published: []route.ServicePort{portOf("cart", 79)}, want: []route.ServicePort{portOf("cart", 79), cart, cartAdmin},
		},

		{name: "a Service: its ports as the event has them", object: service("cart", 81), want: []route.ServicePort{portOf("cart", 81)}},
		{
			name: "a Service that nobody names any more: the ports that are published", object: service("unrelated", 81),
			published: []route.ServicePort{portOf("unrelated", 80)}, want: []route.ServicePort{portOf("unrelated", 80), portOf("unrelated", 81)},
		},
		{name: "a Service that nobody names: none", object: service("unrelated", 80)},

		{name: "an EndpointSlice: the ports of its Service", object: slice("cart"), want: []route.ServicePort{cart, cartAdmin}},
		{name: "an EndpointSlice of a Service that nobody names: none", object: slice("unrelated")},
		{name: "an EndpointSlice of no Service: none", object: slice("")},
		{name: "an EndpointSlice before its Service: none", object: slice("late")},

		{
			name:   "an IngressClass: the ports to which its Ingresses lead",
			object: &networkingv1.IngressClass{ObjectMeta: metav1.ObjectMeta{Name: "theirs"}}, want: []route.ServicePort{blog},
		},
		{
			name:   "an IngressClass that nobody names: none",
			object: &networkingv1.IngressClass{ObjectMeta: metav1.ObjectMeta{Name: "unknown"}},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := New(index.Objects{Cluster: indexed.Cluster(t, cluster...)}, nil, shelf{}, report.New())
			for _, port := range test.published {
				r.Publish(port, &route.Backend{Port: port})
			}
			got, err := keysOfObject(t.Context(), r, test.object)
			if err != nil {
				t.Fatal(err)
			}
			slices.SortFunc(got, func(a, b route.ServicePort) int {
				return cmp.Or(cmp.Compare(a.Service.Name, b.Service.Name), cmp.Compare(a.Port, b.Port))
			})
			if diff := gocmp.Diff(test.want, got); diff != "" {
				t.Errorf("ports (-want +got):\n%s", diff)
			}
		})
	}
}

func keysOfObject(ctx context.Context, r *Reconciler, object client.Object) ([]route.ServicePort, error) {
	switch o := object.(type) {
	case *networkingv1.Ingress:
		return r.ingressKeys(ctx, o)
	case *networkingv1.IngressClass:
		return r.classKeys(ctx, o)
	case *corev1.Service:
		return r.serviceKeys(ctx, o)
	default:
		return r.sliceKeys(ctx, o.(*discoveryv1.EndpointSlice))
	}
}

// apiServer counts how often it is asked for slices.
type apiServer struct {
	client.Reader

	asked int
	err   error
}

func (a *apiServer) List(ctx context.Context, list client.ObjectList, opts ...client.ListOption) error {
	a.asked++
	if a.err != nil {
		return a.err
	}
	return a.Reader.List(ctx, list, opts...)
}

func TestWhatIsPublished(t *testing.T) {
	away := errors.New("away")
	before := []string{"10.9.9.9:8000"}
	tests := []struct {
		name   string
		cached []client.Object
		there  []client.Object // on the API server
		err    error
		asked  int
		want   []string // nil: nothing
	}{
		{
			name:   "the endpoints of a port that an Ingress of ours names",
			cached: []client.Object{to("a", ours, "cart", named("http")), service("cart", 80), slice("cart", "10.0.0.1", "10.0.0.2")},
			want:   []string{"10.0.0.1:8000", "10.0.0.2:8000"},
		},
		{
			name:   "by number too",
			cached: []client.Object{to("a", ours, "cart", number(80)), service("cart", 80), slice("cart", "10.0.0.1")},
			want:   []string{"10.0.0.1:8000"},
		},
		{
			name:   "not for another port of the Service",
			cached: []client.Object{to("a", ours, "cart", named("admin")), service("cart", 80, 9090), slice("cart", "10.0.0.1")},
		},
		{
			name:   "not for another controller's Ingress",
			cached: []client.Object{to("a", "theirs", "cart", number(80)), service("cart", 80), slice("cart", "10.0.0.1")},
		},
		{
			name:   "not without an Ingress",
			cached: []client.Object{service("cart", 80), slice("cart", "10.0.0.1")},
		},
		{
			name:   "not without the Service",
			cached: []client.Object{to("a", ours, "cart", number(80)), slice("cart", "10.0.0.1")},
		},
		{
			name:   "not for an ExternalName, which Envoy resolves",
			cached: []client.Object{to("a", ours, "cart", number(80)), external(service("cart", 80))},
		},
		{
			name:   "none is an answer too, and nobody is asked when there is a slice",
			cached: []client.Object{to("a", ours, "cart", number(80)), service("cart", 80), slice("cart")},
			there:  []client.Object{slice("cart", "10.0.0.1")},
			want:   []string{},
		},
		{
			name:   "without any slice the API server is asked: ours may not have arrived",
			cached: []client.Object{to("a", ours, "cart", number(80)), service("cart", 80)},
			there:  []client.Object{slice("cart", "10.0.0.1"), slice("other", "10.0.0.2")},
			asked:  1,
			want:   []string{"10.0.0.1:8000"},
		},
		{
			name:   "there may be none indeed",
			cached: []client.Object{to("a", ours, "cart", number(80)), service("cart", 80)},
			asked:  1,
			want:   []string{},
		},
		{
			name:   "while the API server does not answer, what is published stays",
			cached: []client.Object{to("a", ours, "cart", number(80)), service("cart", 80)},
			err:    away, asked: 1,
			want: before,
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			there := &apiServer{Reader: indexed.Cluster(t, test.there...), err: test.err}
			published := shelf{portOf("cart", 80): before}
			r := New(index.Objects{Cluster: indexed.Cluster(t, test.cached...)}, apireader.New(there, nil), published, report.New())
			if _, err := r.Reconcile(t.Context(), portOf("cart", 80)); !errors.Is(err, test.err) {
				t.Errorf("error %v, want %v", err, test.err)
			}
			if diff := gocmp.Diff(test.want, published[portOf("cart", 80)]); diff != "" {
				t.Errorf("published (-want +got):\n%s", diff)
			}
			if there.asked != test.asked {
				t.Errorf("the API server is asked %d times, want %d", there.asked, test.asked)
			}
		})
	}
}

// However many Services have no slice, and however often their ports are looked
// at, that takes a handful of questions until something changes.
func TestServicesWithoutSlicesAreFewQuestions(t *testing.T) {
	const many = 100
	var cached, there []client.Object
	for i := range many {
		name := fmt.Sprintf("s-%d", i)
		cached = append(cached, to(name, ours, name, number(80)), service(name, 80))
	}
	there = append(there, slice("s-7", "10.0.0.7"), slice("s-99", "10.0.0.9"))
	server, published := &apiServer{Reader: indexed.Cluster(t, there...)}, shelf{}
	now := func() time.Time { return time.Unix(1_800_000_000, 0) }
	r := New(index.Objects{Cluster: indexed.Cluster(t, cached...)}, apireader.New(server, now), published, report.New())
	look := func() {
		t.Helper()
		for i := range many {
			if result, err := r.Reconcile(t.Context(), portOf(fmt.Sprintf("s-%d", i), 80)); err != nil || !result.IsZero() {
				t.Fatalf("%v, %v", result, err)
			}
		}
	}
	look()
	look()
	if server.asked != 5 {
		t.Errorf("the API server was asked %d times, want 5", server.asked)
	}
	if got := len(published[portOf("s-7", 80)]) + len(published[portOf("s-99", 80)]); got != 2 || len(published) != many {
		t.Errorf("%d endpoints of the two Services that have any, %d ports; want 2 and %d", got, len(published), many)
	}
	if _, err := r.sliceKeys(t.Context(), slice("s-8", "10.0.0.8")); err != nil {
		t.Fatal(err)
	}
	look()
	if server.asked != 10 {
		t.Errorf("after an event it was asked %d times in all, want 10", server.asked)
	}
}

// meanwhile is a reader of a cluster in which something happens after the first
// look.
type meanwhile struct {
	client.Client

	happens func()
}

func (m *meanwhile) Get(ctx context.Context, name client.ObjectKey, into client.Object, opts ...client.GetOption) error {
	err := m.Client.Get(ctx, name, into, opts...)
	if happens := m.happens; happens != nil {
		m.happens = nil
		happens()
	}
	return err
}

// While a port is published for the first time, its Service renumbers it and
// its Ingress goes away. Then no object names the old number any more, and yet
// an event must wake its key.
func TestAPortThatIsRenumberedWhileItIsPublishedIsWithdrawn(t *testing.T) {
	ingress, old, renumbered := to("a", ours, "cart", named("http")), service("cart", 80), service("cart", 81)
	cluster := &meanwhile{Client: indexed.Cluster(t, ingress, old, slice("cart", "10.0.0.1"))}
	published := shelf{}
	r := New(index.Objects{Cluster: cluster}, nil, published, report.New())
	var woken []route.ServicePort
	cluster.happens = func() {
		if err := errors.Join(cluster.Delete(t.Context(), ingress), cluster.Update(t.Context(), renumbered)); err != nil {
			t.Error(err)
		}
		var err error
		if woken, err = r.ingressKeys(t.Context(), ingress); err != nil {
			t.Error(err)
		}
	}
	if _, err := r.Reconcile(t.Context(), portOf("cart", 80)); err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(woken, portOf("cart", 80)) {
		t.Errorf("the event wakes %v, and not the port that is being published", woken)
	}
	for _, port := range woken {
		if _, err := r.Reconcile(t.Context(), port); err != nil {
			t.Fatal(err)
		}
	}
	if len(published) != 0 {
		t.Errorf("published %v, want nothing", published)
	}
}
