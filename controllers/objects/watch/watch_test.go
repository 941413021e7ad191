package watch_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"github.com/fairwaynet/fairway/controllers/objects/watch"
)

// list is a queue that remembers what was added.
type list struct {
	workqueue.TypedRateLimitingInterface[string]

	added []string
}

func (l *list) Add(key string) { l.added = append(l.added, key) }

// keys of a Service are its name and its external name.
func keys(_ context.Context, service *corev1.Service) ([]string, error) {
	return []string{service.Name, service.Spec.ExternalName}, nil
}

func service(external string) *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "name"},
		Spec:       corev1.ServiceSpec{ExternalName: external},
	}
}

func TestWhichKeysAnEventWakes(t *testing.T) {
	handler := watch.Handler(watch.Service, keys, nil)
	tests := []struct {
		name  string
		event any
		want  []string
	}{
		{name: "a new object: its keys", event: event.TypedCreateEvent[*corev1.Service]{Object: service("a")}, want: []string{"name", "a"}},
		{name: "an object that was there: none", event: event.TypedCreateEvent[*corev1.Service]{Object: service("a"), IsInInitialList: true}},
		{
			name:  "a changed object: its keys as it was and as it is, each once",
			event: event.TypedUpdateEvent[*corev1.Service]{ObjectOld: service("a"), ObjectNew: service("b")}, want: []string{"name", "a", "b"},
		},
		{name: "an unchanged object: none", event: event.TypedUpdateEvent[*corev1.Service]{ObjectOld: service("a"), ObjectNew: service("a")}},
		{name: "a deleted object: its keys", event: event.TypedDeleteEvent[*corev1.Service]{Object: service("a")}, want: []string{"name", "a"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			queue := &list{}
			switch e := test.event.(type) {
			case event.TypedCreateEvent[*corev1.Service]:
				handler.Create(t.Context(), e, queue)
			case event.TypedUpdateEvent[*corev1.Service]:
				handler.Update(t.Context(), e, queue)
			case event.TypedDeleteEvent[*corev1.Service]:
				handler.Delete(t.Context(), e, queue)
			}
			if diff := cmp.Diff(test.want, queue.added); diff != "" {
				t.Errorf("keys (-want +got):\n%s", diff)
			}
		})
	}
}

// The keys that a failing mapping has found are still woken.
func TestKeysFoundBesideAnErrorAreWoken(t *testing.T) {
	queue := &list{}
	handler := watch.Handler(watch.Service, func(context.Context, *corev1.Service) ([]string, error) {
		return []string{"a"}, errors.New("no index")
	}, nil)
	handler.Create(t.Context(), event.TypedCreateEvent[*corev1.Service]{Object: service("")}, queue)
	if diff := cmp.Diff([]string{"a"}, queue.added); diff != "" {
		t.Errorf("keys (-want +got):\n%s", diff)
	}
}

// Status and bookkeeping change often, and nothing is built from them.
func TestEssence(t *testing.T) {
	later := metav1.NewTime(time.Unix(2_000_000_000, 0))
	noise := metav1.ObjectMeta{ResourceVersion: "7", Generation: 7, ManagedFields: []metav1.ManagedFieldsEntry{{Manager: "m"}}}
	tests := []struct {
		name   string
		a, b   any
		differ bool
	}{
		{name: "an Ingress's status", a: watch.Ingress(&networkingv1.Ingress{}), b: watch.Ingress(&networkingv1.Ingress{
			ObjectMeta: noise, Status: networkingv1.IngressStatus{LoadBalancer: networkingv1.IngressLoadBalancerStatus{Ingress: []networkingv1.IngressLoadBalancerIngress{{IP: "1.2.3.4"}}}},
		})},
		{name: "an Ingress's spec", differ: true, a: watch.Ingress(&networkingv1.Ingress{}), b: watch.Ingress(&networkingv1.Ingress{Spec: networkingv1.IngressSpec{IngressClassName: new("c")}})},
		{name: "an Ingress's annotations", differ: true, a: watch.Ingress(&networkingv1.Ingress{}), b: watch.Ingress(&networkingv1.Ingress{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{"a": "b"}}})},
		{name: "an Ingress's age: another one of the same name", differ: true, a: watch.Ingress(&networkingv1.Ingress{}), b: watch.Ingress(&networkingv1.Ingress{ObjectMeta: metav1.ObjectMeta{CreationTimestamp: later}})},
		{name: "an IngressClass's controller", differ: true, a: watch.IngressClass(&networkingv1.IngressClass{}), b: watch.IngressClass(&networkingv1.IngressClass{Spec: networkingv1.IngressClassSpec{Controller: "c"}})},
		{name: "an IngressClass's bookkeeping", a: watch.IngressClass(&networkingv1.IngressClass{}), b: watch.IngressClass(&networkingv1.IngressClass{ObjectMeta: noise})},
		{name: "a Service's status", a: watch.Service(&corev1.Service{}), b: watch.Service(&corev1.Service{
			ObjectMeta: noise, Status: corev1.ServiceStatus{LoadBalancer: corev1.LoadBalancerStatus{Ingress: []corev1.LoadBalancerIngress{{IP: "1.2.3.4"}}}},
		})},
		{name: "a Service's ports", differ: true, a: watch.Service(&corev1.Service{}), b: watch.Service(&corev1.Service{Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}}})},
		{name: "an EndpointSlice's bookkeeping", a: watch.EndpointSlice(&discoveryv1.EndpointSlice{}), b: watch.EndpointSlice(&discoveryv1.EndpointSlice{ObjectMeta: noise})},
		{name: "an EndpointSlice's Service", differ: true, a: watch.EndpointSlice(&discoveryv1.EndpointSlice{}), b: watch.EndpointSlice(&discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{discoveryv1.LabelServiceName: "s"}}})},
		{name: "an EndpointSlice's endpoints", differ: true, a: watch.EndpointSlice(&discoveryv1.EndpointSlice{}), b: watch.EndpointSlice(&discoveryv1.EndpointSlice{Endpoints: []discoveryv1.Endpoint{{}}})},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if differ := !cmp.Equal(test.a, test.b); differ != test.differ {
				t.Errorf("differ: %t, want %t", differ, test.differ)
			}
		})
	}
}
