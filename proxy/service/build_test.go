package service_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/fairwaynet/fairway/proxy/service"
)

// Endpoints of most tests: two of this node, one of another.
var (
	here  = "10.244.1.1 n1 ready"
	here2 = "10.244.1.2 n1 ready"
	away  = "10.244.2.1 n2 ready"
)

type buildCase struct {
	name   string
	object *corev1.Service
	slices []*discoveryv1.EndpointSlice
	node   func(*service.Node)
	want   string
	// problems are "reason field: message", of which each wanted one is a part.
	problems []string
}

func one(endpoints ...string) []*discoveryv1.EndpointSlice {
	return []*discoveryv1.EndpointSlice{slice(1, endpoints...)}
}

// holds runs cases.
func holds(t *testing.T, cases []buildCase) {
	t.Helper()
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			n := node()
			if c.node != nil {
				c.node(&n)
			}
			built, problems := service.Build(c.object, c.slices, n)
			if diff := cmp.Diff(lines(c.want), say(built)); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
			if len(problems) != len(c.problems) {
				t.Errorf("%d problems, want %d: %v", len(problems), len(c.problems), problems)
			}
			for i, want := range c.problems[:min(len(c.problems), len(problems))] {
				if got := fmt.Sprintf("%s %s: %s", problems[i].Reason, problems[i].Field, problems[i].Message); !strings.Contains(got, want) {
					t.Errorf("problem %q, want %q", got, want)
				}
			}
			reversed := slices.Clone(c.slices)
			slices.Reverse(reversed)
			if again, _ := service.Build(c.object, reversed, n); !cmp.Equal(say(again), say(built)) {
				t.Errorf("the other order of slices gives\n%s", say(again))
			}
		})
	}
}

func TestServicesWithoutAddressesHere(t *testing.T) {
	holds(t, []buildCase{
		{name: "no object", want: "nothing"},
		{name: "headless", object: object(func(s *corev1.Service) { s.Spec.ClusterIP, s.Spec.ClusterIPs = "None", []string{"None"} }), slices: one(here), want: "nothing"},
		{name: "not yet allocated", object: object(func(s *corev1.Service) { s.Spec.ClusterIP, s.Spec.ClusterIPs = "", nil }), slices: one(here), want: "nothing"},
		{name: "a name of something outside", object: object(func(s *corev1.Service) {
			s.Spec.Type, s.Spec.ExternalName = corev1.ServiceTypeExternalName, "example.org"
		}), slices: one(here), want: "nothing"},
		{name: "another proxy's", object: object(func(s *corev1.Service) {
			s.Labels = map[string]string{"service.kubernetes.io/service-proxy-name": "other"}
		}), slices: one(here), want: "nothing"},
	})
}

func TestEndpointsOfThePolicyCluster(t *testing.T) {
	holds(t, []buildCase{
		{name: "all ready ones", object: object(), slices: one(here, away), want: `
			tcp all 10.244.1.1:8080* 10.244.2.1:8080
			  10.96.0.1:80/tcp all`},
		{name: "none at all: refused", object: object(), want: `
			tcp
			  10.96.0.1:80/tcp refuse`},
		{name: "none ready: refused", object: object(), slices: one("10.244.1.1 n1 unready", "10.244.2.1 n2 gone"), want: `
			tcp
			  10.96.0.1:80/tcp refuse`},
		{name: "none ready: those that leave and still serve", object: object(), slices: one("10.244.1.1 n1 unready", "10.244.2.1 n2 leaving", "10.244.2.2 n2 gone"), want: `
			tcp all 10.244.2.1:8080
			  10.96.0.1:80/tcp all`},
		{name: "one ready: none that leaves", object: object(), slices: one("10.244.1.1 n1 leaving", away), want: `
			tcp all 10.244.2.1:8080
			  10.96.0.1:80/tcp all`},
		{name: "published though not ready", object: object(), slices: one("10.244.1.1 n1 published"), want: `
			tcp all 10.244.1.1:8080*
			  10.96.0.1:80/tcp all`},
		{name: "a slice that says nothing of conditions", object: object(), slices: one("10.244.1.1 n1"), want: `
			tcp all 10.244.1.1:8080*
			  10.96.0.1:80/tcp all`},
		{name: "not ready, terminating, and nothing said of serving: it serves", object: object(), slices: func() []*discoveryv1.EndpointSlice {
			all := one("10.244.1.1 n1 leaving")
			all[0].Endpoints[0].Conditions.Serving = nil
			return all
		}(), want: `
			tcp all 10.244.1.1:8080*
			  10.96.0.1:80/tcp all`},
		{name: "a node port, and a load balancer", object: object(nodePort, balancer("203.0.113.1")), slices: one(here, away), want: `
			tcp all 10.244.1.1:8080* 10.244.2.1:8080
			  10.96.0.1:80/tcp all
			  203.0.113.1:80/tcp all
			  node port 30080/tcp all`},
		{name: "a node port without endpoints", object: object(nodePort, balancer("203.0.113.1")), want: `
			tcp
			  10.96.0.1:80/tcp refuse
			  203.0.113.1:80/tcp refuse
			  node port 30080/tcp refuse`},
	})
}

