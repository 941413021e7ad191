//go:build lab

package lab

import (
	"net"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestFabrics is a lab with everything different that can be chosen.
func TestFabrics(t *testing.T) {
	before := look(t)
	l := Start(t, Options{
		Nodes: 5, Fabrics: 2, Families: DualStack, MTU: 1400, ReferenceNetwork: true,
		KubeletConfiguration: map[string]any{"maxPods": 7},
	})
	remember(t, l)
	l.Kubectl(t, echoPod("one", "n1")+echoPod("two", "n2")+echoPod("three", "n3"), "apply", "-f", "-")
	l.waitFor(t, "--for=condition=Ready", "pod", "one", "two", "three")

	t.Run("pods have both families and reach each other across the router", func(t *testing.T) {
		for _, pod := range []string{"two", "three"} {
			ips := strings.Fields(l.Kubectl(t, "", "get", "pod", pod, "-o", "jsonpath={.status.podIPs[*].ip}"))
			if len(ips) != 2 {
				t.Fatalf("addresses of %s: %v", pod, ips)
			}
			for _, ip := range ips {
				if server, _ := l.ask(t, "one", "http://"+net.JoinHostPort(ip, "8080")); server != pod {
					t.Errorf("at %s answered %s, want %s", ip, server, pod)
				}
			}
		}
	})
	t.Run("fabrics share no link", func(t *testing.T) {
		if way := l.Machine("n1").Exec(t, "ip", "route", "get", "172.30.1.12"); !strings.Contains(way, "via 172.30.0.1 ") {
			t.Errorf("from n1 to n2: %s", way)
		}
		if way := l.Machine("n1").Exec(t, "ip", "route", "get", "172.30.0.13"); strings.Contains(way, "via") {
			t.Errorf("from n1 to n3: %s", way)
		}
		l.Machine("router").Kill(t)
		if l.answers("one", "two") {
			t.Error("two answers although the router is off")
		}
		if !l.answers("one", "three") {
			t.Error("three does not answer, which is on the same fabric")
		}
		l.Machine("router").Boot(t)
		l.eventually(t, "two answers again", func() bool { return l.answers("one", "two") })
	})
	t.Run("links have the MTU", func(t *testing.T) {
		for _, where := range []string{"n1", "client", "router"} {
			if link := l.Machine(where).Exec(t, "ip", "link", "show", "eth0"); !strings.Contains(link, "mtu 1400 ") {
				t.Errorf("on %s: %s", where, link)
			}
		}
	})
	t.Run("kubelets have the settings", func(t *testing.T) {
		if pods := l.Kubectl(t, "", "get", "nodes", "-o", "jsonpath={.items[*].status.allocatable.pods}"); pods != "7 7 7 7 7" {
			t.Errorf("pods of nodes: %s", pods)
		}
	})
	if err := l.Down(); err != nil {
		t.Fatal(err)
	}
	before.compare(t)
}

// TestIPv6 is a lab that knows nothing else.
func TestIPv6(t *testing.T) {
	l := Start(t, Options{Families: IPv6, ReferenceNetwork: true, KubeProxy: true, CoreDNS: true})
	l.Kubectl(t, echoPod("one", "n1")+echoPod("two", "n2")+echoService, "apply", "-f", "-")
	l.waitFor(t, "--for=condition=Ready", "pod", "one", "two")
	if ip := l.podIP(t, "two"); !strings.Contains(ip, "fd00:10:200:") {
		t.Errorf("address %s", ip)
	}
	testPods(t, l)
	testService(t, l)
}

// kubeletChains are the chains that a kubelet makes on a machine that has iptables, a moment
// after its start: they are there, or not yet.
var kubeletChains = []string{"KUBE-IPTABLES-HINT", "KUBE-KUBELET-CANARY", "KUBE-FIREWALL", "INPUT", "OUTPUT"}

var chainPattern = regexp.MustCompile(`chain (\S+) \{`)

// testBare looks at a lab as our own network will find it: nodes that wait for one.
func testBare(t *testing.T, l *Lab) {
	if why := l.Kubectl(t, "", "get", "node", "n1", "-o", `jsonpath={.status.conditions[?(@.type=="Ready")].message}`); !strings.Contains(why, "cni plugin not initialized") {
		t.Errorf("n1 is not Ready because of %q", why)
	}
	if pods := l.Kubectl(t, "", "get", "node", "n1", "-o", "jsonpath={.spec.podCIDR}"); pods == "" {
		t.Error("n1 has no range of pods")
	}
	for _, chain := range chainPattern.FindAllStringSubmatch(l.Machine("n1").Exec(t, "nft", "list", "chains"), -1) {
		if !slices.Contains(kubeletChains, chain[1]) {
			t.Errorf("n1 has the chain %s", chain[1])
		}
	}
}
