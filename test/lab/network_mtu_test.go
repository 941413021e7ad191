//go:build lab && network

package lab

import (
	"fmt"
	"net"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// singleFrames makes machines send single frames, as cards do. Between namespaces the kernel
// else passes on whole streams of a connection, which no link is too small for.
func (l *Lab) singleFrames(t *testing.T) {
	t.Helper()
	for _, name := range []string{controlName, routerName, clientName, "n1", "n2", "n3"} {
		l.Machine(name).Exec(t, "sh", "-ec", `for link in /sys/class/net/eth*; do ip link set dev ${link##*/} gso_max_segs 1; done`)
	}
}

var wirePattern = regexp.MustCompile(`: fw[a-z2-7]+@.* mtu (\d+) `)

// wireMTU is the MTU of the wires of a node, which all have the same.
func (l *Lab) wireMTU(t *testing.T, node string) string {
	t.Helper()
	said := l.Machine(node).Exec(t, "ip", "-o", "link", "show", "type", "veth")
	found := wirePattern.FindAllStringSubmatch(said, -1)
	if len(found) == 0 {
		t.Fatalf("%s has no wires:\n%s", node, said)
	}
	for _, one := range found {
		if one[1] != found[0][1] {
			t.Errorf("the wires of %s have several MTUs:\n%s", node, said)
		}
	}
	return found[0][1]
}

func testWires(t *testing.T, l *Lab, want map[string]string) {
	for node, mtu := range want {
		if got := l.wireMTU(t, node); got != mtu {
			t.Errorf("wires of %s have the MTU %s, want %s", node, got, mtu)
		}
	}
}

// testTransfers sends ten megabytes each way over a connection, and a datagram that fills a
// packet of the pod that sends it, between all pods of one, two and three.
func testTransfers(t *testing.T, l *Lab) {
	pods := map[string]string{"one": "n1", "two": "n2", "three": "n3"}
	addresses := map[string][]string{}
	for pod := range pods {
		addresses[pod] = l.podIPs(t, pod)
	}
	const headers = 40 + 8 // of IPv6 and UDP
	for from, node := range pods {
		mtu, err := strconv.Atoi(l.wireMTU(t, node))
		if err != nil {
			t.Fatal(err)
		}
		for to, ips := range addresses {
			if from == to {
				continue
			}
			for _, ip := range ips {
				began := time.Now()
				if _, err := l.TryKubectl(t.Context(), "", "exec", from, "--", "/echo", "transfer", "http://"+net.JoinHostPort(ip, "8080")); err != nil {
					t.Errorf("ten megabytes each way between %s and %s at %s: %v", from, to, ip, err)
				}
				t.Logf("%s, %s at %s: %.1f s", from, to, ip, time.Since(began).Seconds())
				if _, err := l.TryKubectl(t.Context(), "", "exec", from, "--", "/echo", "udp", net.JoinHostPort(ip, "8081"), strconv.Itoa(mtu-headers)); err != nil {
					t.Errorf("a packet of full size from %s to %s at %s: %v", from, to, ip, err)
				}
			}
		}
	}
}

// testPathMTU: the client is outside, and the router has less room on the way to it. The
// router's answers must get to the pod, whose address its node has replaced.
func testPathMTU(t *testing.T, l *Lab) {
	l.serveOn(t, clientName)
	router := l.Machine(routerName)
	narrow := []string{"mtu", "lock", "1300"} // not locked, it would not hold for what the router passes on
	client := map[string]string{"-4": "172.30.0.200", "-6": "fd00:30::c8"}
	for family, address := range client {
		router.Exec(t, append([]string{"ip", family, "route", "replace", address, "dev", "eth0"}, narrow...)...)
	}
	for family, address := range client {
		refused := l.refusals(t, family)
		if _, err := l.TryKubectl(t.Context(), "", "exec", "two", "--", "/echo", "transfer", "http://"+net.JoinHostPort(address, "9000")); err != nil {
			t.Errorf("ten megabytes each way with %s: %v", address, err)
		}
		if now := l.refusals(t, family); now == refused {
			t.Errorf("the router refused no packet on the way to %s: all were small enough", address)
		}
		router.Exec(t, "ip", family, "route", "delete", address+map[string]string{"-4": "/32", "-6": "/128"}[family], "dev", "eth0")
	}
}

// refusals is how many packets the router refused because they were too large, of a family.
func (l *Lab) refusals(t *testing.T, family string) int {
	t.Helper()
	counter := map[string]string{"-4": "IpFragFails", "-6": "Ip6InTooBigErrors"}[family]
	said := l.Machine(routerName).Exec(t, "sh", "-ec", `
		awk '/^Ip:/ && !names {names = $0; next} /^Ip:/ {n = split(names, name); split($0, value); for (i = 2; i <= n; i++) print "Ip" name[i], value[i]}' /proc/net/snmp
		cat /proc/net/snmp6`)
	for line := range strings.Lines(said) {
		var name string
		var value int
		if _, err := fmt.Sscan(line, &name, &value); err == nil && name == counter {
			return value
		}
	}
	t.Fatalf("the router does not count %s:\n%s", counter, said)
	return 0
}
