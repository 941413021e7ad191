package nodes

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	corev1 "k8s.io/api/core/v1"
)

// A node has two interfaces in one segment, both with an address of its network. A client that
// asks for a load-balancer address of the network hears one MAC: that of the interface of the
// node's route to the network, whichever of the two it is, also when that changes.
func testAddressesOnTwoInterfaces(t *testing.T, w *world) {
	x := newAddressed(t, w, 61, 1)
	m := x.machines[0]
	joinAs(t, own, "to2-"+m.name, m.Namespace, "eth1", []string{"192.0.2.62/24", "2001:db8::62/64"})
	end, err := netlink.LinkByName("to2-" + m.name)
	if err != nil {
		t.Fatal(err)
	}
	segment, err := netlink.LinkByName(fabric(0))
	if err != nil {
		t.Fatal(err)
	}
	if err := netlink.LinkSetMaster(end, segment); err != nil {
		t.Fatal(err)
	}
	mac := func(device string) string {
		return strings.TrimSpace(m.shell("ip -o link show " + device + " | sed 's/.*ether //; s/ .*//'"))
	}
	_, all := x.balanced(corev1.ServiceExternalTrafficPolicyCluster, m.pod("a", "").serve(t))
	for _, device := range []string{"eth0", "eth1", "eth0"} {
		other := map[string]string{"eth0": "eth1", "eth1": "eth0"}[device]
		for _, network := range []string{"192.0.2.0/24", "2001:db8::/64"} {
			m.shell(fmt.Sprintf("while ip route del %[1]s 2>/dev/null; do :; done; ip route add %[1]s dev %[2]s metric 50; ip route add %[1]s dev %[3]s metric 60", network, device, other))
			if said := m.shell("ip route get " + strings.NewReplacer(".0/24", ".200", "::/64", "::200").Replace(network)); !strings.Contains(said, "dev "+device) {
				t.Fatalf("the route to %s is %s", network, said)
			}
		}
		for _, a := range all {
			eventually(t, fmt.Sprintf("%s is announced on %s", a, device), patience, func() error {
				if macs := x.lan.since(a, time.Now().Add(-time.Second)); !slices.Equal(macs, []string{mac(device)}) {
					return fmt.Errorf("%v claim it", macs)
				}
				return nil
			})
			began := time.Now()
			for range 20 {
				if got, err := resolve(a); err != nil || got != mac(device) {
					t.Errorf("%s is at %s, %v, want %s", a, got, err, mac(device))
				}
			}
			if macs := x.lan.since(a, began); !slices.Equal(macs, []string{mac(device)}) {
				t.Errorf("%v claim %s, want %s of %s", macs, a, mac(device), device)
			}
			w.opens(t, a)
		}
	}
}

// resolve makes this namespace ask for an address on the link, and returns the MAC that it takes.
func resolve(a netip.Addr) (string, error) {
	show := func() string {
		said, _ := exec.Command("ip", "neigh", "show", a.String(), "dev", fabric(0)).Output()
		return string(said)
	}
	if said, err := exec.Command("ip", "neigh", "flush", "to", a.String(), "dev", fabric(0)).CombinedOutput(); err != nil {
		return "", fmt.Errorf("flush: %w: %s", err, said)
	}
	socket, err := net.Dial("udp", netip.AddrPortFrom(a, 9).String())
	if err != nil {
		return "", err
	}
	defer socket.Close()
	deadline := time.Now().Add(5 * time.Second)
	for _, _ = socket.Write([]byte("x")); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) { //nolint:forbidigo // it polls
		said := show()
		if _, after, ok := strings.Cut(said, "lladdr "); ok {
			return strings.Fields(after)[0], nil
		}
		if strings.Contains(said, "FAILED") {
			break
		}
	}
	return "", errors.New("nobody answers: " + show())
}
