//go:build lab && network

package lab

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"
)

// road is a lab with all of Fairway and a shop behind it.
type road struct {
	*Lab
}

// load calls the shop from outside by HTTPS, at an address of each family, a hundred times a second together.
func (r road) load(t *testing.T) []*load {
	t.Helper()
	var all []*load
	for _, address := range r.Options.shopAddresses() {
		all = append(all, r.loadFrom(t, clientName, "--rate", "50", "--at", address.String(), "--cacert", ShopRoots,
			"https://"+ShopHost+"/", "https://"+ShopHost+"/cart"))
	}
	return all
}

// under does something under load, of which so many requests may be lost in each family.
func (r road) under(t *testing.T, what string, lost int, do func(t *testing.T)) {
	t.Helper()
	t.Run(what, func(t *testing.T) {
		loads := r.load(t)
		<-time.After(time.Second)
		do(t)
		<-time.After(time.Second)
		for i, l := range loads {
			l.atMost(t, fmt.Sprintf("%s, at %s", what, r.Options.shopAddresses()[i]), lost)
		}
	})
}

// rolls restarts what a namespace has of some kind and name, and waits until that is done.
func (r road) rolls(namespace string, names ...string) func(t *testing.T) {
	return func(t *testing.T) {
		t.Helper()
		r.Kubectl(t, "", append([]string{"-n", namespace, "rollout", "restart"}, names...)...)
		for _, name := range names {
			r.Kubectl(t, "", "-n", namespace, "rollout", "status", name, "--timeout=180s")
		}
	}
}

// upgrade installs the chart with other values, so that all pods are replaced, and goes back.
func (r road) upgrade(t *testing.T) {
	t.Helper()
	var values []string
	for _, group := range []string{"controller", "gateway", "dns", "network"} {
		values = append(values, group+".podAnnotations.lab=again")
	}
	r.Helm(t, "helm4", "upgrade", "fairway", r.Chart(), "--namespace", "fairway-system", "--reset-then-reuse-values",
		"--set", strings.Join(values, ","), "--wait", "--timeout", "5m")
	r.Helm(t, "helm4", "rollback", "fairway", "1", "--namespace", "fairway-system", "--wait", "--timeout", "5m")
}

// replaceCertificate removes the shop's certificate, and waits until another is served.
func (r road) replaceCertificate(t *testing.T) {
	t.Helper()
	serial := func() string {
		said, _ := r.Machine(clientName).TryExec(t.Context(), "sh", "-c",
			fmt.Sprintf("openssl s_client -connect %[1]s:443 -servername %[1]s </dev/null 2>/dev/null | openssl x509 -noout -serial", ShopHost))
		return strings.TrimSpace(said)
	}
	before := serial()
	if before == "" {
		t.Fatal("the certificate cannot be read")
	}
	r.Kubectl(t, "", "-n", "shop", "delete", "secret", "shop-tls")
	r.eventually(t, "another certificate is served", func() bool { now := serial(); return now != "" && now != before })
}

// holders are the nodes that answer for the shop's addresses, one of each family.
func (r road) holders(t *testing.T) []string {
	t.Helper()
	var all []string
	for _, address := range r.Options.shopAddresses() {
		said := r.Kubectl(t, "", "get", "leases", "-n", "kube-system", "-l", "fairway.dev/lease", "-o",
			"jsonpath={range .items[*]}{.metadata.annotations}{\"\\t\"}{.spec.holderIdentity}{\"\\n\"}{end}")
		for line := range strings.Lines(said) {
			if text, holder, _ := strings.Cut(strings.TrimSpace(line), "\t"); strings.Contains(text, `"`+address.String()+`"`) {
				all = append(all, holder)
			}
		}
	}
	return all
}

