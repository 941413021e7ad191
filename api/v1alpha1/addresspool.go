package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// AddressPool is a supply of addresses for Services of type LoadBalancer.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster,categories=fairway
// +kubebuilder:printcolumn:name="Addresses",type=string,JSONPath=`.spec.addresses`
// +kubebuilder:printcolumn:name="Assigned",type=integer,JSONPath=`.status.assigned`
// +kubebuilder:printcolumn:name="Available",type=string,JSONPath=`.status.available`
// +kubebuilder:printcolumn:name="Accepted",type=string,JSONPath=`.status.conditions[?(@.type=="Accepted")].status`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:metadata:labels="app.kubernetes.io/name=fairway"
type AddressPool struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec   AddressPoolSpec   `json:"spec"`
	Status AddressPoolStatus `json:"status,omitempty"`
}

// AddressPoolList is a list of AddressPools.
//
// +kubebuilder:object:root=true
type AddressPoolList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []AddressPool `json:"items"`
}

// AddressPoolSpec says which addresses there are, who gets them, and which nodes
// answer for them.
type AddressPoolSpec struct {
	// addresses are networks ("192.0.2.64/28", "2001:db8::100/120"), ranges
	// ("192.0.2.10-192.0.2.40") and single addresses, of both families. Addresses
	// of nodes, of their routers, of pods and of cluster IPs are left out.
	//
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=256
	// +kubebuilder:validation:items:MinLength=2
	// +kubebuilder:validation:items:MaxLength=91
	// +listType=set
	Addresses []string `json:"addresses"`

	// autoAssign gives addresses also to Services that do not name this pool or an
	// address of it. Default true.
	//
	// +optional
	AutoAssign *bool `json:"autoAssign,omitempty"`

	// avoidFirstAndLast leaves out the IPv4 addresses that end in .0 and .255, which some
	// devices do not reach. Services may still ask for one. Default false.
	//
	// +optional
	AvoidFirstAndLast bool `json:"avoidFirstAndLast,omitempty"`

	// serviceSelector says which Services may have addresses of the pool; by
	// default all.
	//
	// +optional
	ServiceSelector *metav1.LabelSelector `json:"serviceSelector,omitempty"`

	// namespaceSelector says in which namespaces they are; by default in all.
	//
	// +optional
	NamespaceSelector *metav1.LabelSelector `json:"namespaceSelector,omitempty"`

	// nodeSelector says which nodes may answer for the addresses; by default all
	// that have an interface in their network.
	//
	// +optional
	NodeSelector *metav1.LabelSelector `json:"nodeSelector,omitempty"`
}

// AddressPoolStatus is what became of the pool.
type AddressPoolStatus struct {
	// assigned is how many addresses Services have.
	//
	// +optional
	Assigned int32 `json:"assigned,omitempty"`

	// available is how many addresses are free. It is a text, because a network of
	// IPv6 has more than a number can hold: "more than 1000000" then.
	//
	// +optional
	Available string `json:"available,omitempty"`

	// conditions has Accepted: whether Services get addresses of the pool. Its
	// message says what of the pool is left out, and why.
	//
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}
