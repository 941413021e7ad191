package overview_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairwaynet/fairway/api/v1alpha1"
	"github.com/fairwaynet/fairway/proxy/loadbalancer"
)

// addresses are a pool and addresses of it, on two nodes that live. One of a hundred is nobody's.
func addresses(t *testing.T, count int) []client.Object {
	t.Helper()
	pool := &v1alpha1.AddressPool{ObjectMeta: metav1.ObjectMeta{Name: "lan"}, Spec: v1alpha1.AddressPoolSpec{Addresses: []string{"192.0.2.0/24"}}}
	pool.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionAccepted, Status: metav1.ConditionTrue, Reason: "Accepted"}}
	all := []client.Object{pool}
	for _, node := range []string{"n1", "n2"} {
		seconds := int32(3)
		all = append(all, &coordinationv1.Lease{
			ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: loadbalancer.AnnouncerName(node), Labels: map[string]string{loadbalancer.LeaseLabel: loadbalancer.AnnouncerKind}},
			Spec:       coordinationv1.LeaseSpec{HolderIdentity: &node, LeaseDurationSeconds: &seconds, RenewTime: &metav1.MicroTime{Time: now.Add(-time.Second)}},
		})
	}
	for i := range count {
		record := loadbalancer.Record{
			Address: netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}), Services: []types.NamespacedName{{Namespace: fmt.Sprint("team", i%2), Name: fmt.Sprint("s", i)}},
			Pool: "lan", Holder: []string{"n1", "n1", "n2"}[i%3], Since: now.Add(-time.Hour), Proved: true,
		}
		if i%100 == 70 {
			record.Holder = ""
		}
		lease := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system"}}
		if err := record.Write(lease); err != nil {
			t.Fatal(err)
		}
		all = append(all, lease)
	}
	return all
}

// Of many addresses only those with something wrong have a line each.
func TestManyAddresses(t *testing.T) {
	seen := overviewOf(t, "nothing", addresses(t, 200)...)
	text := seen.Text()
	_, text, _ = strings.Cut(text, "\nADDRESS")
	want := `      POOL  NODE  SINCE  SERVICES
192.0.2.70   lan   -     -      team0/s70
192.0.2.170  lan   -     -      team0/s170
address 192.0.2.70: no node answers for it
address 192.0.2.170: no node answers for it
198 addresses are answered for: by n1 (133), n2 (65)
`
	if text != want {
		t.Errorf("it says\n%s\nwant\n%s", text, want)
	}
	if seen.Only("team1"); len(seen.Addresses) != 100 {
		t.Errorf("%d addresses are of the namespace", len(seen.Addresses))
	}
}

// A user who may not read something of the addresses or of the DNS hears which right that takes,
// and sees the rest.
func TestAddressesThatNobodyMayRead(t *testing.T) {
	labels := map[string]string{"app.kubernetes.io/name": "fairway", "app.kubernetes.io/component": "dns"}
	objects := append(addresses(t, 3),
		&corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: "kube-dns", Labels: labels}, Spec: corev1.ServiceSpec{ClusterIPs: []string{"10.96.0.10"}}},
		&corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: "fairway-dns-a", Labels: labels},
			Status:     corev1.PodStatus{Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}},
		},
		&corev1.Event{
			ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: "e"}, InvolvedObject: corev1.ObjectReference{Name: "fairway-dns-a"},
			Type: corev1.EventTypeWarning, Reason: "UpstreamLoop", Source: corev1.EventSource{Component: "fairway-dns"},
		},
	)
	const pool, address, dns, said = "\nlan   ", "\n192.0.2.1  ", "kube-system/kube-dns  10.96.0.10  1 of 1 ready\n", "said at"
	all := []string{pool, address, dns, said}
	for _, test := range []struct {
		forbidden, says string
		hides           []string
	}{
		{"nothing", "", nil},
		{"AddressPool", "unknown: the pools of load-balancer addresses: you need the permission to list addresspools.fairway.dev in all namespaces\n", []string{pool}},
		{"Lease", "unknown: which nodes answer for load-balancer addresses: you need the permission to list leases.coordination.k8s.io in all namespaces\n", []string{address}},
		{"Pod", "unknown: which servers the cluster's DNS has: you need the permission to list pods in namespace kube-system\n", []string{dns}},
		{"Event", "unknown: what the servers of the cluster's DNS say: you need the permission to list events in namespace kube-system\n", []string{said}},
	} {
		text := overviewOf(t, test.forbidden, objects...).Text()
		if !strings.Contains(text, test.says) {
			t.Errorf("without %s it does not say %q:\n%s", test.forbidden, test.says, text)
		}
		for _, part := range all {
			if strings.Contains(text, part) == slices.Contains(test.hides, part) {
				t.Errorf("without %s: %q is there: %v\n%s", test.forbidden, part, strings.Contains(text, part), text)
			}
		}
	}
}
