package nodes

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// succession is how long it may take until another agent leads after one that was killed,
// and has given a range: the Lease lasts 15 s.
const succession = 90 * time.Second

// Without kube-controller-manager's ranges a leader among the agents gives them, of both
// families. The next one goes on when it is killed; a node that finds none free says so, and
// gets one when another node is gone.
func testALeaderGivesRanges(t *testing.T, w *world) {
	machine := func(number int) *machine {
		flags := []string{"--allocate-pod-cidrs", "--node-cidr-mask-size-ipv4=17", "--namespace=kube-system"} // 10.244.0.0/16 has two
		return w.machine(t, settings{number: number, ranges: []string{}, flags: flags, unstarted: true})
	}
	one := machine(1)
	one.start()
	first := one.given(patience)
	if len(first) != 2 || !strings.HasSuffix(first[0], "/17") || !strings.HasSuffix(first[1], "/64") {
		t.Fatalf("the first node has %q", first)
	}
	a := one.pod("a", "").serve(t)
	w.led(t, "n1-")

	one.process.Kill()
	two := machine(2)
	two.run()
	second := two.given(succession)
	if second[0] == first[0] || second[1] == first[1] {
		t.Fatalf("two nodes have %q and %q", first, second)
	}
	w.led(t, "n2-")
	one.run()
	two.eventually("pods can start", func() error { _, err := os.Stat(two.folder("net.d/05-fairway.conflist")); return err })
	b := two.pod("b", "").serve(t)
	two.eventually("its pods reach the other", func() error { _, err := b.Ask(t, a.at(0, 8080)); return err })
	asks(t, a.Namespace, b.at(1, 8080), a.addresses[1].String())

	three := machine(3)
	three.run()
	three.told("NoFreeRange", "10.244.0.0/16")
	three.told("NoPodRange", "--allocate-pod-cidrs")
	if _, err := os.Stat(three.folder("net.d")); err == nil {
		t.Error("a node without a range has a network configuration")
	}
	one.process.Kill()
	if err := w.client.CoreV1().Nodes().Delete(context.Background(), "n1", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	third := three.given(patience)
	if third[0] != first[0] || third[1] == first[1] || third[1] == second[1] { // IPv6 has others
		t.Errorf("the third node has %q; the first had %q, the second %q", third, first, second)
	}
	three.eventually("a pod starts", func() error { _, err := three.tryPod("c", ""); return err })
	one.register([]string{}) // the end of the test removes it
}

// given returns the ranges of the machine's Node, once it has some.
func (m *machine) given(within time.Duration) []string {
	m.t.Helper()
	var given []string
	eventually(m.t, m.name+" has ranges", within, func() error {
		node, err := m.world.client.CoreV1().Nodes().Get(context.Background(), m.name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if given = node.Spec.PodCIDRs; len(given) == 0 {
			return fmt.Errorf("none yet")
		}
		if given[0] != node.Spec.PodCIDR {
			m.t.Errorf("%s: podCIDR is %s, podCIDRs are %q", m.name, node.Spec.PodCIDR, given)
		}
		return nil
	})
	return given
}

// led checks who the leader is.
func (w *world) led(t *testing.T, by string) {
	t.Helper()
	for _, name := range []string{"fairway-node", "fairway-node-ranges"} {
		lease, err := w.client.CoordinationV1().Leases("kube-system").Get(context.Background(), name, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if holder := lease.Spec.HolderIdentity; holder == nil || !strings.HasPrefix(*holder, by) {
			t.Errorf("the holder of Lease %s is %v, want %s…", name, holder, by)
		}
	}
}
