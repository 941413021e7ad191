package nodes

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairwaynet/fairway/test/netns"
)

// big is more than any window: packets of full size must pass.
var big = make([]byte, 10<<20)

// fetches gets all of big from a pod, in five seconds.
func fetches(t *testing.T, from *netns.Namespace, to string) error {
	t.Helper()
	began := time.Now()
	said, err := from.Ask(t, to)
	if err == nil && len(said) < len(big) {
		err = fmt.Errorf("only %d bytes came", len(said))
	}
	if took := time.Since(began); took > 5*time.Second { // a busy machine may be slow
		t.Logf("%s takes %s", to, took)
	}
	return err
}

// Nodes with jumbo frames and without, on one link and behind the overlay: big answers
// arrive in all directions, also after a link has become smaller under running pods.
func testMTU(t *testing.T, w *world) {
	machines := []*machine{
		w.machine(t, settings{number: 1, mtu: 9000}), w.machine(t, settings{number: 2, mtu: 9000}),
		w.machine(t, settings{number: 3}), w.machine(t, settings{number: 4, fabric: 1, mtu: 9000}),
	}
	pods := map[string]*pod{}
	for _, m := range machines {
		p := m.pod("mtu-"+m.name, "")
		for family := range 2 {
			p.Answer(t, p.at(family, 8080), big...)
		}
		pods[m.name] = p
	}
	all := func(when string) {
		t.Helper()
		for i, from := range machines {
			for j, to := range machines {
				if i != j {
					from, to, family := pods[from.name], pods[to.name], (i+j+i/2)%2
					eventually(t, fmt.Sprintf("%s: %s fetches from %s", when, from.id, to.at(family, 8080)), patience, func() error {
						return fetches(t, from.Namespace, to.at(family, 8080))
					})
				}
			}
		}
	}
	sizes := func(want map[string]string) {
		t.Helper()
		for _, m := range machines {
			m.eventually("its pods have the MTU "+want[m.name], func() error {
				said := m.shell("cat " + m.folder("run/node.json"))
				if !strings.Contains(said, `"mtu":`+want[m.name]+",") {
					return fmt.Errorf("it says %s", said)
				}
				return nil
			})
		}
	}
	sizes(map[string]string{"n1": "8950", "n2": "8950", "n3": "1450", "n4": "8950"})
	all("at first")
	machines[0].resize(1500)
	sizes(map[string]string{"n1": "1450", "n2": "8950", "n3": "1450", "n4": "8950"})
	machines[1].eventually("its route to n1 has become smaller", func() error {
		if routes := machines[1].shell("ip route show 10.244.1.0/24"); !strings.Contains(routes, "mtu 1500") {
			return fmt.Errorf("%s", routes)
		}
		return nil
	})
	all("after n1's link has become smaller")
}

// The address of every node's first interface is the same, and that of the Node is on the
// second; reverse path filters are strict, and become so later; an InternalIP that no
// interface has, or that two nodes have, is told by name.
func testUplinks(t *testing.T, w *world) {
	// Interfaces are listed in the order of their making: NAT comes after eth0 here, so it gets
	// the default route, which is what misled others.
	nat := `ip link add nat type dummy && ip addr add 10.0.2.15/24 dev nat && ip link set nat up
		ip route replace default via 10.0.2.2 dev nat metric 1
		for f in all default; do echo 1 > /proc/sys/net/ipv4/conf/$f/rp_filter; done`
	const near, distant = "\nip route add 198.51.100.0/24 via 192.0.2.254", "\nip route add 192.0.2.0/24 via 198.51.100.254"
	one := w.machine(t, settings{number: 1, prepare: nat + near})
	two := w.machine(t, settings{number: 2, prepare: nat + near})
	three := w.machine(t, settings{number: 3, fabric: 1, prepare: nat + distant})
	pods := []*pod{one.pod("a", hostPort).serve(t), two.pod("b", "").serve(t), three.pod("c", "").serve(t)}
	reach := func(when string) {
		t.Helper()
		for _, from := range pods {
			for _, to := range pods {
				for family := range 2 {
					eventually(t, fmt.Sprintf("%s: %s reaches %s", when, from.id, to.at(family, 8080)), patience, func() error {
						said, err := from.Ask(t, to.at(family, 8080))
						if err == nil && said != from.addresses[family].String() {
							err = fmt.Errorf("it is seen as %s", said)
						}
						return err
					})
				}
			}
		}
		asks(t, own, "192.0.2.1:8443", "192.0.2.254")
		asks(t, pods[1].Namespace, "192.0.2.1:8443", pods[1].addresses[0].String())
	}
	reach("with strict filters")
	for _, m := range []*machine{one, two, three} {
		m.shell("for f in /proc/sys/net/ipv4/conf/*/rp_filter; do echo 1 > $f; done")
	}
	reach("with every filter strict")

	t.Run("an address that no interface has", func(t *testing.T) {
		relabel(t, one, "192.0.2.99")
		one.told("NodeAddress", "no interface has the node's InternalIP 192.0.2.99")
		node, err := w.client.CoreV1().Nodes().Get(context.Background(), one.name, metav1.GetOptions{})
		if err != nil || !strings.Contains(node.Annotations["fairway.dev/network"], `"vtep"`) {
			t.Errorf("the other nodes no longer know its end of the overlay: %v, %v", node.Annotations, err)
		}
		relabel(t, one, "192.0.2.1", "2001:db8::1")
		reach("after the address is right again")
	})
	t.Run("an address that two nodes have", func(t *testing.T) {
		relabel(t, two, "192.0.2.1", "2001:db8::2")
		two.told("NodeAddress", "192.0.2.1")
		relabel(t, two, "192.0.2.2", "2001:db8::2")
		reach("after the addresses differ again")
	})
}

// relabel gives a Node other addresses.
func relabel(t *testing.T, m *machine, addresses ...string) {
	t.Helper()
	nodes := m.world.client.CoreV1().Nodes()
	eventually(t, "the Node is changed", patience, func() error {
		node, err := nodes.Get(context.Background(), m.name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		node.Status.Addresses = nil
		for _, address := range addresses {
			node.Status.Addresses = append(node.Status.Addresses, corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: address})
		}
		_, err = nodes.UpdateStatus(context.Background(), node, metav1.UpdateOptions{})
		return err
	})
}
