//go:build lab && network

package lab

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// balancer is a Service of type LoadBalancer of the Deployment web.
const balancer = `
apiVersion: fairway.dev/v1alpha1
kind: AddressPool
metadata: {name: lab}
spec: {addresses: [172.30.0.230-172.30.0.239, 10.99.0.0/22]}
---
apiVersion: v1
kind: Service
metadata: {name: shop}
spec:
  type: LoadBalancer
  loadBalancerIP: 172.30.0.230
  selector: {app: web}
  ports: [{port: 80, targetPort: 8080}]
`

// awayFor is how long the API server is away.
const awayFor = 2 * time.Minute

// TestBalancersUnderLoad is a lab whose client outside calls a load-balancer address all the time, each request by a
// new connection, while nodes and agents come and go. `make lab-network` runs it.
func TestBalancersUnderLoad(t *testing.T) {
	before := look(t)
	l := Start(t, Options{Nodes: 3, Fairway: Everything})
	remember(t, l)
	l.Kubectl(t, web+"---"+balancer, "apply", "-f", "-")
	l.Kubectl(t, "", "rollout", "status", "deployment/web", "--timeout=120s")
	l.eventually(t, "the address answers", func() bool {
		_, err := l.Machine("client").TryExec(t.Context(), l.path("echo"), "get", "http://172.30.0.230/")
		return err == nil
	})
	// The control plane has the only API server: it must not be the node that dies.
	l.Kubectl(t, "", "label", "node", controlName, "node.kubernetes.io/exclude-from-external-load-balancers=")
	l.eventually(t, "another node than the control plane holds the address", func() bool { h := l.holder(t); return h != "" && h != controlName })
	load := func() *load { return l.loadFrom(t, "client", "--rate", "100", "http://172.30.0.230/") }

	t.Run("agents restart", func(t *testing.T) {
		under := load()
		l.Kubectl(t, "", "-n", "kube-system", "rollout", "restart", "daemonset/fairway-node")
		l.rolledOutDaemons(t)
		under.end(t, "agents restart")
	})
	t.Run("the holder is drained", func(t *testing.T) {
		under := load()
		holder := l.holder(t)
		l.Kubectl(t, "", "cordon", holder)
		l.eventually(t, "another node holds the address", func() bool { return l.holder(t) != holder })
		<-time.After(5 * time.Second)
		l.Kubectl(t, "", "uncordon", holder)
		under.atMost(t, "the holder is drained", 2) // what is open at that moment
	})
	t.Run("the API server is away", func(t *testing.T) {
		under := load()
		l.stopAPIServer(t)
		<-time.After(awayFor)
		l.startAPIServer(t)
		under.end(t, "the API server is away")
	})
	t.Run("many addresses", func(t *testing.T) { l.manyAddresses(t) })
	t.Run("the holder dies", func(t *testing.T) {
		holder := l.holder(t)
		under := load()
		l.Machine(holder).Kill(t)
		began := time.Now()
		l.eventually(t, "another node holds the address", func() bool { return l.holder(t) != holder })
		took := time.Since(began)
		t.Logf("another node holds the address %.1f s after the death", took.Seconds())
		if took > 5*time.Second {
			t.Error("that is more than 5 s")
		}
		<-time.After(25 * time.Second)
		// Nobody answers for 5 s at most; and the endpoints that died with the node get their share, a third, for
		// 20 s, until Kubernetes notices.
		under.atMost(t, "the holder dies", 5*100+20*100/3)
		l.Machine(holder).Boot(t)
	})
	if err := l.Down(); err != nil {
		t.Fatal(err)
	}
	before.compare(t)
}

// holder is the node that answers for the address.
func (l *Lab) holder(t *testing.T) string {
	t.Helper()
	said := l.Kubectl(t, "", "get", "service", "shop", "-o", `jsonpath={.status.conditions[?(@.type=="fairway.dev/AddressAnnounced")].message}`)
	found := regexp.MustCompile(`node (\S+) answers`).FindStringSubmatch(said)
	if found == nil {
		return ""
	}
	return found[1]
}

func (l *Lab) rolledOutDaemons(t *testing.T) {
	t.Helper()
	l.Kubectl(t, "", "-n", "kube-system", "rollout", "status", "daemonset/fairway-node", "--timeout=120s")
}

// manyAddresses makes 500 Services, and counts what the cluster writes in a minute of rest with their addresses.
func (l *Lab) manyAddresses(t *testing.T) {
	t.Helper()
	const many = 500
	var all strings.Builder
	for i := range many {
		fmt.Fprintf(&all, "---\napiVersion: v1\nkind: Service\nmetadata: {name: many-%d}\nspec:\n  type: LoadBalancer\n  allocateLoadBalancerNodePorts: false\n  ports: [{port: 80}]\n", i)
	}
	began := time.Now()
	l.Kubectl(t, all.String(), "apply", "--server-side", "-f", "-")
	l.eventually(t, "all Services have addresses", func() bool {
		said := l.Kubectl(t, "", "get", "services", "-o", "jsonpath={.items[*].status.loadBalancer.ingress[*].ip}")
		return len(strings.Fields(said)) >= many+1
	})
	t.Logf("%d Services had addresses %.1f s after kubectl began", many, time.Since(began).Seconds())
	<-time.After(20 * time.Second) // what follows from that
	first := l.writes(t)
	<-time.After(time.Minute)
	t.Logf("%d addresses at rest: %.1f writes a second in the cluster, %.1f of Leases", many, (l.writes(t)["all"]-first["all"])/60, (l.writes(t)["leases"]-first["leases"])/60)
	l.Kubectl(t, "", "delete", "services", "--wait=false", "--field-selector", "metadata.name!=shop,metadata.name!=web,metadata.name!=kubernetes")
}

// writes are the API server's writes until now: all, and those of Leases.
func (l *Lab) writes(t *testing.T) map[string]float64 {
	t.Helper()
	counted := map[string]float64{}
	line := regexp.MustCompile(`^apiserver_request_total\{(.*)\} (\S+)$`)
	for _, text := range strings.Split(l.Kubectl(t, "", "get", "--raw", "/metrics"), "\n") {
		found := line.FindStringSubmatch(text)
		if found == nil || !regexp.MustCompile(`verb="(PUT|PATCH|POST|DELETE|APPLY)"`).MatchString(found[1]) {
			continue
		}
		n, err := strconv.ParseFloat(found[2], 64)
		if err != nil {
			t.Fatal(err)
		}
		counted["all"] += n
		if strings.Contains(found[1], `resource="leases"`) {
			counted["leases"] += n
		}
	}
	return counted
}
