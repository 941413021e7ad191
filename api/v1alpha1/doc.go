// Package v1alpha1 holds the custom resources of fairway.dev/v1alpha1, for
// settings that have no place in Kubernetes' own API.
//
// The package only has types; their users define the meaning (xds/route for
// gateways). "make generate" generates deep copies and the manifests in
// config/crd from it.
//
// +kubebuilder:object:generate=true
// +groupName=fairway.dev
package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

//go:generate go tool -modfile=../../test/tools/generate/go.mod controller-gen object paths=. crd output:crd:dir=../../config/crd

// GroupName is the API group.
const GroupName = "fairway.dev"

// SchemeGroupVersion is the group and its version.
func SchemeGroupVersion() schema.GroupVersion {
	return schema.GroupVersion{Group: GroupName, Version: "v1alpha1"}
}

// AddToScheme makes the types known to a scheme.
func AddToScheme(scheme *runtime.Scheme) error {
	version := SchemeGroupVersion()
	scheme.AddKnownTypes(version,
		&GatewayConfig{}, &GatewayConfigList{},
		&ClusterGatewayConfig{}, &ClusterGatewayConfigList{},
		&Issuer{}, &IssuerList{},
		&AddressPool{}, &AddressPoolList{},
	)
	metav1.AddToGroupVersion(scheme, version)
	return nil
}
