//go:build lab && network

package lab

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

// clusterDNS is where pods ask. The lab's CoreDNS is like kubeadm's: a Service kube-dns, whose selector
// is the label of every DNS, and a Deployment coredns.
const clusterDNS = "10.96.0.10:53"

// TestDNS is a lab whose cluster DNS is another's first and then Fairway's, with clients that never stop
// asking. `make lab-dns` runs it.
func TestDNS(t *testing.T) {
	before := look(t)
	l := Start(t, Options{Nodes: 2, Fairway: Network, CoreDNS: true, FairwayImages: true})
	remember(t, l)
	l.Kubectl(t, echoPod("one", "n1")+echoPod("two", "n2")+echoService, "apply", "-f", "-")
	l.waitFor(t, "--for=condition=Ready", "pod", "--all")

	t.Run("another DNS is told, and nothing is changed", func(t *testing.T) { testForeignDNS(t, l) })
	t.Run("taking over from another DNS", func(t *testing.T) { testTakeOverDNS(t, l) })
	t.Run("ten roll-outs", func(t *testing.T) { testDNSRollOuts(t, l) })
	t.Run("a node is drained", func(t *testing.T) { testDNSDrain(t, l) })
	remember(t, l)
	l.end(t, before)
}

// query sends queries from a pod on each node, 200 a second with a new source port each and 200 a second
// from ports that stay. What it returns waits until they end.
func (l *Lab) query(t *testing.T, duration time.Duration) func(what string) {
	t.Helper()
	type result struct {
		from, said string
		kept       bool
		err        error
	}
	results := make(chan result)
	for _, from := range []string{"one", "two"} {
		for _, kept := range []bool{false, true} {
			go func() {
				said, err := l.TryKubectl(t.Context(), "", "exec", from, "--", "/echo", "dns", "--rate", "200", "--for", duration.String(), fmt.Sprintf("--new-ports=%t", !kept),
					clusterDNS, "kubernetes.default.svc.cluster.local", "echo.default.svc.cluster.local")
				results <- result{from, said, kept, err}
			}()
		}
	}
	return func(what string) {
		t.Helper()
		for range 4 {
			r := <-results
			if r.err != nil {
				t.Fatal(r.err)
			}
			var seen tally
			if err := json.Unmarshal([]byte(r.said), &seen); err != nil {
				t.Fatalf("%v: %s", err, r.said)
			}
			ports := "new ports"
			if r.kept {
				ports = "ports that stay"
			}
			t.Logf("%s, from %s with %s: %d queries in %.0f s, %d failed; median %.2f ms, p99 %.2f ms, slowest %.0f ms", what, r.from, ports, seen.Sent, seen.Seconds,
				seen.Failures, seen.Median*1000, seen.P99*1000, seen.Slowest*1000)
			if seen.Failures > 0 || seen.Sent < 100 {
				t.Errorf("%s, from %s with %s: %d of %d queries failed:\n%s", what, r.from, ports, seen.Failures, seen.Sent, strings.Join(seen.Failed, "\n"))
			}
		}
	}
}

// dnsFlags are those of an install or upgrade with Fairway's DNS.
func (l *Lab) dnsFlags(more ...string) []string {
	flags := l.helmFlags(append(l.networkValues(), "--set", "dns.enabled=true", "--set", "dns.address=10.96.0.10")...)
	return append(flags, more...)
}

func testForeignDNS(t *testing.T, l *Lab) {
	for _, program := range []string{"helm3", "helm4"} {
		flags := l.helmFlags("--create-namespace", "--set", "dns.enabled=true", "--set", "dns.address=10.96.0.10")
		if _, err := l.TryHelm(t.Context(), program, append([]string{"install"}, flags...)...); err == nil || !strings.Contains(err.Error(), `Service "kube-dns" in namespace "kube-system" exists`) {
			t.Errorf("%s: %v", program, err)
		}
	}
	if got := l.Kubectl(t, "", "-n", "kube-system", "get", "deployments,serviceaccounts", "-o", "name"); strings.Contains(got, "fairway-dns") {
		t.Errorf("a refused install made %s", got)
	}
}

// testTakeOverDNS does what docs/dns.md says.
func testTakeOverDNS(t *testing.T, l *Lab) {
	page, err := os.ReadFile("../../docs/dns.md")
	if err != nil {
		t.Fatal(err)
	}
	_, part, _ := strings.Cut(string(page), "**Take it over.**")
	part, _, _ = strings.Cut(part, "\nWhere another Service")
	end := l.query(t, 75*time.Second)
	ran := 0
	for _, line := range strings.Split(part, "\n") {
		line = strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, "3. "):
			// What the lab applied for the network becomes part of the release.
			l.Helm(t, helmOf(), append([]string{"install"}, l.dnsFlags(append(force(), "--create-namespace", "--take-ownership", "--wait", "--timeout", "3m")...)...)...)
		case strings.HasPrefix(line, "kubectl ") && !strings.Contains(line, "get configmap"):
			l.Kubectl(t, "", words(line)...)
			ran++
		case strings.HasPrefix(line, "sleep "):
			<-time.After(10 * time.Second) // as the page says, and sooner
		}
	}
	if ran < 6 {
		t.Errorf("only %d commands are documented", ran)
	}
	end("taking over")
	if got := l.Kubectl(t, "", "-n", "kube-system", "get", "service", "kube-dns", "-o", "jsonpath={.spec.clusterIP} {.spec.selector}"); got != `10.96.0.10 {"k8s-app":"kube-dns"}` {
		t.Errorf("the Service is %s", got)
	}
	if got := l.Kubectl(t, "", "-n", "kube-system", "get", "deployments,replicasets,pods", "-o", "name"); strings.Contains(got, "/coredns") {
		t.Errorf("there are still %s", got)
	}
}

// words are the arguments of a line for kubectl; quotes keep one together.
func words(line string) []string {
	var all []string
	for i, part := range strings.Split(strings.TrimPrefix(line, "kubectl "), "'") {
		if i%2 == 1 {
			all = append(all, part)
			continue
		}
		all = append(all, strings.Fields(part)...)
	}
	return all
}

func testDNSRollOuts(t *testing.T, l *Lab) {
	end := l.query(t, 4*time.Minute)
	began := time.Now()
	for i := range 10 {
		l.Kubectl(t, "", "-n", "kube-system", "rollout", "restart", "deployment/fairway-dns")
		l.Kubectl(t, "", "-n", "kube-system", "rollout", "status", "deployment/fairway-dns", "--timeout=120s")
		t.Logf("roll-out %d ends after %.0f s", i+1, time.Since(began).Seconds())
	}
	end("ten roll-outs")
	if took := time.Since(began); took > 4*time.Minute+20*time.Second {
		t.Errorf("the roll-outs took %s, longer than the queries", took)
	}
}

func testDNSDrain(t *testing.T, l *Lab) {
	end := l.query(t, 40*time.Second)
	l.Kubectl(t, "", "cordon", "n1")
	for _, pod := range strings.Fields(l.Kubectl(t, "", "-n", "kube-system", "get", "pods", "-l", "k8s-app=kube-dns", "--field-selector", "spec.nodeName=n1", "-o", "name")) {
		l.Kubectl(t, fmt.Sprintf(`{"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": %q, "namespace": "kube-system"}}`, strings.TrimPrefix(pod, "pod/")),
			"create", "--raw", "/api/v1/namespaces/kube-system/pods/"+strings.TrimPrefix(pod, "pod/")+"/eviction", "-f", "-")
	}
	end("a drained node")
	l.Kubectl(t, "", "uncordon", "n1")
}
