//go:build lab

package lab

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// echoPod is a pod of the echo server on a node.
func echoPod(name, node string) string {
	return fmt.Sprintf(`
apiVersion: v1
kind: Pod
metadata: {name: %s, labels: {app: echo}}
spec:
  nodeName: %s
  terminationGracePeriodSeconds: 1
  containers:
    - name: echo
      image: %s
      imagePullPolicy: Never
      ports: [{containerPort: 8080}]
      readinessProbe: {httpGet: {port: 8080}, periodSeconds: 1}
---
`, name, node, EchoImage)
}

const echoService = `
apiVersion: v1
kind: Service
metadata: {name: echo}
spec:
  ipFamilyPolicy: PreferDualStack
  selector: {app: echo}
  ports: [{name: http, port: 80, targetPort: 8080}]
`

// TestLab runs one lab for all tests that can share it, because a lab takes longer to
// start than most of them take. A test that needs such a lab, and leaves it intact, is
// one more line here. Tests that need another kind of lab (TestFabrics, TestIPv6), or
// destroy it (TestTheNextUpRemovesWhatCrashesLeave), start their own.
func TestLab(t *testing.T) {
	before := look(t)
	began := time.Now()
	l := Start(t, Options{Fairway: Network, KubeProxy: true, CoreDNS: true, FairwayImages: true})
	remember(t, l)
	l.Kubectl(t, echoPod("one", "n1")+echoPod("two", "n2")+echoService, "apply", "-f", "-")
	l.waitFor(t, "--for=condition=Ready", "pod", "one", "two")
	t.Logf("from nothing to pods Ready: %.1f s", time.Since(began).Seconds())

	t.Run("pods reach each other", func(t *testing.T) { testPods(t, l) })
	t.Run("logs, exec, port-forward", func(t *testing.T) { testKubelet(t, l) })
	t.Run("a Service has an address and a name", func(t *testing.T) { testService(t, l) })
	t.Run("the client knows nodes and nothing behind them", func(t *testing.T) { testClient(t, l) })
	t.Run("a Deployment of 20 pods rolls", func(t *testing.T) { testRoll(t, l) })
	t.Run("a node that reboots", func(t *testing.T) { testReboot(t, l) })
	t.Run("a node that is off, and on again", func(t *testing.T) { testKill(t, l) })
	t.Run("a node whose link is down", func(t *testing.T) { testCut(t, l) })
	t.Run("Fairway, by Helm", func(t *testing.T) { testHelm(t, l) })
	t.Run("no address leaks", func(t *testing.T) { testNoLeaks(t, l, "n1", "n2") })
	t.Run("lab exec passes signals on", func(t *testing.T) { testExec(t, l) })
	t.Run("memory", func(t *testing.T) { logUsage(t, l) })
	remember(t, l)

	if err := l.Down(); err != nil {
		t.Fatal(err)
	}
	before.compare(t)
}

// waitFor is kubectl wait, within two minutes.
func (l *Lab) waitFor(t *testing.T, args ...string) {
	t.Helper()
	l.Kubectl(t, "", append([]string{"wait", "--timeout=120s"}, args...)...)
}

// podIP is a pod's address.
func (l *Lab) podIP(t *testing.T, pod string) string {
	t.Helper()
	return l.Kubectl(t, "", "get", "pod", pod, "-o", "jsonpath={.status.podIP}")
}

// ask lets a pod ask a URL and returns who answered and whom it saw.
func (l *Lab) ask(t *testing.T, pod, url string) (server, client string) {
	t.Helper()
	return parseAnswer(t, l.Kubectl(t, "", "exec", pod, "--", "/echo", "get", url))
}

func parseAnswer(t *testing.T, said string) (server, client string) {
	t.Helper()
	var answer struct{ Server, Client string }
	if err := json.Unmarshal([]byte(said), &answer); err != nil {
		t.Fatalf("answer %q: %v", said, err)
	}
	address, _, err := net.SplitHostPort(answer.Client)
	if err != nil {
		t.Fatalf("answer %q: %v", said, err)
	}
	return answer.Server, address
}