func TestEndpointsOfThePolicyLocal(t *testing.T) {
	holds(t, []buildCase{
		{name: "inside: those of this node", object: object(internalLocal), slices: one(here, here2, away), want: `
			tcp local 10.244.1.1:8080* 10.244.1.2:8080*
			  10.96.0.1:80/tcp local`},
		{name: "inside: only elsewhere: dropped", object: object(internalLocal), slices: one(away), want: `
			tcp
			  10.96.0.1:80/tcp drop`},
		{name: "inside: only elsewhere, and leaving: dropped", object: object(internalLocal), slices: one("10.244.2.1 n2 leaving"), want: `
			tcp
			  10.96.0.1:80/tcp drop`},
		{name: "inside: nowhere: refused", object: object(internalLocal), slices: one("10.244.2.1 n2 gone", "10.244.1.1 n1 unready"), want: `
			tcp
			  10.96.0.1:80/tcp refuse`},
		{name: "inside: here only leaving ones, elsewhere ready ones", object: object(internalLocal), slices: one("10.244.1.1 n1 leaving", away), want: `
			tcp local 10.244.1.1:8080*
			  10.96.0.1:80/tcp local`},
		{name: "outside: those of this node, and inside all", object: object(nodePort, externalLocal), slices: one(here, away), want: `
			tcp all 10.244.1.1:8080* 10.244.2.1:8080 local 10.244.1.1:8080*
			  10.96.0.1:80/tcp all
			  node port 30080/tcp inside all, outside local, masquerades the node`},
		{name: "outside: only elsewhere: dropped, and inside all", object: object(nodePort, externalLocal), slices: one(away), want: `
			tcp all 10.244.2.1:8080
			  10.96.0.1:80/tcp all
			  node port 30080/tcp inside all, outside drop, masquerades the node`},
		{name: "outside: here only leaving ones", object: object(nodePort, externalLocal), slices: one("10.244.1.1 n1 leaving", away), want: `
			tcp all 10.244.2.1:8080 local 10.244.1.1:8080*
			  10.96.0.1:80/tcp all
			  node port 30080/tcp inside all, outside local, masquerades the node`},
		{name: "outside: nowhere: refused", object: object(nodePort, externalLocal), want: `
			tcp
			  10.96.0.1:80/tcp refuse
			  node port 30080/tcp refuse, masquerades the node`},
		{name: "both", object: object(nodePort, internalLocal, externalLocal), slices: one(here, away), want: `
			tcp all 10.244.1.1:8080* 10.244.2.1:8080 local 10.244.1.1:8080*
			  10.96.0.1:80/tcp local
			  node port 30080/tcp inside all, outside local, masquerades the node`},
		{name: "both, only elsewhere", object: object(nodePort, internalLocal, externalLocal), slices: one(away), want: `
			tcp all 10.244.2.1:8080
			  10.96.0.1:80/tcp drop
			  node port 30080/tcp inside all, outside drop, masquerades the node`},
		{name: "outside, and there is no address outside", object: object(externalLocal), slices: one(here, away), want: `
			tcp all 10.244.1.1:8080* 10.244.2.1:8080
			  10.96.0.1:80/tcp all`},
	})
}

