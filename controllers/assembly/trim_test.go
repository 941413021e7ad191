package assembly

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

func TestTrim(t *testing.T) {
	noisy := metav1.ObjectMeta{
		Name: "a", UID: "1", Labels: map[string]string{"l": "m"},
		ManagedFields: []metav1.ManagedFieldsEntry{{Manager: "kubectl"}},
		Annotations:   map[string]string{corev1.LastAppliedConfigAnnotation: "{}", "kept": "yes"},
	}
	quiet := metav1.ObjectMeta{
		Name: "a", UID: "1", Labels: map[string]string{"l": "m"},
		Annotations: map[string]string{"kept": "yes"},
	}
	balanced := corev1.ServiceStatus{LoadBalancer: corev1.LoadBalancerStatus{Ingress: []corev1.LoadBalancerIngress{{IP: "192.0.2.1"}}}}
	bare := quiet
	bare.Annotations = nil
	kept := func(managers string) metav1.ObjectMeta {
		meta := *quiet.DeepCopy()
		meta.Annotations["managers"] = managers
		return meta
	}
	note := func(object client.Object, managed []metav1.ManagedFieldsEntry) {
		if object.GetManagedFields() != nil {
			t.Error("an object still has its managed fields")
		}
		for _, of := range managed {
			object.GetAnnotations()["managers"] += of.Manager
		}
	}
	tests := []struct {
		name     string
		reads    []Reads
		in, want any
	}{
		{
			name:  "a part decides what is kept of an object's managed fields",
			reads: []Reads{{}, {Owners: note}},
			in:    &networkingv1.Ingress{ObjectMeta: *noisy.DeepCopy()},
			want:  &networkingv1.Ingress{ObjectMeta: kept("kubectl")},
		},
		{
			name:  "a Service keeps its status where any part reads it",
			reads: []Reads{{ServiceStatus: true}, {}},
			in:    &corev1.Service{ObjectMeta: *noisy.DeepCopy(), Status: balanced},
			want:  &corev1.Service{ObjectMeta: quiet, Status: balanced},
		},
		{
			name:  "an endpoint keeps its node for one part and its Pod for another",
			reads: []Reads{{EndpointNodes: true}, {EndpointTargets: true}},
			in: &discoveryv1.EndpointSlice{ObjectMeta: *noisy.DeepCopy(), Endpoints: []discoveryv1.Endpoint{{
				NodeName: new("n"), TargetRef: &corev1.ObjectReference{Name: "pod"},
			}}},
			want: &discoveryv1.EndpointSlice{ObjectMeta: bare, Endpoints: []discoveryv1.Endpoint{{
				NodeName: new("n"), TargetRef: &corev1.ObjectReference{Name: "pod"},
			}}},
		},
		{
			name: "an Ingress keeps what was asked for, and its addresses",
			in: &networkingv1.Ingress{ObjectMeta: *noisy.DeepCopy(), Spec: networkingv1.IngressSpec{IngressClassName: new("c")},
				Status: networkingv1.IngressStatus{LoadBalancer: networkingv1.IngressLoadBalancerStatus{Ingress: []networkingv1.IngressLoadBalancerIngress{{IP: "1.2.3.4"}}}}},
			want: &networkingv1.Ingress{ObjectMeta: quiet, Spec: networkingv1.IngressSpec{IngressClassName: new("c")},
				Status: networkingv1.IngressStatus{LoadBalancer: networkingv1.IngressLoadBalancerStatus{Ingress: []networkingv1.IngressLoadBalancerIngress{{IP: "1.2.3.4"}}}}},
		},
		{
			name: "a Service likewise, without its status",
			in:   &corev1.Service{ObjectMeta: *noisy.DeepCopy(), Spec: corev1.ServiceSpec{ClusterIP: "1.2.3.4"}, Status: balanced},
			want: &corev1.Service{ObjectMeta: quiet, Spec: corev1.ServiceSpec{ClusterIP: "1.2.3.4"}},
		},
		{
			name: "an EndpointSlice keeps where and whether, not what",
			in: &discoveryv1.EndpointSlice{ObjectMeta: *noisy.DeepCopy(), Endpoints: []discoveryv1.Endpoint{{
				Addresses: []string{"1.2.3.4"}, Zone: new("z"), NodeName: new("n"), TargetRef: &corev1.ObjectReference{Name: "pod"},
				Conditions: discoveryv1.EndpointConditions{Ready: new(true)},
			}}},
			want: &discoveryv1.EndpointSlice{ObjectMeta: bare, Endpoints: []discoveryv1.Endpoint{{
				Addresses: []string{"1.2.3.4"}, Zone: new("z"), Conditions: discoveryv1.EndpointConditions{Ready: new(true)},
			}}},
		},
		{
			name: "what a stream missed passes as it is",
			in:   toolscache.DeletedFinalStateUnknown{Key: "a"},
			want: toolscache.DeletedFinalStateUnknown{Key: "a"},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			for range 2 { // a cache may trim what it has trimmed
				got, err := Trim(test.reads...)(test.in)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(test.want, got); diff != "" {
					t.Errorf("trimmed (-want +got):\n%s", diff)
				}
			}
		})
	}
}
