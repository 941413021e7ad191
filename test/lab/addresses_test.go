//go:build lab && network

package lab

import (
	"net"
	"strings"
	"testing"
	"time"
)

// balanced is a pool of addresses in the network of the client, and a Service of pod one.
const balanced = `
apiVersion: fairway.dev/v1alpha1
kind: AddressPool
metadata: {name: lab}
spec: {addresses: [172.30.0.230-172.30.0.239, "fd00:30::e0-fd00:30::ef"]}
---
apiVersion: v1
kind: Service
metadata: {name: shop}
spec:
  type: LoadBalancer
  ipFamilyPolicy: RequireDualStack
  externalTrafficPolicy: Local
  selector: {app: one}
  ports: [{port: 80, targetPort: 8080}]
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: shop}
spec:
  ingressClassName: fairway
  rules: [{http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: shop, port: {number: 80}}}}]}}]
`

// TestAddresses is a lab with all that Fairway has, whose client outside reaches pods and
// gateways at addresses of a pool, which it finds by ARP and neighbour discovery alone.
func TestAddresses(t *testing.T) {
	before := look(t)
	l := Start(t, Options{Nodes: 2, Families: DualStack, Fairway: Everything, CoreDNS: true})
	remember(t, l)
	l.Kubectl(t, echoPod("one", "n1")+balanced, "apply", "-f", "-")
	l.Kubectl(t, "", "label", "pod", "one", "app=one", "--overwrite")
	l.waitFor(t, "--for=condition=Ready", "pod", "one")

	addresses := func(service, namespace string) []string {
		t.Helper()
		var all []string
		l.eventually(t, service+" has addresses", func() bool {
			all = strings.Fields(l.Kubectl(t, "", "get", "service", service, "-n", namespace, "-o", "jsonpath={.status.loadBalancer.ingress[*].ip}"))
			return len(all) > 0
		})
		return all
	}
	own := map[bool]string{false: "172.30.0.200", true: "fd00:30::c8"}
	for _, address := range addresses("shop", "default") {
		url := "http://" + net.JoinHostPort(address, "80")
		l.eventually(t, url+" answers", func() bool {
			_, err := l.Machine("client").TryExec(t.Context(), l.path("echo"), "get", url)
			return err == nil
		})
		said := l.Machine("client").Exec(t, l.path("echo"), "get", url)
		if server, client := parseAnswer(t, said); server != "one" || client != own[strings.Contains(address, ":")] {
			t.Errorf("%s: %s answered and saw %s", url, server, client)
		}
	}
	gateway := strings.Fields(l.Kubectl(t, "", "get", "services", "-n", "fairway-system", "-l", "app.kubernetes.io/component=gateway", "-o", "name"))[0]
	l.Kubectl(t, "", "patch", gateway, "-n", "fairway-system", "--type=merge", "-p", `{"spec":{"type":"LoadBalancer"}}`)
	began := time.Now()
	address := addresses(strings.TrimPrefix(gateway, "service/"), "fairway-system")[0]
	l.eventually(t, "the Ingress answers at "+address, func() bool {
		_, err := l.Machine("client").TryExec(t.Context(), l.path("echo"), "get", "http://"+net.JoinHostPort(address, "80")+"/")
		return err == nil
	})
	t.Logf("the gateway has %s, and the Ingress answers there, %.1f s after it asked", address, time.Since(began).Seconds())
	t.Log(l.Kubectl(t, "", "get", "leases", "-n", "kube-system", "-l", "fairway.dev/lease"))
	if err := l.Down(); err != nil {
		t.Fatal(err)
	}
	before.compare(t)
}