func TestHints(t *testing.T) {
	const two = "\n\t  10.96.0.1:80/tcp all"
	holds(t, []buildCase{
		{name: "for this zone", object: object(), slices: one(here+" zone=a", away+" zone=b"), want: "tcp all 10.244.1.1:8080*" + two},
		{name: "for several zones", object: object(), slices: one(here+" zone=b", away+" zone=b zone=a"), want: "tcp all 10.244.2.1:8080" + two},
		{name: "one has none: they do not count", object: object(), slices: one(here+" zone=a", away), want: "tcp all 10.244.1.1:8080* 10.244.2.1:8080" + two},
		{name: "one that is not ready has none: they count", object: object(), slices: one(here+" zone=a", away+" zone=b", "10.244.2.2 n2 unready"), want: "tcp all 10.244.1.1:8080*" + two},
		{name: "none for this zone: they do not count", object: object(), slices: one(here+" zone=b", away+" zone=c"), want: "tcp all 10.244.1.1:8080* 10.244.2.1:8080" + two},
		{name: "the only one for this zone is not ready", object: object(), slices: one("10.244.1.1 n1 unready zone=a", away+" zone=b"), want: "tcp all 10.244.2.1:8080" + two},
		{name: "the node has no zone", object: object(), node: func(n *service.Node) { n.Zone = "" }, slices: one(here+" zone=a", away+" zone=b"), want: "tcp all 10.244.1.1:8080* 10.244.2.1:8080" + two},
		{name: "none ready: those that leave, of any zone", object: object(), slices: one("10.244.1.1 n1 leaving zone=b", "10.244.2.1 n2 leaving zone=c"), want: "tcp all 10.244.1.1:8080* 10.244.2.1:8080" + two},
		{name: "for this node", object: object(), slices: one(here+" node=n1 zone=a", here2+" node=n3 zone=a", away+" node=n2 zone=b"), want: "tcp all 10.244.1.1:8080*" + two},
		{name: "for other nodes: the zone's", object: object(), slices: one(here+" node=n3 zone=a", away+" node=n2 zone=b"), want: "tcp all 10.244.1.1:8080*" + two},
		{name: "one has none for a node: the zone's", object: object(), slices: one(here+" zone=b", away+" node=n1 zone=a"), want: "tcp all 10.244.2.1:8080" + two},
		{name: "for other nodes and zones: all", object: object(), slices: one(here+" node=n3 zone=c", away+" node=n2 zone=b"), want: "tcp all 10.244.1.1:8080* 10.244.2.1:8080" + two},
		{name: "Local does not look at them", object: object(nodePort, externalLocal), slices: one(here+" zone=b", away+" zone=a"), want: `
			tcp all 10.244.2.1:8080 local 10.244.1.1:8080*
			  10.96.0.1:80/tcp all
			  node port 30080/tcp inside all, outside local, masquerades the node`},
	})
}