func testPods(t *testing.T, l *Lab) {
	for _, way := range [][2]string{{"one", "two"}, {"two", "one"}} {
		to, from := l.podIP(t, way[1]), l.podIP(t, way[0])
		server, client := l.ask(t, way[0], "http://"+net.JoinHostPort(to, "8080"))
		if server != way[1] || client != from {
			t.Errorf("from %s to %s: %s answered and saw %s, want %s", way[0], way[1], server, client, from)
		}
		said := l.Kubectl(t, "", "exec", way[0], "--", "/echo", "udp", net.JoinHostPort(to, "8081"))
		if server, client := parseAnswer(t, said); server != way[1] || client != from {
			t.Errorf("UDP from %s to %s: %s answered and saw %s, want %s", way[0], way[1], server, client, from)
		}
	}
}

func testKubelet(t *testing.T, l *Lab) {
	if log := l.Kubectl(t, "", "logs", "one"); !strings.Contains(log, "one serves HTTP") {
		t.Errorf("log %q", log)
	}
	said := l.Kubectl(t, "", "exec", "one", "--", "/echo", "get", "http://127.0.0.1:8080/exec")
	if !strings.Contains(said, `"Path":"/exec"`) {
		t.Errorf("exec: %s", said)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	forward, err := l.KubectlCommand(ctx, "port-forward", "pod/two", "0:8080")
	if err != nil {
		t.Fatal(err)
	}
	printed, err := forward.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := forward.Start(); err != nil {
		t.Fatal(err)
	}
	defer forward.Wait()
	defer cancel()
	var from string
	if _, err := fmt.Fscanf(printed, "Forwarding from %s -> 8080\n", &from); err != nil {
		t.Fatal(err)
	}
	response, err := http.Get("http://" + from)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var answer struct{ Server string }
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil || answer.Server != "two" {
		t.Errorf("port-forward: %v, %v, want an answer of two", answer, err)
	}
}

func testService(t *testing.T, l *Lab) {
	seen := map[string]int{}
	for range 20 {
		server, _ := l.ask(t, "one", "http://echo.default.svc.cluster.local")
		seen[server]++
	}
	if seen["one"] == 0 || seen["two"] == 0 {
		t.Errorf("of 20 requests to the Service answered %v, want both pods", seen)
	}
}

func testClient(t *testing.T, l *Lab) {
	client := l.Machine("client")
	client.Exec(t, "bash", "-c", "exec 3<>/dev/tcp/n1/10250") // the kubelet's port
	pod := l.podIP(t, "one")
	if _, err := client.TryExec(t.Context(), "bash", "-c", "exec 3<>/dev/tcp/"+pod+"/8080"); err == nil || !strings.Contains(err.Error(), "unreachable") {
		t.Errorf("the client connects with pod %s: %v, want that it is unreachable", pod, err)
	}
	if routes := client.Exec(t, "ip", "route"); strings.Contains(routes, "10.") || strings.Contains(routes, "default") {
		t.Errorf("the client's routes:\n%s", routes)
	}
}

const deployment = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: many}
spec:
  replicas: 20
  selector: {matchLabels: {app: many}}
  strategy: {rollingUpdate: {maxSurge: 5, maxUnavailable: 0}}
  template:
    metadata: {labels: {app: many}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
        - name: echo
          image: ` + EchoImage + `
          imagePullPolicy: Never
          env: [{name: VERSION, value: "VERSION"}]
          readinessProbe: {httpGet: {port: 8080}, periodSeconds: 1}
`

func testRoll(t *testing.T, l *Lab) {
	for _, version := range []string{"1", "2"} {
		began := time.Now()
		l.Kubectl(t, strings.Replace(deployment, `"VERSION"`, `"`+version+`"`, 1), "apply", "-f", "-")
		l.Kubectl(t, "", "rollout", "status", "deployment/many", "--timeout=150s")
		t.Logf("20 pods of version %s: %.1f s", version, time.Since(began).Seconds())
	}
	nodes := l.Kubectl(t, "", "get", "pods", "-l", "app=many", "-o", "jsonpath={.items[*].spec.nodeName}")
	if !strings.Contains(nodes, "n1") || !strings.Contains(nodes, "n2") {
		t.Errorf("the pods are on %s, want both nodes", nodes)
	}
	l.Kubectl(t, "", "delete", "deployment", "many", "--cascade=foreground", "--timeout=120s")
}

// boots is what tells a machine's boots apart.
func (l *Lab) boots(t *testing.T, node string) string {
	t.Helper()
	return l.Kubectl(t, "", "get", "node", node, "-o", "jsonpath={.status.nodeInfo.bootID}")
}

func testReboot(t *testing.T, l *Lab) {
	old := l.boots(t, "n2")
	began := time.Now()
	l.Machine("n2").Reboot(t)
	l.eventually(t, "another boot of n2", func() bool { return l.boots(t, "n2") != old })
	l.eventually(t, "two answers again", func() bool { return l.answers("one", "two") })
	t.Logf("from power off until its pod answers: %.1f s", time.Since(began).Seconds())
	if restarts := l.Kubectl(t, "", "get", "pod", "two", "-o", "jsonpath={.status.containerStatuses[0].restartCount}"); restarts == "0" {
		t.Error("the pod's container lived through a reboot")
	}
}

// answers says whether a pod reaches the other by its address of now.
func (l *Lab) answers(from, to string) bool {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	ip, err := l.TryKubectl(ctx, "", "get", "pod", to, "-o", "jsonpath={.status.podIP}")
	if err != nil || ip == "" {
		return false
	}
	_, err = l.TryKubectl(ctx, "", "exec", from, "--", "/echo", "get", "http://"+net.JoinHostPort(ip, "8080"))
	return err == nil
}

func (l *Lab) eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	for tick := time.NewTicker(100 * time.Millisecond); !is(); {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("wait for %s: %v", what, ctx.Err())
		}
	}
}

func testKill(t *testing.T, l *Lab) {
	n2 := l.Machine("n2")
	n2.Kill(t)
	if _, err := n2.TryExec(t.Context(), "true"); err == nil || !strings.Contains(err.Error(), "is off") {
		t.Errorf("exec on a machine that is off: %v", err)
	}
	if l.answers("one", "two") {
		t.Error("a pod answers on a machine that is off")
	}
	l.waitFor(t, "--for=condition=Ready=Unknown", "node", "n2")
	n2.Boot(t)
	l.waitFor(t, "--for=condition=Ready", "node", "n2")
	l.eventually(t, "two answers again", func() bool { return l.answers("one", "two") })
}

func testCut(t *testing.T, l *Lab) {
	n2 := l.Machine("n2")
	n2.Cut(t)
	if carrier := strings.TrimSpace(n2.Exec(t, "cat", "/sys/class/net/eth0/operstate")); carrier == "up" {
		t.Errorf("eth0 is %s", carrier)
	}
	if l.answers("one", "two") {
		t.Error("a pod answers over a link that is down")
	}
	n2.Mend(t)
	l.eventually(t, "two answers again", func() bool { return l.answers("one", "two") })
}

func logUsage(t *testing.T, l *Lab) {
	usage, err := l.Usage()
	if err != nil {
		t.Fatal(err)
	}
	var all int64
	for machine, list := range usage {
		for _, u := range list {
			t.Logf("%s: %d %s: %d MiB", machine, u.Count, u.Name, u.Resident>>20)
			all += u.Resident
		}
	}
	t.Logf("all: %d MiB", all>>20)
	if all == 0 || all > 3<<30 {
		t.Errorf("the lab has %d MiB, want at most 3 GiB", all>>20)
	}
}
