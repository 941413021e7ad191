package install_test

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	networkingv1 "k8s.io/api/networking/v1"

	"github.com/fairwaynet/fairway/test/fairway"
	"github.com/fairwaynet/fairway/test/soak"
)

// outage is how long a part is away: longer than any lease, timeout or back-off
// that could hide what is lost with it.
var outage = soak.Pick(45*time.Second, 2*time.Minute)

// town is all that is installed, at work: two controllers, two gateways, a
// Service whose pods come and go, one of long-lived requests, and clients.
type town struct {
	*testing.T // of what happens now
	*installed

	owner       *testing.T // with which the programs end
	controllers []*process
	gateways    []*process
	pods        *pods
	clients     fairway.Installation // its loads
	load        *fairway.Load
	made        int // Ingresses
}

// No request is lost, and no long-lived one ends, whatever happens to the installation.
func TestNothingIsLost(t *testing.T) {
	w := &town{T: t, installed: install(t), owner: t}
	w.balance(t)
	for _, pod := range []string{"controller-a", "controller-b"} {
		w.controllers = append(w.controllers, w.startController(t, pod))
	}
	for _, pod := range []string{"gateway-a", "gateway-b"} {
		w.gateways = append(w.gateways, w.startGateway(t, pod))
	}
	w.pods = newPods(t, w.installed, "shop", 3)
	fairway.Serve(t, "10.77.2.1", fairway.BackendPort, http.HandlerFunc(clock))
	shop, clock := fairway.Ingress("shop", "fairway", "shop.test", "/", "shop"), fairway.Ingress("clock", "fairway", "clock.test", "/", "clock")
	w.create(t, fairway.Service("clock"), fairway.Slice("clock", "10.77.2.1"), shop, clock)
	// Who shows an address is served, by both.
	fairway.Eventually(t, patience, w.shows(shop, address))
	fairway.Eventually(t, patience, w.shows(clock, address))

	for _, event := range []struct {
		name string
		what func(*town)
		ends bool // connections, when their time to drain is over
	}{
		{name: "pods roll", what: podsRoll},
		{name: "configuration churns", what: churn},
		{name: "leader killed", what: leaderKilled},
		{name: "controllers upgraded", what: controllersUpgraded},
		{name: "certificates rotated", what: certificatesRotated},
		{name: "gateway replaced", what: gatewayReplaced, ends: true},
		{name: "controllers away", what: controllersAway},
		{name: "API server away", what: apiServerAway},
	} {
		t.Run(event.name, func(t *testing.T) {
			w.T = t
			long := startLasting(t, "clock.test")
			load := w.clients.StartLoad(t, "shop.test", "/")
			w.load = load
			fairway.Eventually(t, patience, load.Reaches("shop", 100))
			event.what(w)
			w.changeArrives()
			fairway.Eventually(t, patience, load.Reaches("shop", 100))
			if event.ends {
				if tally := load.Stop(); tally.Failures > 0 {
					t.Errorf("%d of %d requests failed, first %v", tally.Failures, tally.Sent, tally.Failed[0])
				}
				return
			}
			load.StopClean()
			for _, l := range long {
				l.survived(t)
			}
		})
	}
}

// changeArrives checks that the installation works as it did: a new Ingress is served,
// and shows its address.
func (w *town) changeArrives() {
	w.Helper()
	w.made++
	host := fmt.Sprintf("new-%d.test", w.made)
	ingress := fairway.Ingress(fmt.Sprintf("new-%d", w.made), "fairway", host, "/", "shop")
	w.create(w.T, ingress)
	fairway.Eventually(w, patience, fairway.Answers(host, "/", "shop"))
	fairway.Eventually(w, patience, w.shows(ingress, address))
}

func podsRoll(w *town) {
	for range 2 * len(w.pods.slice.Endpoints) {
		w.pods.replace()
	}
}

// churned is the number of changes that churn makes.
var churned = soak.Pick(80, 200)

// churn is 20 changes a second of other hosts.
func churn(w *town) {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	var there []*networkingv1.Ingress
	for n := range churned {
		ingress := fairway.Ingress(fmt.Sprintf("churn-%d", n), "fairway", fmt.Sprintf("churn-%d.test", n), "/", "shop")
		w.create(w.T, ingress)
		there = append(there, ingress)
		if len(there) > 20 {
			if err := w.client.Delete(w.Context(), there[0]); err != nil {
				w.Fatal(err)
			}
			there = there[1:]
		}
		<-tick.C
	}
}

// leader is the controller that holds the Lease.
func (w *town) leader() *process {
	w.Helper()
	holder := w.Kubectl(w, "", "get", "lease", "fairway-controller", "-n", namespace, "-o", "jsonpath={.spec.holderIdentity}")
	for _, p := range w.controllers {
		if strings.HasPrefix(holder, p.pod) {
			return p
		}
	}
	w.Fatalf("the leader is %q, which is none of ours", holder)
	return nil
}

func leaderKilled(w *town) {
	leader := w.leader()
	leader.Kill()
	w.changeArrives()
	w.restart(w.owner, leader)
}

// controllersUpgraded replaces one after the other, as the Deployment does; the
// new version renders every cluster anew.
func controllersUpgraded(w *town) {
	for _, p := range w.controllers {
		if err := p.Stop(w, patience); err != nil {
			w.Errorf("%s after SIGTERM: %v", p.pod, err)
		}
		w.restart(w.owner, p, "--connect-timeout=3s")
		w.changeArrives()
	}
}

func certificatesRotated(w *town) {
	w.Kubectl(w, "", "delete", "secret", "-n", namespace, "fairway-controller-tls", "fairway-gateway-default")
	w.changeArrives()
	for _, name := range []string{"fairway-controller-tls", "fairway-gateway-default"} {
		w.Kubectl(w, "", "wait", "--for=create", "--timeout=30s", "secret/"+name, "-n", namespace)
	}
}

// gatewayReplaced drains a gateway when the next one is ready. Here both listen
// at one address, where the kernel would cut off a connection that waits to be
// accepted when a listener closes; pods have an address each.
func gatewayReplaced(w *town) {
	if err := os.WriteFile("/proc/sys/net/ipv4/tcp_migrate_req", []byte("1"), 0o600); err != nil {
		w.Fatal(err)
	}
	next := w.startGateway(w.owner, "gateway-c")
	old := w.gateways[0]
	if err := old.Stop(w, 2*time.Minute); err != nil {
		w.Errorf("%s after SIGTERM: %v", old.pod, err)
	}
	w.gateways[0] = next
}

func controllersAway(w *town) {
	for _, p := range w.controllers {
		p.Kill()
	}
	fairway.Throughout(w, outage, w.load.Unharmed)
	for _, p := range w.controllers {
		w.restart(w.owner, p)
	}
}

func apiServerAway(w *town) {
	for _, p := range w.controllers {
		// A starting API server knows nobody's rights for a moment.
		p.Tolerate("Failed to watch", "Error retrieving lease lock", "cut off from the API server")
	}
	w.StopAPIServer()
	fairway.Throughout(w, outage, w.load.Unharmed)
	if err := w.StartAPIServer(); err != nil {
		w.Fatal(err)
	}
	// Watches that failed for so long would be tried again after up to a minute.
	host := "back.test"
	w.create(w.T, fairway.Ingress("back", "fairway", host, "/", "shop"))
	fairway.Eventually(w, patience/2, fairway.Answers(host, "/", "shop"))
}