func TestAddressesOutside(t *testing.T) {
	const first = "tcp all 10.244.1.1:8080*\n\t  10.96.0.1:80/tcp all"
	reserved := func(name, field, address, why string, changes ...change) buildCase {
		return buildCase{name: name, object: object(changes...), slices: one(here), want: first, problems: []string{
			fmt.Sprintf("AddressReserved %s: %s %s", field, address, why),
		}}
	}
	const ingress, external = "status.loadBalancer.ingress[0].ip", "spec.externalIPs[0]"
	holds(t, []buildCase{
		{name: "a load balancer that is a proxy needs nothing", object: object(balancer("203.0.113.1"), func(s *corev1.Service) {
			s.Status.LoadBalancer.Ingress[0].IPMode = pointer(corev1.LoadBalancerIPModeProxy)
		}), slices: one(here), want: first},
		{name: "one that says it sends packets as they are", object: object(balancer("203.0.113.1"), func(s *corev1.Service) {
			s.Status.LoadBalancer.Ingress[0].IPMode = pointer(corev1.LoadBalancerIPModeVIP)
		}), slices: one(here), want: first + "\n\t  203.0.113.1:80/tcp all"},
		{name: "one that has a name", object: object(balancer(""), func(s *corev1.Service) {
			s.Status.LoadBalancer.Ingress[0].Hostname = "lb.example.org"
		}), slices: one(here), want: first},
		{name: "twice the same, and as external IP", object: object(balancer("203.0.113.1", "203.0.113.1", "203.0.113.2"), externalIPs("203.0.113.2", "203.0.113.3")), slices: one(here), want: first + `
			  203.0.113.1:80/tcp all
			  203.0.113.2:80/tcp all
			  203.0.113.3:80/tcp all`},
		{name: "the other family's do not count", object: object(balancer("2001:db8:f::1"), externalIPs("2001:db8:f::2")), slices: one(here), want: first},
		{name: "with zeros before the number, as old objects have them", object: object(externalIPs("203.000.113.010")), slices: one(here), want: first + "\n\t  203.0.113.10:80/tcp all"},
		{name: "what is no address", object: object(balancer("nowhere", "203.0.113.1"), externalIPs("fe80::1%eth0", "")), slices: one(here), want: first + "\n\t  203.0.113.1:80/tcp all"},
		{name: "no node port is allocated", object: object(balancer("203.0.113.1"), externalLocal), slices: one(here), want: `
			tcp all 10.244.1.1:8080* local 10.244.1.1:8080*
			  10.96.0.1:80/tcp all
			  203.0.113.1:80/tcp inside all, outside local, masquerades the node`},
		{name: "external IPs are not served unless asked for", object: object(externalIPs("203.0.113.1", "203.0.113.2"), dual), slices: one(here), node: func(n *service.Node) { n.ExternalIPs = false }, want: first + `
			tcp
			  [fd00:96::1]:80/tcp refuse`, problems: []string{"ExternalIPsNotServed spec.externalIPs: "}},
		{name: "external IPs of the policy Local", object: object(externalIPs("203.0.113.1"), externalLocal), slices: one(away), want: `
			tcp all 10.244.2.1:8080
			  10.96.0.1:80/tcp all
			  203.0.113.1:80/tcp inside all, outside drop, masquerades the node`},
		reserved("a node's", ingress, "198.51.100.1", "is that of Node n1", balancer("198.51.100.1")),
		reserved("a node's as external IP", external, "198.51.100.1", "is that of Node n1", externalIPs("198.51.100.1")),
		reserved("a pod's", ingress, "10.244.7.7", "is one of pods", balancer("10.244.7.7")),
		reserved("another's cluster IP", external, "10.96.0.10", "is in the range of cluster IPs", externalIPs("10.96.0.10")),
		reserved("loopback", ingress, "127.0.0.1", "is no address", balancer("127.0.0.1")),
		reserved("nobody's", external, "0.0.0.0", "is no address", externalIPs("0.0.0.0")),
		reserved("a group's", external, "224.0.0.1", "is no address", externalIPs("224.0.0.1")),
		reserved("of one link", external, "169.254.169.254", "is no address", externalIPs("169.254.169.254")),
		reserved("in IPv6 notation", external, "198.51.100.1", "is that of Node n1", externalIPs("::ffff:198.51.100.1")),
		{name: "its own cluster IP, in a range that nobody knows", object: object(externalIPs("10.96.0.1")), slices: one(here), want: first,
			node:     func(n *service.Node) { n.Reserved.Services = nil },
			problems: []string{"AddressReserved spec.externalIPs[0]: 10.96.0.1 is the Service's own cluster IP"}},
	})
}

