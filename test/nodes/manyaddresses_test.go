package nodes

import (
	"context"
	"fmt"
	"maps"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/fairwaynet/fairway/proxy/loadbalancer"
	"github.com/fairwaynet/fairway/test/soak"
)

// holders are the nodes that answer for addresses, by their records.
func (x *addressed) holders() map[string]string {
	x.Helper()
	leases, err := x.world.client.CoordinationV1().Leases("kube-system").List(context.Background(), metav1.ListOptions{LabelSelector: loadbalancer.LeaseLabel})
	if err != nil {
		x.Fatal(err)
	}
	all := map[string]string{}
	for i := range leases.Items {
		if record, ok := loadbalancer.ReadRecord(&leases.Items[i]); ok && record.Holder != "" {
			all[record.Address.String()] = record.Holder
		}
	}
	return all
}

// Many addresses stay where they are while each answer of the API server takes half a second.
func testManyAddresses(t *testing.T, w *world) {
	x := newAddressed(t, w, 51, 3)
	many, slow := soak.Pick(60, 500), soak.Pick(15*time.Second, time.Minute)
	w.Kubectl(t, `{"apiVersion":"fairway.dev/v1alpha1","kind":"AddressPool","metadata":{"name":"many"},"spec":{"addresses":["2001:db8::1000/118"]}}`, "apply", "-f", "-")
	t.Cleanup(func() { w.Kubectl(t, "", "delete", "addresspool", "many") })
	config := rest.CopyConfig(w.Config)
	config.QPS, config.Burst = 200, 200
	quick, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	services := quick.CoreV1().Services(metav1.NamespaceDefault)
	six, without := corev1.IPFamilyPolicySingleStack, false
	var making sync.WaitGroup
	for i := range 8 {
		making.Go(func() {
			for n := i; n < many; n += 8 {
				s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("many-", n), Labels: map[string]string{"many": "yes"}, Annotations: map[string]string{"fairway.dev/address-pool": "many"}}}
				s.Spec = corev1.ServiceSpec{
					Type: corev1.ServiceTypeLoadBalancer, IPFamilyPolicy: &six, IPFamilies: []corev1.IPFamily{corev1.IPv6Protocol},
					AllocateLoadBalancerNodePorts: &without, Ports: []corev1.ServicePort{{Port: 80}},
				}
				if _, err := services.Create(context.Background(), s, metav1.CreateOptions{}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	making.Wait()
	t.Cleanup(func() {
		all, err := services.List(context.Background(), metav1.ListOptions{LabelSelector: "many=yes"})
		if err != nil {
			t.Fatal(err)
		}
		for i := range all.Items {
			_ = services.Delete(context.Background(), all.Items[i].Name, metav1.DeleteOptions{})
		}
	})
	began := time.Now()
	var before map[string]string
	eventually(t, "each address has a holder", 4*patience, func() error {
		if before = x.holders(); len(before) < many {
			return fmt.Errorf("%d of %d have", len(before), many)
		}
		return nil
	})
	t.Logf("%d addresses had holders %.1f s after the last Service was made", many, time.Since(began).Seconds())
	for _, m := range x.machines {
		m.gate.delay.Store(int64(500 * time.Millisecond))
	}
	<-time.After(slow)
	for _, m := range x.machines {
		m.gate.delay.Store(0)
	}
	<-time.After(4 * time.Second) // who moves one does so now
	if after := x.holders(); !maps.Equal(before, after) {
		moved := 0
		for a, holder := range before {
			if after[a] != holder {
				moved++
			}
		}
		t.Errorf("%d of %d addresses moved", moved, many)
	}
}
