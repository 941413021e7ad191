//go:build lab && network

package lab

import (
	"fmt"
	"math/rand/v2"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// soakFor is how long TestSoak goes on, unless $FAIRWAY_SOAK_FOR says another time.
const soakFor = 15 * time.Minute

// fault is something that happens to a running road.
type fault struct {
	name string
	lost int // requests of each family that may be lost with it
	do   func(t *testing.T)
}

// faults are what a soak chooses from, with a node that it chooses.
func (r road) faults(t *testing.T, random *rand.Rand) []fault {
	t.Helper()
	node := func() string { return []string{"n1", "n2"}[random.IntN(2)] }
	// A node that is gone has the address for up to 5 s, and its endpoints their share until Kubernetes notices.
	const ofANode = 5*50 + 25*50
	return []fault{
		{"backends roll", 0, r.rolls("shop", "deployment/shop", "deployment/cart")},
		{"gateways roll", 0, r.rolls("fairway-system", "deployment/fairway-gateway")},
		{"controllers roll", 0, r.rolls("fairway-system", "deployment/fairway-controller")},
		{"agents roll", 0, r.rolls("kube-system", "daemonset/fairway-node")},
		{"DNS rolls", 0, r.rolls("kube-system", "deployment/fairway-dns")},
		{"the certificate is replaced", 0, r.replaceCertificate},
		{"an agent is killed", 0, func(t *testing.T) { r.killAgents(t, node()); r.rolledOutDaemons(t) }},
		{"a controller is killed", 0, func(t *testing.T) {
			r.Machine(node()).TryExec(t.Context(), "pkill", "-KILL", "-f", "fairway controller ") //nolint:errcheck // none may be there
			r.Kubectl(t, "", "-n", "fairway-system", "rollout", "status", "deployment/fairway-controller", "--timeout=120s")
		}},
		{"the shop is scaled", 0, func(t *testing.T) {
			r.Kubectl(t, "", "-n", "shop", "scale", "deployment/shop", fmt.Sprintf("--replicas=%d", 1+random.IntN(5)))
			r.Kubectl(t, "", "-n", "shop", "rollout", "status", "deployment/shop", "--timeout=120s")
		}},
		{"the API server is away", 0, func(t *testing.T) {
			r.stopAPIServer(t)
			<-time.After(time.Duration(5+random.IntN(20)) * time.Second)
			r.startAPIServer(t)
		}},
		{"objects come and go", 0, func(t *testing.T) { r.churn(t, random) }},
		{"a node loses power", ofANode, func(t *testing.T) {
			name := node()
			r.Machine(name).Reboot(t)
			<-time.After(5 * time.Second)
			r.settled(t)
		}},
		{"a node's link is down", ofANode, func(t *testing.T) {
			name := node()
			r.Machine(name).Cut(t)
			<-time.After(time.Duration(2+random.IntN(30)) * time.Second)
			r.Machine(name).Mend(t)
			<-time.After(5 * time.Second)
			r.settled(t)
		}},
	}
}

// churn makes Services, Ingresses and policies, changes and removes them.
func (r road) churn(t *testing.T, random *rand.Rand) {
	t.Helper()
	var all strings.Builder
	for i := range 10 + random.IntN(20) {
		fmt.Fprintf(&all, `---
apiVersion: v1
kind: Service
metadata: {name: churn-%[1]d, namespace: shop}
spec: {type: %[2]s, selector: {app: shop}, ports: [{port: 80, targetPort: http}]}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: churn-%[1]d, namespace: shop}
spec:
  ingressClassName: fairway
  rules: [{host: churn-%[1]d.test, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: churn-%[1]d, port: {number: 80}}}}]}}]
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: churn-%[1]d, namespace: shop}
spec: {podSelector: {matchLabels: {churn: "%[1]d"}}, ingress: [{from: [{ipBlock: {cidr: 192.0.2.%[1]d/32}}]}]}
`, i, []string{"ClusterIP", "NodePort", "LoadBalancer"}[random.IntN(3)])
	}
	r.Kubectl(t, all.String(), "apply", "--server-side", "--force-conflicts", "-f", "-")
	if random.IntN(2) == 0 {
		r.Kubectl(t, all.String(), "delete", "--wait=false", "-f", "-")
	}
}

// settled waits until all nodes and all pods of Fairway and the shop are ready.
func (r road) settled(t *testing.T) {
	t.Helper()
	r.Kubectl(t, "", "wait", "--for=condition=Ready", "node", "--all", "--timeout=180s")
	for _, each := range []string{"kube-system daemonset/fairway-node", "kube-system deployment/fairway-dns", "fairway-system deployment/fairway-controller", "fairway-system deployment/fairway-gateway", "shop deployment/shop", "shop deployment/cart"} {
		namespace, name, _ := strings.Cut(each, " ")
		r.Kubectl(t, "", "-n", namespace, "rollout", "status", name, "--timeout=180s")
	}
}

// whatPasses are the parts of a listing that differ between times: counters, handles, and what runs out.
var whatPasses = regexp.MustCompile(`packets \d+ bytes \d+| expires \w+| timeout \w+`)

// kernel is what the agent of a node keeps in its kernel: its tables, routes and neighbours, a line each, in order. Chains
// that pick one of some number of endpoints are left out: one stays when no Service has that number any more. So are
// connections that were cut.
func (r road) kernel(t *testing.T, node string) []string {
	t.Helper()
	said := r.Machine(node).Exec(t, "sh", "-ec", `
		nft list tables | grep fairway | while read -r _ family name; do nft list table $family $name; done
		echo ways
		for family in 4 6; do ip -$family -o route show table all proto 102; done
		ip -o neigh show nud permanent | grep ' dev fw'`)
	var lines []string
	table, of := "", ""
	for line := range strings.Lines(said) {
		line = strings.TrimSpace(whatPasses.ReplaceAllString(line, ""))
		word, rest, _ := strings.Cut(line, " ")
		switch word {
		case "ways":
			table, of = "ways", ""
		case "table":
			table, of = strings.TrimSpace(strings.Split(rest, "{")[0]), ""
			continue
		case "set", "map", "chain", "counter":
			of = word + " " + strings.TrimSpace(strings.Split(rest, "{")[0])
		case "#", "}", "", "flags":
			continue
		}
		if strings.HasPrefix(of, "chain pick-") || of == "set cut" {
			continue
		}
		for _, element := range strings.Split(strings.TrimPrefix(line, "elements = "), ",") { // the kernel lists elements in no order
			if element = strings.Trim(strings.TrimSpace(element), "{} "); element != "" {
				lines = append(lines, table+", "+of+": "+element)
			}
		}
	}
	slices.Sort(lines)
	return lines
}

// TestSoak is a road on which something happens all the time, chosen by chance, under load from outside. In the end
// each node's kernel must have what an agent writes that starts on a node which has nothing. `make lab-soak` runs it.
func TestSoak(t *testing.T) {
	before := look(t)
	within := soakFor
	if text := os.Getenv("FAIRWAY_SOAK_FOR"); text != "" {
		var err error
		if within, err = time.ParseDuration(text); err != nil {
			t.Fatal(err)
		}
	}
	l := Start(t, Options{Nodes: 2, Families: DualStack, Fairway: Everything, Shop: true})
	remember(t, l)
	r := road{l}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0)) //nolint:gosec // a test
	r.rolls("fairway-system", "deployment/fairway-gateway", "deployment/fairway-controller")(t)
	r.rolls("kube-system", "deployment/fairway-dns")(t)
	for began := time.Now(); time.Since(began) < within && !t.Failed(); {
		all := r.faults(t, random)
		f := all[random.IntN(len(all))]
		r.under(t, f.name, f.lost, f.do)
		r.settled(t)
	}
	t.Run("as a fresh start", func(t *testing.T) {
		for _, node := range []string{"n1", "n2"} {
			had := r.kernel(t, node)
			r.killAgents(t, node)
			r.Machine(node).Exec(t, "sh", "-c", `
				nft list tables | grep fairway | while read -r _ family name; do nft delete table $family $name; done
				for family in 4 6; do ip -$family route flush table all proto 102; done`)
			var now []string
			for deadline := time.Now().Add(time.Minute); !slices.Equal(had, now) && time.Now().Before(deadline); <-time.After(time.Second) {
				now = r.kernel(t, node)
			}
			if gone, more := without(had, now), without(now, had); len(gone)+len(more) > 0 {
				t.Errorf("%s had besides\n\t%s\nand a fresh start has besides\n\t%s", node, strings.Join(gone, "\n\t"), strings.Join(more, "\n\t"))
			}
		}
	})
	r.settled(t)
	remember(t, l)
	l.end(t, before)
}

// without are the lines that others lack, as often as they lack them.
func without(lines, others []string) []string {
	count := map[string]int{}
	for _, line := range others {
		count[line]++
	}
	var all []string
	for _, line := range lines {
		if count[line]--; count[line] < 0 {
			all = append(all, line)
		}
	}
	return all
}