func TestSourceRanges(t *testing.T) {
	const first = "tcp all 10.244.1.1:8080*\n\t  10.96.0.1:80/tcp all\n\t  203.0.113.1:80/tcp all"
	with := func(texts ...string) *corev1.Service { return object(balancer("203.0.113.1"), sourceRanges(texts...)) }
	holds(t, []buildCase{
		{name: "none: everybody", object: with(), slices: one(here), want: first},
		{name: "two, and the address itself, which a node may call itself", object: with("192.0.2.0/24", "198.51.100.7/32"), slices: one(here),
			want: first + ", from [192.0.2.0/24 198.51.100.7/32 203.0.113.1/32]"},
		{name: "spaces", object: with(" 192.0.2.0/24 ", "\t198.51.100.7/32"), slices: one(here),
			want: first + ", from [192.0.2.0/24 198.51.100.7/32 203.0.113.1/32]"},
		{name: "bits behind the length", object: with("192.0.2.77/24"), slices: one(here), want: first + ", from [192.0.2.0/24 203.0.113.1/32]"},
		{name: "all: everybody", object: with("192.0.2.0/24", "0.0.0.0/0"), slices: one(here), want: first},
		{name: "all of the other family: nobody of this", object: with("::/0"), slices: one(here), want: first + ", from []"},
		{name: "the other family's: nobody of this", object: with("2001:db8::/32"), slices: one(here), want: first + ", from []"},
		{name: "what is no network lets nobody in", object: with("192.0.2.0/24", "192.0.2.1"), slices: one(here), want: first + ", from [192.0.2.0/24 203.0.113.1/32]",
			problems: []string{`SourceRangeInvalid spec.loadBalancerSourceRanges[1]: "192.0.2.1" is no network`}},
		{name: "only what is no network: nobody", object: with("everybody"), slices: one(here), want: first + ", from []",
			problems: []string{`SourceRangeInvalid spec.loadBalancerSourceRanges[0]: "everybody"`}},
		{name: "not for external IPs and node ports", object: object(nodePort, balancer("203.0.113.1"), externalIPs("203.0.113.9"), sourceRanges("192.0.2.0/24")), slices: one(here),
			want: first + `, from [192.0.2.0/24 203.0.113.1/32]
			  203.0.113.9:80/tcp all
			  node port 30080/tcp all`},
	})
}

