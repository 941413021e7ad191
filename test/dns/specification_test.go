package dns

import (
	"strings"
	"testing"

	"github.com/miekg/dns"

	"github.com/fairwaynet/fairway/test/nameserver"
)

// objects are those of the table. There is no controller: EndpointSlices are as controllers write them.
const objects = `
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec:
  clusterIP: 10.96.1.1
  ports: [{name: http, port: 80}, {name: game, port: 7777, protocol: UDP}]
---
apiVersion: v1
kind: Service
metadata: {name: both, namespace: shop}
spec:
  ipFamilyPolicy: RequireDualStack
  clusterIP: 10.96.1.2
  clusterIPs: [10.96.1.2, "fd00:10:96::102"]
  ports: [{name: http, port: 80}]
---
apiVersion: v1
kind: Service
metadata: {name: db, namespace: shop}
spec:
  clusterIP: None
  ports: [{name: sql, port: 5432}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: db-4, namespace: shop, labels: {kubernetes.io/service-name: db}}
addressType: IPv4
ports: [{name: sql, port: 15432, protocol: TCP}]
endpoints:
  - {addresses: [10.200.0.5], hostname: db-0, conditions: {ready: true}}
  - {addresses: [10.200.0.6], conditions: {ready: true}}
  - {addresses: [10.200.0.7], hostname: db-2, conditions: {ready: false}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: db-6, namespace: shop, labels: {kubernetes.io/service-name: db}}
addressType: IPv6
ports: [{name: sql, port: 15432, protocol: TCP}]
endpoints:
  - {addresses: ["fd00:10:200::5"], hostname: db-0, conditions: {ready: true}}
---
apiVersion: v1
kind: Service
metadata: {name: bare, namespace: shop}
spec: {clusterIP: None}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: bare-4, namespace: shop, labels: {kubernetes.io/service-name: bare}}
addressType: IPv4
ports: []
endpoints: [{addresses: [10.200.0.9], conditions: {ready: true}}]
---
apiVersion: v1
kind: Service
metadata: {name: nobody, namespace: shop}
spec:
  clusterIP: None
  ports: [{name: sql, port: 5432}]
---
apiVersion: v1
kind: Service
metadata: {name: elsewhere, namespace: shop}
spec: {type: ExternalName, externalName: www.outside.test}
---
apiVersion: v1
kind: Service
metadata: {name: inside, namespace: shop}
spec: {type: ExternalName, externalName: web.shop.svc.cluster.local}
`

