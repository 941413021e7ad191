//go:build lab && network

package lab

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"
)

// closedSpace is a namespace whose pods may neither call nor be called. Its pods call the pod open from their first
// instruction on, in both families, and go on. Each node of the two has a hundred.
func closedSpace(urls []string) string {
	var text strings.Builder
	text.WriteString(`
apiVersion: v1
kind: Namespace
metadata: {name: closed}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: deny, namespace: closed}
spec: {podSelector: {}, policyTypes: [Ingress, Egress]}
`)
	for _, node := range []string{"n1", "n2"} {
		fmt.Fprintf(&text, `---
apiVersion: apps/v1
kind: Deployment
metadata: {name: %[1]s, namespace: closed}
spec:
  replicas: 0
  selector: {matchLabels: {on: %[1]s}}
  template:
    metadata: {labels: {on: %[1]s}}
    spec:
      nodeName: %[1]s
      terminationGracePeriodSeconds: 1
      automountServiceAccountToken: false
      containers:
        - name: knock
          image: %[2]s
          imagePullPolicy: Never
          command: [/echo, load, --rate, "4", "%[3]s"]
`, node, EchoImage, strings.Join(urls, `", "`))
	}
	return text.String()
}

// TestPolicies is a lab whose pods knock where no policy lets them in, while others that may call do: pods begin by
// the hundred, agents are killed, restarted and upgraded, and somebody flushes a node's tables. `make lab-policy`
// runs it.
func TestPolicies(t *testing.T) {
	before := look(t)
	l := Start(t, Options{Nodes: 3, Families: DualStack, Fairway: Network})
	remember(t, l)
	l.Kubectl(t, echoPod("open", "n1")+echoPod("friend", "n2"), "apply", "-f", "-")
	l.waitFor(t, "--for=condition=Ready", "pod", "--all")
	var urls []string
	for _, ip := range l.podIPs(t, "open") {
		urls = append(urls, "http://"+net.JoinHostPort(ip, "8080")+"/knock")
	}
	l.Kubectl(t, closedSpace(urls), "apply", "-f", "-")
	knocks := func() int { return strings.Count(l.Kubectl(t, "", "logs", "open"), "/knock ") }

	t.Run("pods begin by the hundred", func(t *testing.T) {
		began := time.Now()
		l.Kubectl(t, "", "-n", "closed", "scale", "deployment", "--all", "--replicas=100")
		l.Kubectl(t, "", "-n", "closed", "rollout", "status", "deployment/n1", "--timeout=300s")
		l.Kubectl(t, "", "-n", "closed", "rollout", "status", "deployment/n2", "--timeout=300s")
		t.Logf("200 pods run after %.0f s", time.Since(began).Seconds())
		if n := knocks(); n > 0 {
			t.Errorf("%d requests of closed pods arrived", n)
		}
		l.Kubectl(t, "", "-n", "closed", "scale", "deployment", "--all", "--replicas=10")
		l.eventually(t, "180 pods have ended", func() bool {
			return len(strings.Fields(l.Kubectl(t, "", "-n", "closed", "get", "pods", "-o", "name"))) == 20
		})
	})
	under := func(what string, do func()) {
		t.Run(what, func(t *testing.T) {
			allowed := l.loadFromPod(t, "n2", "--rate", "50", strings.ReplaceAll(urls[0], "/knock", "/"), strings.ReplaceAll(urls[1], "/knock", "/"))
			do()
			allowed.end(t, what)
			if n := knocks(); n > 0 {
				t.Errorf("%d requests of closed pods arrived", n)
			}
		})
	}
	l.Kubectl(t, `{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: open}, spec: {podSelector: {}, ingress: [{from: [{podSelector: {}}]}], egress: [{to: [{podSelector: {}}]}]}}`, "apply", "-f", "-")
	under("agents are killed", func() {
		for range 3 {
			l.killAgents(t, "n1", "n2")
		}
	})
	under("agents restart", func() {
		l.Kubectl(t, "", "-n", "kube-system", "rollout", "restart", "daemonset/fairway-node")
		l.rolledOutDaemons(t)
	})
	under("the API server is away, and agents are killed", func() {
		l.stopAPIServer(t)
		l.killAgents(t, "n1", "n2")
		<-time.After(20 * time.Second)
		l.startAPIServer(t)
		l.rolledOutDaemons(t)
	})
	under("somebody flushes a node's tables", func() {
		for _, how := range []string{"flush ruleset", "flush table ip fairway-policy", "delete table ip6 fairway-policy"} {
			said, err := l.Machine("n1").TryExec(t.Context(), "nft", how)
			t.Logf("nft %s: %v %s", how, err, said)
		}
		<-time.After(5 * time.Second)
		for _, table := range []string{"ip", "ip6"} {
			if listing := l.Machine("n1").Exec(t, "nft", "list table "+table+" fairway-policy"); !strings.Contains(listing, "no policy allows it") {
				t.Errorf("after five seconds table %s is\n%s", table, listing)
			}
		}
	})
	t.Run("what was denied is allowed", func(t *testing.T) { // or the test shows nothing
		l.Kubectl(t, "", "-n", "closed", "delete", "networkpolicy", "deny")
		l.Kubectl(t, "", "delete", "networkpolicy", "open")
		l.eventually(t, "knocks arrive", func() bool { return knocks() > 0 })
	})
	remember(t, l)
	l.end(t, before)
}

// killAgents kills the agents of nodes, which the kubelets start again.
func (l *Lab) killAgents(t *testing.T, nodes ...string) {
	t.Helper()
	for _, node := range nodes {
		l.eventually(t, "the agent of "+node+" is killed", func() bool { // it may not run again yet
			_, err := l.Machine(node).TryExec(t.Context(), "pkill", "-KILL", "-f", "fairway node ")
			return err == nil
		})
	}
}

// loadFromPod sends requests from the only pod of a node that serves echo.
func (l *Lab) loadFromPod(t *testing.T, node string, args ...string) *load {
	t.Helper()
	pid := strings.TrimSpace(l.Machine(node).Exec(t, "pgrep", "-fx", "/echo"))
	return l.loadBy(t, node, append([]string{"nsenter", "--net", "--target", pid, "--", l.path("echo"), "load"}, args...)...)
}