func TestPortsAndFamilies(t *testing.T) {
	ports := func(all ...corev1.ServicePort) change { return func(s *corev1.Service) { s.Spec.Ports = all } }
	named := func(slice *discoveryv1.EndpointSlice, all ...discoveryv1.EndpointPort) []*discoveryv1.EndpointSlice {
		slice.Ports = all
		return []*discoveryv1.EndpointSlice{slice}
	}
	of := func(name string, protocol corev1.Protocol, port int32) discoveryv1.EndpointPort {
		return discoveryv1.EndpointPort{Name: &name, Protocol: &protocol, Port: &port}
	}
	holds(t, []buildCase{
		{name: "several, by name and protocol", object: object(ports(
			corev1.ServicePort{Name: "web", Port: 80}, corev1.ServicePort{Name: "dns", Port: 53, Protocol: corev1.ProtocolUDP},
			corev1.ServicePort{Name: "dns-tcp", Port: 53}, corev1.ServicePort{Name: "sig", Port: 2905, Protocol: corev1.ProtocolSCTP},
		)), slices: named(slice(1, here), of("dns", "UDP", 5353), of("dns-tcp", "TCP", 5354), of("web", "TCP", 8080), of("sig", "SCTP", 29050)), want: `
			tcp all 10.244.1.1:8080*
			  10.96.0.1:80/tcp all
			udp all 10.244.1.1:5353*
			  10.96.0.1:53/udp all
			tcp all 10.244.1.1:5354*
			  10.96.0.1:53/tcp all
			sctp all 10.244.1.1:29050*
			  10.96.0.1:2905/sctp all`},
		{name: "a port that pods do not have is refused", object: object(ports(corev1.ServicePort{Name: "web", Port: 80})), slices: named(slice(1, here), of("other", "TCP", 8080), of("web", "UDP", 8080)), want: `
			tcp
			  10.96.0.1:80/tcp refuse`},
		{name: "pods have it at different numbers", object: object(ports(corev1.ServicePort{Name: "web", Port: 80})), slices: append(
			named(slice(1, here), of("web", "TCP", 8080)), named(slice(2, away), of("web", "TCP", 9090))...), want: `
			tcp all 10.244.1.1:8080* 10.244.2.1:9090
			  10.96.0.1:80/tcp all`},
		{name: "ports without a number, or with none that is one", object: object(), slices: append(
			named(slice(1, here), discoveryv1.EndpointPort{Name: pointer("")}, of("", "TCP", 0), of("", "TCP", 70000), of("", "TCP", -1)),
			slice(2, away)), want: `
			tcp all 10.244.2.1:8080
			  10.96.0.1:80/tcp all`},
		{name: "a slice without ports", object: object(), slices: named(slice(1, here)), want: `
			tcp
			  10.96.0.1:80/tcp refuse`},
		{name: "a port without name and protocol is TCP", object: object(), slices: named(slice(1, here), discoveryv1.EndpointPort{Port: pointer(int32(8080))}), want: `
			tcp all 10.244.1.1:8080*
			  10.96.0.1:80/tcp all`},
		{name: "two equal ports: the first", object: object(ports(corev1.ServicePort{Name: "a", Port: 80}, corev1.ServicePort{Name: "b", Port: 80})), want: `
			tcp
			  10.96.0.1:80/tcp refuse`},
		{name: "a protocol that nobody knows", object: object(ports(corev1.ServicePort{Port: 80, Protocol: "DCCP"})), slices: one(here), want: ""},
		{name: "both families", object: object(dual, nodePort), slices: []*discoveryv1.EndpointSlice{slice(1, here), slice(2, "fd00:244:1::1 n1 ready")}, want: `
			tcp all 10.244.1.1:8080*
			  10.96.0.1:80/tcp all
			  node port 30080/tcp all
			tcp all [fd00:244:1::1]:8080*
			  [fd00:96::1]:80/tcp all
			  node port 30080/tcp all`},
		{name: "only the cluster IP that old objects have", object: object(func(s *corev1.Service) { s.Spec.ClusterIPs = nil }), slices: one(here), want: `
			tcp all 10.244.1.1:8080*
			  10.96.0.1:80/tcp all`},
		{name: "endpoints of the other family only", object: object(), slices: one("fd00:244:1::1 n1 ready"), want: `
			tcp
			  10.96.0.1:80/tcp refuse`},
		{name: "slices of names", object: object(), slices: func() []*discoveryv1.EndpointSlice {
			all := one("www.example.org n1 ready")
			all[0].AddressType = discoveryv1.AddressTypeFQDN
			return append(all, slice(2, away))
		}(), want: `
			tcp all 10.244.2.1:8080
			  10.96.0.1:80/tcp all`},
		{name: "another proxy's slice", object: object(), slices: func() []*discoveryv1.EndpointSlice {
			all := one(here)
			all[0].Labels = map[string]string{service.ProxyNameLabel: "other"}
			return append(all, slice(2, away))
		}(), want: `
			tcp all 10.244.2.1:8080
			  10.96.0.1:80/tcp all`},
		{name: "what is no address of an endpoint is told once", object: object(dual, ports(corev1.ServicePort{Port: 80}, corev1.ServicePort{Port: 81})),
			slices: one("nowhere n1 ready", "0.0.0.0 n1 ready", here, "224.0.0.1 n1 ready"), want: `
			tcp all 10.244.1.1:8080*
			  10.96.0.1:80/tcp all
			tcp all 10.244.1.1:8080*
			  10.96.0.1:81/tcp all
			tcp
			  [fd00:96::1]:80/tcp refuse
			tcp
			  [fd00:96::1]:81/tcp refuse`,
			problems: []string{`EndpointUnusable : EndpointSlice web-1 has "0.0.0.0"`, `has "224.0.0.1"`, `has "nowhere"`}},
		{name: "an endpoint without addresses", object: object(), slices: func() []*discoveryv1.EndpointSlice {
			all := one(here, away)
			all[0].Endpoints[0].Addresses = nil
			return all
		}(), want: `
			tcp all 10.244.2.1:8080
			  10.96.0.1:80/tcp all`},
		{name: "an endpoint of no node", object: object(internalLocal), slices: one("10.244.1.1 ready"), want: `
			tcp
			  10.96.0.1:80/tcp drop`},
	})
}