// TestTheWholeRoad is a lab as users get it by one install of the chart: clients outside call a shop through all of
// Fairway, while everything on the way is replaced, killed or off. `make e2e` runs it.
func TestTheWholeRoad(t *testing.T) {
	before := look(t)
	l := Start(t, Options{Nodes: 2, Families: DualStack, Fairway: Everything, Shop: true})
	remember(t, l)
	r := road{l}
	// The first node that was Ready got all pods.
	r.rolls("fairway-system", "deployment/fairway-gateway", "deployment/fairway-controller")(t)
	r.rolls("kube-system", "deployment/fairway-dns")(t)

	t.Run("backends see their clients' addresses", func(t *testing.T) {
		for i, want := range l.Options.addresses(0, clientHost) {
			said := l.Machine(clientName).Exec(t, "curl", "-sS", "--cacert", ShopRoots, "--resolve", fmt.Sprintf("%s:443:%s", ShopHost, l.Options.shopAddresses()[i]), "https://"+ShopHost+"/")
			var answer struct{ Header map[string][]string }
			if err := json.Unmarshal([]byte(said), &answer); err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(answer.Header["X-Forwarded-For"], " "); got != want.String() {
				t.Errorf("the backend sees %s, want %s", got, want)
			}
		}
	})
	r.under(t, "backends roll", 0, r.rolls("shop", "deployment/shop", "deployment/cart"))
	r.under(t, "gateways roll", 0, r.rolls("fairway-system", "deployment/fairway-gateway"))
	r.under(t, "controllers roll", 0, r.rolls("fairway-system", "deployment/fairway-controller"))
	r.under(t, "agents roll", 0, r.rolls("kube-system", "daemonset/fairway-node"))
	r.under(t, "DNS rolls", 0, r.rolls("kube-system", "deployment/fairway-dns"))
	r.under(t, "the chart is upgraded and rolled back", 0, r.upgrade)
	r.under(t, "the leader is killed", 0, func(t *testing.T) {
		holder := l.Kubectl(t, "", "-n", "fairway-system", "get", "lease", "fairway-controller", "-o", "jsonpath={.spec.holderIdentity}")
		leader, _, _ := strings.Cut(holder, "_")
		l.Kubectl(t, "", "-n", "fairway-system", "delete", "pod", leader, "--grace-period=0", "--force")
		l.Kubectl(t, "", "-n", "fairway-system", "rollout", "status", "deployment/fairway-controller", "--timeout=120s")
	})
	r.under(t, "the certificate is replaced", 0, r.replaceCertificate)
	r.under(t, "the API server is away", 0, func(t *testing.T) {
		l.stopAPIServer(t)
		<-time.After(awayFor)
		l.startAPIServer(t)
	})
	// Nobody answers for 5 s at most; and of the endpoints, in gateways and behind them, those that died get their
	// share until Envoy, or Kubernetes, notices.
	r.under(t, "the node that answers dies", 5*50+20*50/2, func(t *testing.T) {
		holders := r.holders(t)
		t.Logf("nodes that answer: %v", holders)
		began := time.Now()
		l.Machine(holders[0]).Kill(t)
		l.eventually(t, "other nodes answer", func() bool {
			now := r.holders(t)
			return len(now) == len(holders) && !strings.Contains(strings.Join(now, " "), holders[0])
		})
		t.Logf("others answer after %.1f s", time.Since(began).Seconds())
		<-time.After(25 * time.Second)
		l.Machine(holders[0]).Boot(t)
		l.Kubectl(t, "", "wait", "--for=condition=Ready", "node/"+holders[0], "--timeout=120s")
		<-time.After(5 * time.Second)
	})
	r.under(t, "nothing happens", 0, func(*testing.T) { <-time.After(5 * time.Second) })
	t.Run("all lose power", func(t *testing.T) {
		for _, name := range l.Options.nodeNames() {
			l.Machine(name).Kill(t)
		}
		<-time.After(2 * time.Second)
		began := time.Now()
		for _, name := range l.Options.nodeNames() {
			l.Machine(name).Boot(t)
		}
		for _, family := range []string{"--ipv4", "--ipv6"} {
			l.eventually(t, "the shop is served again", func() bool {
				_, err := l.Machine(clientName).TryExec(t.Context(), "curl", "-sSf", "--max-time", "2", family, "--cacert", ShopRoots, "https://"+ShopHost+"/cart")
				return err == nil
			})
		}
		t.Logf("the shop is served again after %.1f s", time.Since(began).Seconds())
		l.Kubectl(t, "", "wait", "--for=condition=Ready", "node", "--all", "--timeout=120s")
	})
	remember(t, l)
	l.end(t, before)
}
