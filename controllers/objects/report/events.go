package report

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/record"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairwaynet/fairway/api/problem"
	"github.com/fairwaynet/fairway/api/v1alpha1"
)

// maxMessage is the most bytes that the message of an Event of events.k8s.io may
// have.
const maxMessage = 1024

// Events is a Subscriber that writes a Warning on the object of each Problem that
// appears. It leaves out Problems of things that are no objects of the cluster.
//
// The recorder is client-go's for core/v1, not the one for events.k8s.io: that one
// takes two Problems with the same reason for one and hides the second message.
// The broadcaster bounds a flood. An object gets 25 events and then one every five
// minutes; more than ten of a reason in ten minutes are combined; what a queue of
// 1,000 cannot hold is dropped. Nothing is lost by that: the log and
// Reporter.Problems have all of them.
type Events struct {
	Recorder record.EventRecorder
	Objects  client.Reader // a cache: kubectl describe finds events by UID
}

// Appeared implements Subscriber.
func (e Events) Appeared(ctx context.Context, p problem.Problem) {
	ref := e.reference(ctx, p.Object)
	if ref == nil {
		return
	}
	message := p.Message
	if p.Field != "" {
		message = p.Field + ": " + message
	}
	e.Recorder.Event(ref, corev1.EventTypeWarning, string(p.Reason), problem.Shorten(message, maxMessage))
}

// Resolved implements Subscriber. Events age by themselves.
func (e Events) Resolved(context.Context, problem.Problem) {}

// reference returns nil for anything that is not, or no longer, an object of the
// cluster.
func (e Events) reference(ctx context.Context, o problem.Object) *corev1.ObjectReference {
	object, kind := empty(o.Kind)
	if object == nil || e.Objects.Get(ctx, o.Name, object, client.UnsafeDisableDeepCopy) != nil {
		return nil
	}
	return &corev1.ObjectReference{
		APIVersion: kind.GroupVersion().String(),
		Kind:       kind.Kind,
		Namespace:  o.Name.Namespace,
		Name:       o.Name.Name,
		UID:        object.GetUID(),
	}
}

func empty(kind string) (client.Object, schema.GroupVersionKind) {
	switch kind {
	case "Ingress":
		return &networkingv1.Ingress{}, networkingv1.SchemeGroupVersion.WithKind(kind)
	case "NetworkPolicy":
		return &networkingv1.NetworkPolicy{}, networkingv1.SchemeGroupVersion.WithKind(kind)
	case "ClusterNetworkPolicy":
		gvk := schema.GroupVersionKind{Group: "policy.networking.k8s.io", Version: "v1beta1", Kind: kind}
		object := &unstructured.Unstructured{}
		object.SetGroupVersionKind(gvk)
		return object, gvk
	case "IngressClass":
		return &networkingv1.IngressClass{}, networkingv1.SchemeGroupVersion.WithKind(kind)
	case "ClusterGatewayConfig":
		return &v1alpha1.ClusterGatewayConfig{}, v1alpha1.SchemeGroupVersion().WithKind(kind)
	case "GatewayConfig":
		return &v1alpha1.GatewayConfig{}, v1alpha1.SchemeGroupVersion().WithKind(kind)
	case "AddressPool":
		return &v1alpha1.AddressPool{}, v1alpha1.SchemeGroupVersion().WithKind(kind)
	case "Issuer":
		return &v1alpha1.Issuer{}, v1alpha1.SchemeGroupVersion().WithKind(kind)
	case "Service":
		return &corev1.Service{}, corev1.SchemeGroupVersion.WithKind(kind)
	case "ConfigMap":
		return &corev1.ConfigMap{}, corev1.SchemeGroupVersion.WithKind(kind)
	case "Node":
		return &corev1.Node{}, corev1.SchemeGroupVersion.WithKind(kind)
	case "EndpointSlice":
		return &discoveryv1.EndpointSlice{}, discoveryv1.SchemeGroupVersion.WithKind(kind)
	default:
		return nil, schema.GroupVersionKind{}
	}
}
