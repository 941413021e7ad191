package controller_test

import (
	"fmt"
	"strings"
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

// nameServer is what status finds of a cluster's DNS.
const nameServer = `
apiVersion: v1
kind: Service
metadata: {namespace: kube-system, name: kube-dns, labels: {app.kubernetes.io/name: fairway, app.kubernetes.io/component: dns}}
spec: {ports: [{port: 53, protocol: UDP}]}
---
apiVersion: v1
kind: ServiceAccount
metadata: {namespace: kube-system, name: dns}
---
apiVersion: v1
kind: Pod
metadata: {namespace: kube-system, name: fairway-dns-a, labels: {app.kubernetes.io/name: fairway, app.kubernetes.io/component: dns}}
spec: {serviceAccountName: dns, automountServiceAccountToken: false, containers: [{name: dns, image: example.test/dns}]}
---
apiVersion: v1
kind: Event
metadata: {namespace: kube-system, name: one}
involvedObject: {kind: Pod, namespace: kube-system, name: fairway-dns-a}
type: Warning
reason: UpstreamLoop
message: a loop
source: {component: fairway-dns}
lastTimestamp: "2026-11-23T11:50:00Z"
---
apiVersion: v1
kind: Event
metadata: {namespace: kube-system, name: two}
involvedObject: {kind: Pod, namespace: kube-system, name: fairway-dns-a}
type: Warning
reason: Unhealthy
message: another's
source: {component: kubelet}
lastTimestamp: "2026-11-23T11:50:00Z"
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
	r.Cluster.Kubectl(t, nameServer, "apply", "-f", "-")
	said := r.Fairway(t, r.Cluster.Config, "status")
	for _, line := range []string{
		"\nlan   3     0     192.0.2.1-192.0.2.3\n", "\n192.0.2.1  lan   -     -      default/s", "\nservice default/s1: AddressNotAnnounced: no node answers for 192.0.2.",
		"\ndns kube-system/kube-dns: no server is ready: pods find no names\n", "\ndns kube-system/kube-dns: server fairway-dns-a said at 2026-11-23 11:50: UpstreamLoop: a loop\n",
	} {
		if !strings.Contains(said.Out, line) || said.Code != 1 {
			t.Errorf("status ends with %d and does not say %q:\n%s%s", said.Code, line, said.Out, said.Err)
		}
	}
	r.Cluster.Kubectl(t, "", "delete", "services", "-n", "default", "s0", "s1", "s2")
	fairway.Eventually(t, patience, r.NoMetric("fairway_problems"))
	permitted(t, r)
}
