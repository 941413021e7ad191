package watch

import (
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairwaynet/fairway/api/v1alpha1"
)

// Ingress is the essence of an Ingress: all but its status, which is ours.
func Ingress(object *networkingv1.Ingress) any {
	return networkingv1.Ingress{ObjectMeta: Meta(object.ObjectMeta), Spec: object.Spec}
}

// IngressClass is the essence of an IngressClass.
func IngressClass(object *networkingv1.IngressClass) any {
	return networkingv1.IngressClass{ObjectMeta: Meta(object.ObjectMeta), Spec: object.Spec}
}

// ClusterGatewayConfig is the essence of a ClusterGatewayConfig: all but its
// status, which is ours.
func ClusterGatewayConfig(object *v1alpha1.ClusterGatewayConfig) any {
	return v1alpha1.ClusterGatewayConfig{ObjectMeta: Meta(object.ObjectMeta), Spec: object.Spec}
}

// GatewayConfig is the essence of a GatewayConfig.
func GatewayConfig(object *v1alpha1.GatewayConfig) any {
	return v1alpha1.GatewayConfig{ObjectMeta: Meta(object.ObjectMeta), Spec: object.Spec}
}

// Issuer is the essence of an Issuer: all but its status, which is ours.
func Issuer(object *v1alpha1.Issuer) any {
	return v1alpha1.Issuer{ObjectMeta: Meta(object.ObjectMeta), Spec: object.Spec}
}

// AddressPool is the essence of an AddressPool: all but its status, which is ours.
func AddressPool(object *v1alpha1.AddressPool) any {
	return v1alpha1.AddressPool{ObjectMeta: Meta(object.ObjectMeta), Spec: object.Spec}
}

// Service is the essence of a Service: all but its status.
func Service(object *corev1.Service) any {
	return corev1.Service{ObjectMeta: Meta(object.ObjectMeta), Spec: object.Spec}
}

// EndpointSlice is the essence of an EndpointSlice.
func EndpointSlice(object *discoveryv1.EndpointSlice) any {
	return discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Labels: object.Labels},
		AddressType: object.AddressType,
		Endpoints:   object.Endpoints,
		Ports:       object.Ports,
	}
}

// Secret is the essence of a Secret: its version, because the cache may lack its
// bytes.
func Secret(object *corev1.Secret) any {
	return [2]string{string(object.UID), object.ResourceVersion}
}

// Meta is the object's identity and what its user wrote on it. An object that was
// deleted and made again between two lists is another object: its age decides
// conflicts.
func Meta(object metav1.ObjectMeta) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		UID:               object.UID,
		CreationTimestamp: object.CreationTimestamp,
		Labels:            object.Labels,
		Annotations:       object.Annotations,
	}
}
