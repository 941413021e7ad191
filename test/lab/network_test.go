//go:build lab

package lab

import (
	"fmt"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"
)

// networkPods are pods of the echo server: two on n1, one with a host port, and one on each
// other node.
func networkPods() string {
	ports := strings.Replace(echoPod("ports", "n1"), "{containerPort: 8080}",
		"{containerPort: 8080, hostPort: 8088}, {containerPort: 8081, hostPort: 8089, protocol: UDP}", 1)
	return echoPod("one", "n1") + echoPod("beside", "n1") + ports + echoPod("two", "n2") + echoPod("three", "n3")
}

// TestNetwork is a lab whose pods have Fairway's own network, over links and over the
// overlay, in both families, and Fairway's Services. No machine but nodes knows a way to pods.
func TestNetwork(t *testing.T) {
	before := look(t)
	began := time.Now()
	l := Start(t, Options{Nodes: 3, Fabrics: 2, Families: DualStack, Fairway: Network, CoreDNS: true})
	remember(t, l)
	l.Kubectl(t, networkPods()+echoService, "apply", "-f", "-")
	l.waitFor(t, "--for=condition=Ready", "pod", "--all")
	t.Logf("from nothing to pods Ready: %.1f s", time.Since(began).Seconds())

	t.Run("pods reach pods", func(t *testing.T) { testNetworkPods(t, l) })
	t.Run("pods, nodes and what is outside", func(t *testing.T) { testNetworkNodes(t, l) })
	t.Run("host ports", func(t *testing.T) { testHostPorts(t, l) })
	t.Run("a Service has an address and a name", func(t *testing.T) { testService(t, l) })
	t.Run("the API server reaches pods", func(t *testing.T) { testKubelet(t, l); testProxy(t, l) })
	t.Run("the agent is killed under traffic", func(t *testing.T) { testAgentKilled(t, l) })
	t.Run("a runtime and a kubelet that restart", func(t *testing.T) { testRuntime(t, l) })
	t.Run("a node that reboots", func(t *testing.T) { testReboot(t, l) })
	t.Run("no address leaks", func(t *testing.T) { testNoLeaks(t, l, "n1", "n2", "n3") })
	remember(t, l)

	if err := l.Down(); err != nil {
		t.Fatal(err)
	}
	before.compare(t)
}

// podIPs are a pod's addresses, in brackets where a URL needs them.
func (l *Lab) podIPs(t *testing.T, pod string) []string {
	t.Helper()
	ips := strings.Fields(l.Kubectl(t, "", "get", "pod", pod, "-o", "jsonpath={.status.podIPs[*].ip}"))
	if len(ips) != 2 {
		t.Fatalf("addresses of pod %s: %v, want one of each family", pod, ips)
	}
	return ips
}

func testNetworkPods(t *testing.T, l *Lab) {
	pods := []string{"one", "beside", "two", "three"}
	for _, from := range pods {
		own := l.podIPs(t, from)
		for _, to := range pods {
			for family, ip := range l.podIPs(t, to) {
				if server, client := l.ask(t, from, "http://"+net.JoinHostPort(ip, "8080")); server != to || client != own[family] {
					t.Errorf("from %s to %s: %s answered and saw %s, want %s", from, to, server, client, own[family])
				}
			}
		}
		said := l.Kubectl(t, "", "exec", from, "--", "/echo", "udp", net.JoinHostPort(l.podIPs(t, "two")[0], "8081"))
		if server, client := parseAnswer(t, said); server != "two" || client != own[0] {
			t.Errorf("UDP from %s: %s answered and saw %s, want %s", from, server, client, own[0])
		}
	}
}

// serveOn runs the echo server on a machine.
func (l *Lab) serveOn(t *testing.T, name string) {
	t.Helper()
	command, err := l.Machine(name).Command(t.Context(), l.path("echo"), "--port=9000", "--udp-port=9001")
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = command.Process.Kill(); _ = command.Wait() })
}

func testNetworkNodes(t *testing.T, l *Lab) {
	for _, name := range []string{"n1", "n2", "client"} {
		l.serveOn(t, name)
	}
	addresses := map[string][2]string{
		"n1": {"172.30.0.11", "fd00:30::b"}, "n2": {"172.30.1.12", "fd00:30:0:1::c"}, "client": {"172.30.0.200", "fd00:30::c8"},
	}
	own := l.podIPs(t, "one")
	for name, of := range addresses {
		for family, address := range of {
			seen := addresses["n1"][family] // the node's, outside of the cluster and behind the overlay
			if name == "n1" {
				seen = own[family]
			}
			l.eventually(t, name+" serves", func() bool {
				_, err := l.TryKubectl(t.Context(), "", "exec", "one", "--", "/echo", "get", "http://"+net.JoinHostPort(address, "9000"))
				return err == nil
			})
			if server, client := l.ask(t, "one", "http://"+net.JoinHostPort(address, "9000")); server != name || client != seen {
				t.Errorf("from pod one to %s: %s answered and saw %s, want %s", address, server, client, seen)
			}
		}
	}
	for _, from := range []string{"n1", "n2", "n3", "control"} {
		for _, ip := range append(l.podIPs(t, "one"), l.podIPs(t, "two")...) {
			l.Machine(from).Exec(t, l.path("echo"), "get", "http://"+net.JoinHostPort(ip, "8080"))
		}
	}
	if _, err := l.Machine("client").TryExec(t.Context(), l.path("echo"), "get", "http://"+net.JoinHostPort(own[0], "8080")); err == nil {
		t.Error("the client has a way to pods")
	}
	if routes := l.Machine("router").Exec(t, "ip", "route"); strings.Contains(routes, "10.200.") {
		t.Errorf("the router knows pods:\n%s", routes)
	}
}