// The Kubernetes DNS specification, schema version 1.1
// (https://github.com/kubernetes/dns/blob/master/docs/specification.md), and what clients rely on besides.
// "." at the end is left out; names without one are below cluster.local.
func TestTheSpecification(t *testing.T) {
	outside := nameserver.Start(t, "127.0.0.1:0", "outside.test", nil)
	outside.Add(t, "@ 60 IN SOA ns. me. 1 60 60 60 300", "www 60 IN A 192.0.2.1", "www 60 IN AAAA 2001:db8::1")
	c := startCluster(t)
	c.Kubectl(t, objects, "apply", "-f", "-")
	s := serve(t, c, "--upstream="+outside.Address.String()).up(t)
	for _, test := range []struct{ what, name, kind, want string }{
		{"2.2 the version of the schema", "dns-version", "TXT", "1.1.0"},
		{"2.3.1 a cluster IP", "web.shop.svc", "A", "10.96.1.1"},
		{"2.3.1 no address of the other family", "web.shop.svc", "AAAA", "NODATA"},
		{"2.3.1 two families", "both.shop.svc", "A", "10.96.1.2"},
		{"2.3.1 two families", "both.shop.svc", "AAAA", "fd00:10:96::102"},
		{"letters of any case", "WEB.Shop.SVC", "A", "10.96.1.1"},
		{"2.3.2 a named port", "_http._tcp.web.shop.svc", "SRV", "80 web.shop.svc.cluster.local."},
		{"2.3.2 a named port of UDP", "_game._udp.web.shop.svc", "SRV", "7777 web.shop.svc.cluster.local."},
		{"2.3.2 another protocol's port", "_http._udp.web.shop.svc", "SRV", "NXDOMAIN"},
		{"2.3.2 no such port", "_ftp._tcp.web.shop.svc", "SRV", "NXDOMAIN"},
		{"2.3.3 back from a cluster IP", "1.1.96.10.in-addr.arpa.", "PTR", "web.shop.svc.cluster.local."},
		{"2.3.3 back from a cluster IP of IPv6", arpa("fd00:10:96::102"), "PTR", "both.shop.svc.cluster.local."},
		{"2.4.1 headless: the ready endpoints", "db.shop.svc", "A", "10.200.0.5, 10.200.0.6"},
		{"2.4.1 headless, IPv6", "db.shop.svc", "AAAA", "fd00:10:200::5"},
		{"2.4.1 a pod's hostname", "db-0.db.shop.svc", "A", "10.200.0.5"},
		{"2.4.1 a pod's hostname, IPv6", "db-0.db.shop.svc", "AAAA", "fd00:10:200::5"},
		{"2.4.1 a pod without a hostname", "10-200-0-6.db.shop.svc", "A", "10.200.0.6"},
		{"2.4.1 a pod that is not ready", "db-2.db.shop.svc", "A", "NXDOMAIN"},
		{"2.4.1 headless without ports", "bare.shop.svc", "A", "10.200.0.9"},
		{"2.4.1 headless without endpoints", "nobody.shop.svc", "A", "NXDOMAIN"},
		{"2.4.2 headless: a named port", "_sql._tcp.db.shop.svc", "SRV", "15432 10-200-0-6.db.shop.svc.cluster.local., 15432 db-0.db.shop.svc.cluster.local."},
		{"2.4.3 back from a ready endpoint", "5.0.200.10.in-addr.arpa.", "PTR", "db-0.db.shop.svc.cluster.local."},
		{"2.4.3 back from one that is not", "7.0.200.10.in-addr.arpa.", "PTR", "NXDOMAIN"},
		{"2.5 another name", "elsewhere.shop.svc", "CNAME", "-> www.outside.test."},
		{"2.5 another name, followed", "elsewhere.shop.svc", "A", "-> www.outside.test., 192.0.2.1"},
		{"2.5 another name, followed, IPv6", "elsewhere.shop.svc", "AAAA", "-> www.outside.test., 2001:db8::1"},
		{"2.5 another name of the cluster", "inside.shop.svc", "A", "-> web.shop.svc.cluster.local., 10.96.1.1"},
		{"a pod's address", "10-1-2-3.shop.pod", "A", "10.1.2.3"},
		{"a pod's address of IPv6", "fd00-10-200--5.shop.pod", "AAAA", "fd00:10:200::5"},
		{"a pod of no namespace", "10-1-2-3.nowhere.pod", "A", "NXDOMAIN"},
		{"a Service that is not there", "none.shop.svc", "A", "NXDOMAIN"},
		{"a namespace", "shop.svc", "A", "NODATA"},
		{"a namespace that is not there", "nowhere.svc", "A", "NXDOMAIN"},
		{"a name and a domain of the search path", "www.outside.test.shop.svc", "A", "NXDOMAIN"},
		{"a name and the last domain of the search path", "www.outside.test", "A", "NXDOMAIN"},
		{"a kind that no Service has", "web.shop.svc", "MX", "NODATA"},
		{"a name outside", "www.outside.test.", "A", "192.0.2.1"},
		{"a name outside that is not there", "none.outside.test.", "A", "NXDOMAIN"},
		{"back from an address outside", "1.2.0.192.in-addr.arpa.", "PTR", "NXDOMAIN"},
	} {
		t.Run(test.what+" "+test.name, func(t *testing.T) {
			name := test.name
			if !strings.HasSuffix(name, ".") {
				name += ".cluster.local."
			}
			for _, network := range []string{"udp", "tcp"} {
				answer, err := s.askBy(network, name, dns.StringToType[test.kind])
				if err != nil {
					t.Fatal(err)
				}
				if got := short(answer); got != test.want {
					t.Errorf("%s: %s %s is %s, want %s", network, test.kind, name, got, test.want)
				}
				if strings.HasSuffix(name, "cluster.local.") {
					inTime(t, answer)
				}
			}
		})
	}
	t.Run("nobody copies the zone", func(t *testing.T) {
		if got := s.says("cluster.local.", dns.TypeAXFR); got != "REFUSED" {
			t.Errorf("a transfer is answered by %s", got)
		}
	})
}

// inTime: no name of the cluster, known or unknown, is kept by anybody for more than 5 seconds. The
// version of the schema does not change.
func inTime(t *testing.T, answer *dns.Msg) {
	t.Helper()
	const most = 5
	for _, record := range append(answer.Answer, answer.Ns...) {
		if record.Header().Ttl > most && record.Header().Rrtype != dns.TypeTXT && !strings.HasSuffix(record.Header().Name, "outside.test.") {
			t.Errorf("%s may be kept for %d s", record.Header().Name, record.Header().Ttl)
		}
		if soa, is := record.(*dns.SOA); is && soa.Minttl > most {
			t.Errorf("that the name does not exist may be kept for %d s", soa.Minttl)
		}
	}
	if answer.Rcode == dns.RcodeNameError && len(answer.Ns) == 0 {
		t.Error("nothing says how long one may remember that the name does not exist")
	}
}

func arpa(address string) string {
	name, err := dns.ReverseAddr(address)
	if err != nil {
		panic(err)
	}
	return name
}
