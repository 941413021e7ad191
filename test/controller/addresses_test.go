package controller_test

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairwaynet/fairway/api/v1alpha1"
	"github.com/fairwaynet/fairway/test/fairway"
)

// mayGiveAddresses are the rights that the chart gives a controller with loadBalancer.enabled.
const mayGiveAddresses = `
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: addresses}
rules:
- {apiGroups: [""], resources: [services], verbs: [get, list, watch]}
- {apiGroups: [""], resources: [services/status], verbs: [patch]}
- {apiGroups: [""], resources: [namespaces, nodes], verbs: [list, watch]}
- {apiGroups: [networking.k8s.io], resources: [servicecidrs], verbs: [list, watch]}
- {apiGroups: [fairway.dev], resources: [addresspools], verbs: [list, watch]}
- {apiGroups: [fairway.dev], resources: [addresspools/status], verbs: [patch]}
- {apiGroups: [coordination.k8s.io], resources: [leases], verbs: [get, list, watch, create, update, delete]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: addresses}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: addresses}
subjects:
- {kind: ServiceAccount, name: fairway-controller, namespace: fairway-system}
`

// What is wrong with addresses of load balancers counts like mistakes in Ingresses: in one
// metric, for as long as it is wrong.
func TestProblemsOfAddressesAreCounted(t *testing.T) {
	r := fairway.Start(t, fairway.Options{Flags: []string{"--assign-addresses", "--address-namespace", "fairway-system"}, Before: func(r *fairway.Installation) {
		r.InstallCustomResources(t)
		r.Cluster.Kubectl(t, mayGiveAddresses, "apply", "-f", "-")
	}})
	r.Create(t, &v1alpha1.AddressPool{ObjectMeta: metav1.ObjectMeta{Name: "lan"}, Spec: v1alpha1.AddressPoolSpec{Addresses: []string{"192.0.2.1", "nonsense"}}})
	for i := range 3 {
		r.Create(t, &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: fmt.Sprint("s", i)},
			Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer, Ports: []corev1.ServicePort{{Port: 80}}},
		})
	}
	fairway.Eventually(t, patience, r.Metric(`fairway_problems{kind="AddressPool",reason="AddressInvalid"} 1`))
	fairway.Eventually(t, patience, r.Metric(`fairway_problems{kind="Service",reason="NoAddressFree"} 2`))

	r.Cluster.Kubectl(t, "", "patch", "addresspool", "lan", "--type=merge", "-p", `{"spec":{"addresses":["192.0.2.1-192.0.2.3"]}}`)
	// No node is there that could answer.
	fairway.Eventually(t, patience, r.Metric(`fairway_problems{kind="Service",reason="AddressNotAnnounced"} 3`))
	r.Cluster.Kubectl(t, "", "delete", "services", "-n", "default", "s0", "s1", "s2")
	fairway.Eventually(t, patience, r.NoMetric("fairway_problems"))
	permitted(t, r)
}