func TestAffinity(t *testing.T) {
	timeout := func(seconds int32) change {
		return func(s *corev1.Service) {
			s.Spec.SessionAffinityConfig = &corev1.SessionAffinityConfig{ClientIP: &corev1.ClientIPConfig{TimeoutSeconds: &seconds}}
		}
	}
	const rest = "\n\t  10.96.0.1:80/tcp all"
	holds(t, []buildCase{
		{name: "none", object: object(timeout(60)), slices: one(here), want: "tcp all 10.244.1.1:8080*" + rest},
		{name: "three hours, if nobody says otherwise", object: object(clientIP), slices: one(here), want: "tcp all 10.244.1.1:8080* affinity 3h0m0s" + rest},
		{name: "as said", object: object(clientIP, timeout(60)), slices: one(here), want: "tcp all 10.244.1.1:8080* affinity 1m0s" + rest},
	})
}

func TestHealthCheckNodePort(t *testing.T) {
	const rest = `
			  10.96.0.1:80/tcp all
			  203.0.113.1:80/tcp inside all, outside %s, masquerades the node
			health 32000: %d`
	health := func(s *corev1.Service) { s.Spec.HealthCheckNodePort = 32000 }
	local := object(balancer("203.0.113.1"), externalLocal, health)
	holds(t, []buildCase{
		{name: "ready ones of this node", object: local, slices: one(here, here2, away),
			want: "tcp all 10.244.1.1:8080* 10.244.1.2:8080* 10.244.2.1:8080 local 10.244.1.1:8080* 10.244.1.2:8080*" + fmt.Sprintf(rest, "local", 2)},
		{name: "none here", object: local, slices: one(away), want: "tcp all 10.244.2.1:8080" + fmt.Sprintf(rest, "drop", 0)},
		{name: "leaving ones serve, but the load balancer is to send elsewhere", object: local, slices: one("10.244.1.1 n1 leaving", away),
			want: "tcp all 10.244.2.1:8080 local 10.244.1.1:8080*" + fmt.Sprintf(rest, "local", 0)},
		{name: "before there is an address", object: object(balancer(), externalLocal, health), slices: one(here), want: `
			tcp all 10.244.1.1:8080*
			  10.96.0.1:80/tcp all
			health 32000: 1`},
		{name: "two ports of one endpoint are one", object: object(balancer(), externalLocal, health, func(s *corev1.Service) {
			s.Spec.Ports = append(s.Spec.Ports, corev1.ServicePort{Name: "tls", Port: 443})
		}), slices: func() []*discoveryv1.EndpointSlice {
			all := one(here)
			all[0].Ports = append(all[0].Ports, discoveryv1.EndpointPort{Name: pointer("tls"), Port: pointer(int32(8443))})
			return all
		}(), want: `
			tcp all 10.244.1.1:8080*
			  10.96.0.1:80/tcp all
			tcp all 10.244.1.1:8443*
			  10.96.0.1:443/tcp all
			health 32000: 1`},
		{name: "the policy is Cluster", object: object(balancer(), health), slices: one(here), want: `
			tcp all 10.244.1.1:8080*
			  10.96.0.1:80/tcp all`},
		{name: "the type is another", object: object(nodePort, externalLocal, health), slices: one(here), want: `
			tcp all 10.244.1.1:8080* local 10.244.1.1:8080*
			  10.96.0.1:80/tcp all
			  node port 30080/tcp inside all, outside local, masquerades the node`},
	})
}

