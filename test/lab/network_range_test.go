//go:build lab && network

package lab

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// crowd are pods of the echo server on a node, which a kubelet counts as Ready when they run.
func crowd(app, node string, count int) string {
	var all strings.Builder
	for i := range count {
		fmt.Fprintf(&all, `
apiVersion: v1
kind: Pod
metadata: {name: %s-%d, labels: {app: %[1]s}}
spec:
  nodeName: %[3]s
  terminationGracePeriodSeconds: 1
  containers: [{name: echo, image: %[4]s, imagePullPolicy: Never}]
---
`, app, i, node, EchoImage)
	}
	return all.String()
}

// mostPods is how many pods a kubelet takes, unless it is told otherwise.
const mostPods = 110

// testFullNode fills a node with as many pods as its kubelet takes. Each has addresses of its
// own, and answers at them; when they are gone, the node is as before.
func testFullNode(t *testing.T, l *Lab) {
	before := l.remains(t, "n1")
	present := strings.Fields(l.Kubectl(t, "", "get", "pods", "-A", "--field-selector", "spec.nodeName=n1", "-o", "name"))
	count := mostPods - len(present)
	began := time.Now()
	l.Kubectl(t, crowd("full", "n1", count), "create", "-f", "-")
	l.Kubectl(t, "", "wait", "--timeout=300s", "--for=condition=Ready", "pod", "-l", "app=full")
	t.Logf("%d pods beside %d: Ready after %.1f s", count, len(present), time.Since(began).Seconds())

	pods := map[string]string{} // by address
	for _, line := range strings.Fields(l.Kubectl(t, "", "get", "pods", "-l", "app=full", "-o",
		`jsonpath={range .items[*]}{.metadata.name}{range .status.podIPs[*]}{"="}{.ip}{end}{"\n"}{end}`)) {
		parts := strings.Split(line, "=")
		if len(parts) != 3 {
			t.Errorf("%s has not one address of each family", line)
		}
		for _, address := range parts[1:] {
			if other := pods[address]; other != "" {
				t.Errorf("%s and %s have %s", parts[0], other, address)
			}
			pods[address] = parts[0]
		}
	}
	if len(pods) != 2*count {
		t.Errorf("%d pods have %d addresses", count, len(pods))
	}
	for address, pod := range pods {
		said := l.Machine("n1").Exec(t, l.path("echo"), "get", "http://"+net.JoinHostPort(address, "8080"))
		if server, _ := parseAnswer(t, said); server != pod {
			t.Errorf("at %s answers %s, want %s", address, server, pod)
		}
	}

	began = time.Now()
	l.Kubectl(t, "", "delete", "pod", "-l", "app=full", "--wait", "--timeout=300s")
	t.Logf("gone after %.1f s", time.Since(began).Seconds())
	left := ""
	defer func() { t.Log(left) }()
	l.eventually(t, "the node is as before", func() bool {
		left = cmp.Diff(before, l.remains(t, "n1"))
		return left == ""
	})
}

// waiting are the pods of an app that are not Ready.
func (l *Lab) waiting(t *testing.T, app string) []string {
	t.Helper()
	var names []string
	for _, line := range strings.Fields(l.Kubectl(t, "", "get", "pods", "-l", "app="+app, "-o",
		`jsonpath={range .items[*]}{.metadata.name}={.status.conditions[?(@.type=="Ready")].status}{"\n"}{end}`)) {
		if name, ready, _ := strings.Cut(line, "="); ready != "True" {
			names = append(names, name)
		}
	}
	return names
}

// testFullRange starts more pods on a node than its range has addresses. Those beyond wait, an
// event says why, and they start when others have gone.
func testFullRange(t *testing.T, l *Lab) {
	const beyond = 4
	pods := l.Kubectl(t, "", "get", "node", "n1", "-o", "jsonpath={.spec.podCIDR}")
	if !strings.HasSuffix(pods, "/28") {
		t.Fatalf("the node's range is %s", pods)
	}
	room := 15 - len(l.leases(t, "n1"))                                 // of 16 the first is the node's
	defer l.Kubectl(t, "", "delete", "pod", "-l", "app=many", "--wait") // also on failure: others need the room
	l.Kubectl(t, crowd("many", "n1", room+beyond), "create", "-f", "-")
	l.eventually(t, "the range is full", func() bool { return len(l.waiting(t, "many")) == beyond && len(l.leases(t, "n1")) == 15 })
	waiting := l.waiting(t, "many")
	want := fmt.Sprintf("no address is free in %s (15 of 15 are taken)", pods)
	for _, pod := range waiting {
		l.eventually(t, "an event says why "+pod+" waits", func() bool {
			said := l.Kubectl(t, "", "get", "events", "--field-selector", "involvedObject.name="+pod+",reason=FailedCreatePodSandBox", "-o", "jsonpath={.items[*].message}")
			return strings.Contains(said, want) && strings.Contains(said, "give the node a larger range")
		})
	}
	if now := l.waiting(t, "many"); !slices.Equal(now, waiting) || len(l.leases(t, "n1")) != 15 {
		t.Errorf("%v waited, now %v do; the node has %d leases", waiting, now, len(l.leases(t, "n1")))
	}
	var ends []string
	for i := range room + beyond {
		if name := "many-" + strconv.Itoa(i); len(ends) < beyond && !slices.Contains(waiting, name) {
			ends = append(ends, name)
		}
	}
	began := time.Now()
	l.Kubectl(t, "", append([]string{"delete", "pod", "--wait"}, ends...)...)
	l.waitFor(t, append([]string{"--for=condition=Ready", "pod"}, waiting...)...)
	t.Logf("%d pods that waited are Ready %.1f s after others were deleted", beyond, time.Since(began).Seconds())
}