func testHostPorts(t *testing.T, l *Lab) {
	asks := func(machine, address string) {
		t.Helper()
		said := l.Machine(machine).Exec(t, l.path("echo"), "get", "http://"+net.JoinHostPort(address, "8088"))
		if server, _ := parseAnswer(t, said); server != "ports" {
			t.Errorf("%s at %s: %s answers", machine, address, server)
		}
		said = l.Machine(machine).Exec(t, l.path("echo"), "udp", net.JoinHostPort(address, "8089"))
		if server, _ := parseAnswer(t, said); server != "ports" {
			t.Errorf("UDP, %s at %s: %s answers", machine, address, server)
		}
	}
	asks("client", "172.30.0.11")
	asks("client", "fd00:30::b")
	asks("n2", "172.30.0.11")
	asks("n1", "172.30.0.11")
	asks("n1", "127.0.0.1")
	for _, pod := range []string{"one", "two", "ports"} { // ports: hairpin
		if server, _ := l.ask(t, pod, "http://172.30.0.11:8088"); server != "ports" {
			t.Errorf("pod %s at the host port: %s answers", pod, server)
		}
	}
	l.Kubectl(t, "", "delete", "pod", "ports", "--wait")
	if _, err := l.Machine("client").TryExec(t.Context(), l.path("echo"), "get", "http://172.30.0.11:8088"); err == nil {
		t.Error("the host port of a pod that has gone answers")
	}
}

// testProxy asks a pod through the API server, which then connects from its own node.
func testProxy(t *testing.T, l *Lab) {
	said := l.Kubectl(t, "", "get", "--raw", "/api/v1/namespaces/default/pods/two:8080/proxy/")
	if server, _ := parseAnswer(t, said); server != "two" {
		t.Errorf("through the API server %s answers", server)
	}
}

// agentOn is the name of a node's agent.
func (l *Lab) agentOn(t *testing.T, node string) string {
	t.Helper()
	return l.Kubectl(t, "", "get", "pod", "-n", "kube-system", "-l", "app.kubernetes.io/component=node",
		"--field-selector", "spec.nodeName="+node, "-o", "jsonpath={.items[0].metadata.name}")
}

func testAgentKilled(t *testing.T, l *Lab) {
	running := l.loadFrom(t, "n2", "--rate", "50", "http://"+net.JoinHostPort(l.podIPs(t, "one")[0], "8080"))
	for _, node := range []string{"n1", "n2"} {
		agent := l.agentOn(t, node)
		l.Kubectl(t, "", "delete", "pod", "-n", "kube-system", agent, "--grace-period=0", "--force")
		l.eventually(t, "another agent on "+node, func() bool {
			ready, err := l.TryKubectl(t.Context(), "", "get", "pod", "-n", "kube-system", "-l", "app.kubernetes.io/component=node",
				"--field-selector", "spec.nodeName="+node, "-o", `jsonpath={.items[*].status.containerStatuses[*].ready} {.items[*].metadata.name}`)
			return err == nil && strings.HasPrefix(ready, "true ") && !strings.Contains(ready, agent)
		})
	}
	running.end(t, "beside agents that are replaced")
}

func testRuntime(t *testing.T, l *Lab) {
	for _, program := range []string{"containerd", "kubelet"} {
		l.Machine("n2").Exec(t, "pkill", "-KILL", "-x", program)
		name := "after-" + program
		l.Kubectl(t, echoPod(name, "n2"), "apply", "-f", "-")
		l.waitFor(t, "--for=condition=Ready", "pod", name)
		l.eventually(t, name+" answers", func() bool { return l.answers("one", name) })
		l.Kubectl(t, "", "delete", "pod", name, "--wait")
	}
}

// testNoLeaks compares the leases of each node with its pods.
func testNoLeaks(t *testing.T, l *Lab, nodes ...string) {
	t.Helper()
	left := ""
	t.Cleanup(func() { t.Log(left) })
	for _, node := range nodes {
		l.eventually(t, "leases of "+node+" are those of its pods", func() bool {
			var pods []string
			for _, pod := range strings.Fields(l.Kubectl(t, "", "get", "pods", "-A", "--field-selector", "spec.nodeName="+node,
				"-o", "jsonpath={range .items[*]}{.metadata.name}={.spec.hostNetwork} {end}")) {
				if name, onHost, _ := strings.Cut(pod, "="); onHost != "true" {
					pods = append(pods, name)
				}
			}
			leases := strings.Fields(l.Machine(node).Exec(t, "sh", "-c", "ls /var/lib/fairway/cni | grep @ || true"))
			wires := strings.Fields(l.Machine(node).Exec(t, "sh", "-c", "ip -o link show type veth | grep -c ': fw' || true"))
			left = fmt.Sprintf("pods %v, leases %v, %s wires", pods, leases, wires[0])
			return len(leases) == len(pods) && wires[0] == strconv.Itoa(len(pods))
		})
	}
}