// Of two slices that name one address counts what the newer says of one pod, and of two pods
// the one that runs. The address is never there twice.
func TestTwoSlicesWithOneAddress(t *testing.T) {
	const used, unused = `
			tcp all 10.244.1.1:8080*
			  10.96.0.1:80/tcp all`, `
			tcp
			  10.96.0.1:80/tcp refuse`
	states := func(older, newer string) []*discoveryv1.EndpointSlice {
		return []*discoveryv1.EndpointSlice{slice(9, "10.244.1.1 n1 "+older), slice(10, "10.244.1.1 n1 "+newer)}
	}
	holds(t, []buildCase{
		{name: "it moves, and the newer says that it does not serve", object: object(), slices: states("ready pod=a", "unready pod=a"), want: unused},
		{name: "it moves, and the newer says that it is ready", object: object(), slices: states("unready pod=a", "ready pod=a"), want: used},
		{name: "nobody says which pod", object: object(), slices: states("ready", "unready"), want: unused},
		{name: "a ghost is older", object: object(), slices: states("gone pod=a", "ready pod=b"), want: used},
		{name: "a ghost is written later", object: object(), slices: states("ready pod=b", "gone pod=a"), want: used},
		{name: "a ghost is written later, and its name is greater", object: object(), slices: states("ready pod=a", "leaving pod=b"), want: used},
		{name: "a ghost of another node, though it is published", object: object(internalLocal), slices: []*discoveryv1.EndpointSlice{
			slice(1, "10.244.1.1 n1 ready pod=b"), slice(2, "10.244.1.1 n2 published pod=a"),
		}, want: `
			tcp local 10.244.1.1:8080*
			  10.96.0.1:80/tcp local`},
		{name: "a ghost that moved, and the pod that moved", object: object(), slices: []*discoveryv1.EndpointSlice{
			slice(1, "10.244.1.1 n1 ready pod=a"), slice(2, "10.244.1.1 n1 gone pod=a"), slice(3, "10.244.1.1 n1 unready pod=b"), slice(4, "10.244.1.1 n1 ready pod=b"),
		}, want: used},
		{name: "one of both goes", object: object(), slices: states("ready pod=a", "ready pod=a")[:1], want: used},
		{name: "both say the same", object: object(), slices: states("ready pod=a", "ready pod=a"), want: used},
		{name: "in one slice", object: object(), slices: one("10.244.1.1 n1 ready pod=a", "10.244.1.1 n1 gone pod=b"), want: used},
	})
}

func TestTooManyEndpoints(t *testing.T) {
	const most = 1 << 16
	var all []string
	for i := range most + 2 {
		all = append(all, fmt.Sprintf("%s n2", netip.AddrFrom4([4]byte{10, 244 + byte(i>>16), byte(i >> 8), byte(i)})))
	}
	built, problems := service.Build(object(), one(all...), node())
	if len(built.Ports[0].All) != most || len(problems) != 1 || problems[0].Reason != service.ReasonTooManyEndpoints {
		t.Errorf("%d endpoints, problems %v", len(built.Ports[0].All), problems)
	}
}

// The last change that a slice tells of counts; what cannot be read does not.
func TestTriggered(t *testing.T) {
	first, last := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC), time.Date(2026, 11, 30, 12, 0, 1, 5e8, time.UTC)
	var slices []*discoveryv1.EndpointSlice
	for i, text := range []string{"", first.Format(time.RFC3339Nano), last.Format(time.RFC3339Nano), "soon"} {
		s := slice(i, "10.244.1.1 n1 ready")
		s.Annotations = map[string]string{corev1.EndpointsLastChangeTriggerTime: text}
		slices = append(slices, s)
	}
	built, _ := service.Build(object(), slices, node())
	if !built.Triggered.Equal(last) {
		t.Errorf("triggered at %s, want %s", built.Triggered, last)
	}
}