// podRange is the range of IPv4 pods of a node.
func (l *Lab) podRange(t *testing.T, node string) string {
	t.Helper()
	return l.Kubectl(t, "", "get", "node", node, "-o", "jsonpath={.spec.podCIDR}")
}

// testNodeComesBack deletes the Node of n3, whose kubelet then registers it again: it gets
// another range. A pod of before keeps its address, and its node and the pods there reach it;
// a pod of after is reached by all.
func testNodeComesBack(t *testing.T, l *Lab) {
	had, addresses := l.podRange(t, "n3"), l.podIPs(t, "three")
	l.Kubectl(t, "", "delete", "node", "n3")
	for _, node := range []string{"n1", "n2"} {
		l.eventually(t, node+" has no way to the Node that has gone", func() bool {
			return !strings.Contains(l.Machine(node).Exec(t, "ip", "route", "show", "proto", "102"), had)
		})
	}
	l.asksNode(t, "n3", addresses, "three")
	l.Machine("n3").Exec(t, "pkill", "-KILL", "-x", "kubelet")
	l.eventually(t, "n3 has another range", func() bool {
		now, err := l.TryKubectl(t.Context(), "", "get", "node", "n3", "-o", "jsonpath={.spec.podCIDR}")
		return err == nil && now != "" && now != had
	})
	l.waitFor(t, "--for=condition=Ready", "node", "n3")
	pods := netip.MustParsePrefix(l.podRange(t, "n3"))
	t.Logf("n3 had %s and has %s", had, pods)

	l.eventually(t, "a new pod has an address of the new range", func() bool {
		l.Kubectl(t, echoPod("after", "n3"), "apply", "-f", "-")
		l.waitFor(t, "--for=condition=Ready", "pod", "after")
		if pods.Contains(netip.MustParseAddr(l.podIPs(t, "after")[0])) {
			return true
		}
		l.Kubectl(t, "", "delete", "pod", "after", "--wait")
		return false
	})
	if now := l.podIPs(t, "three"); !slices.Equal(now, addresses) {
		t.Errorf("the pod of before had %v and has %v", addresses, now)
	}
	l.waitFor(t, "--for=condition=Ready", "pod", "three")
	after := l.podIPs(t, "after")
	l.asksNode(t, "n3", addresses, "three")
	for family := range 2 {
		l.reaches(t, "three", "after", after[family], addresses[family])
		l.reaches(t, "after", "three", addresses[family], after[family])
		for _, pod := range []string{"one", "two"} {
			own := l.podIPs(t, pod)
			l.reaches(t, pod, "after", after[family], own[family])
			l.reaches(t, "after", pod, own[family], after[family])
		}
	}

	l.Kubectl(t, "", "delete", "pod", "three", "--wait")
	l.Kubectl(t, echoPod("three", "n3"), "apply", "-f", "-")
	l.waitFor(t, "--for=condition=Ready", "pod", "three")
	for family, ip := range l.podIPs(t, "three") {
		l.reaches(t, "one", "three", ip, l.podIPs(t, "one")[family])
	}
	for _, line := range l.remains(t, "n3") {
		for _, address := range addresses {
			if slices.Contains(strings.Fields(line), address) {
				t.Errorf("of the pod of before there is %s", line)
			}
		}
	}
	l.Kubectl(t, "", "delete", "pod", "after", "--wait")
}

// asksNode asks a pod at its addresses from a node.
func (l *Lab) asksNode(t *testing.T, node string, addresses []string, pod string) {
	t.Helper()
	for _, address := range addresses {
		said := l.Machine(node).Exec(t, l.path("echo"), "get", "http://"+net.JoinHostPort(address, "8080"))
		if server, _ := parseAnswer(t, said); server != pod {
			t.Errorf("from %s at %s answers %s, want %s", node, address, server, pod)
		}
	}
}

// reaches waits until a pod reaches another at an address, and is seen by its own.
func (l *Lab) reaches(t *testing.T, from, to, address, own string) {
	t.Helper()
	l.eventually(t, fmt.Sprintf("%s reaches %s at %s", from, to, address), func() bool {
		said, err := l.TryKubectl(t.Context(), "", "exec", from, "--", "/echo", "get", "http://"+net.JoinHostPort(address, "8080"))
		if err != nil {
			return false
		}
		server, client := parseAnswer(t, said)
		return server == to && client == own
	})
}
