package service_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"

	"github.com/fairwaynet/fairway/proxy/nft/conntrack"
	"github.com/fairwaynet/fairway/proxy/service"
)

var nodeAddresses = []netip.Addr{
	netip.MustParseAddr("198.51.100.1"), netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8:1::1"),
}

// matchWords is "10.96.0.1:80" for all connections to a front, and "10.96.0.1:80
// 10.244.1.1:8080" for those that an endpoint has.
func matchWords(m conntrack.Match) string {
	text := netip.AddrPortFrom(m.Original.Destination, m.Original.DestinationPort).String()
	if m.Reply.Source.IsValid() {
		text += " " + netip.AddrPortFrom(m.Reply.Source, m.Reply.SourcePort).String()
	}
	return text
}

// as builds a Service of a protocol with endpoints.
func as(protocol corev1.Protocol, endpoints []string, changes ...change) *service.Service {
	s := object(append(changes, func(s *corev1.Service) { s.Spec.Ports[0].Protocol = protocol })...)
	var four, six []string
	for _, e := range endpoints {
		if strings.Contains(e, ":") {
			six = append(six, e)
		} else {
			four = append(four, e)
		}
	}
	all := append(one(four...), slice(2, six...))
	for _, slice := range all {
		slice.Ports[0].Protocol = &protocol
	}
	built, _ := service.Build(s, all, node())
	return built
}

func clusterIP(text string) change {
	return func(s *corev1.Service) { s.Spec.ClusterIPs = []string{text} }
}

func TestStale(t *testing.T) {
	udp := func(endpoints ...string) func(...change) *service.Service {
		return func(changes ...change) *service.Service { return as(corev1.ProtocolUDP, endpoints, changes...) }
	}
	port := func(number int32) change { return func(s *corev1.Service) { s.Spec.Ports[0].Port = number } }
	for _, c := range []struct {
		name          string
		before, after *service.Service
		want          []string
	}{
		{name: "nothing changes", before: udp(here, away)(), after: udp(here, away)()},
		{name: "nothing is there", before: nil, after: nil},
		{name: "an endpoint goes: its connections", before: udp(here, away)(), after: udp(here)(), want: []string{"10.96.0.1:80 10.244.2.1:8080"}},
		{name: "an endpoint stops serving", before: udp(here, away)(), after: udp(here, "10.244.2.1 n2 unready")(), want: []string{"10.96.0.1:80 10.244.2.1:8080"}},
		{name: "an endpoint leaves and still serves: they stay", before: udp(here, away)(), after: udp(here, "10.244.2.1 n2 leaving")()},
		{name: "it has left", before: udp(here, "10.244.2.1 n2 leaving")(), after: udp(here, "10.244.2.1 n2 gone")(), want: []string{"10.96.0.1:80 10.244.2.1:8080"}},
		{name: "an endpoint comes: nobody's", before: udp(here)(), after: udp(here, away)()},
		{name: "the last goes: all", before: udp(here)(), after: udp()(), want: []string{"10.96.0.1:80"}},
		{name: "the first comes: all", before: udp()(), after: udp(here)(), want: []string{"10.96.0.1:80"}},
		{name: "none before and after", before: udp()(), after: udp()()},
		{name: "a Service goes", before: udp(here)(), after: nil, want: []string{"10.96.0.1:80"}},
		{name: "a Service goes that had no endpoints", before: udp()(), after: nil},
		{name: "a Service comes: what was sent there before", before: nil, after: udp(here)(), want: []string{"10.96.0.1:80"}},
		{name: "a Service comes without endpoints", before: nil, after: udp()()},
		{name: "the port changes", before: udp(here)(), after: udp(here)(port(81)), want: []string{"10.96.0.1:80", "10.96.0.1:81"}},
		{name: "the cluster IP changes", before: udp(here)(), after: udp(here)(clusterIP("10.96.0.2")), want: []string{"10.96.0.1:80", "10.96.0.2:80"}},
		{name: "the protocol changes to one that ends by itself", before: udp(here)(), after: as(corev1.ProtocolTCP, []string{here}), want: []string{"10.96.0.1:80"}},
		{name: "the node port goes: at each address of the node", before: udp(here)(nodePort), after: udp(here)(), want: []string{"192.0.2.1:30080", "198.51.100.1:30080"}},
		{name: "an address outside goes", before: udp(here)(balancer("203.0.113.1", "203.0.113.2")), after: udp(here)(balancer("203.0.113.2")), want: []string{"203.0.113.1:80"}},
		{name: "an address outside comes", before: udp(here)(), after: udp(here)(externalIPs("203.0.113.1")), want: []string{"203.0.113.1:80"}},
		{name: "an endpoint goes from several fronts of both families", before: udp(here, away, "fd00:244:1::1 n1", "fd00:244:2::1 n2")(dual, nodePort, balancer("203.0.113.1")),
			after: udp(here, "fd00:244:1::1 n1")(dual, nodePort, balancer("203.0.113.1")), want: []string{
				"10.96.0.1:80 10.244.2.1:8080", "192.0.2.1:30080 10.244.2.1:8080", "198.51.100.1:30080 10.244.2.1:8080", "203.0.113.1:80 10.244.2.1:8080",
				"[2001:db8:1::1]:30080 [fd00:244:2::1]:8080", "[fd00:96::1]:80 [fd00:244:2::1]:8080",
			}},
		{name: "SCTP, too", before: as(corev1.ProtocolSCTP, []string{here, away}), after: as(corev1.ProtocolSCTP, []string{here}), want: []string{"10.96.0.1:80 10.244.2.1:8080"}},
		{name: "not TCP: it ends by itself", before: as(corev1.ProtocolTCP, []string{here, away}), after: as(corev1.ProtocolTCP, []string{here})},
		{name: "nor a TCP Service that goes", before: as(corev1.ProtocolTCP, []string{here}), after: nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got []string
			for _, m := range service.Stale(c.before, c.after, nodeAddresses) {
				if m.Original.Protocol == unix.IPPROTO_TCP {
					t.Errorf("TCP: %s", matchWords(m))
				}
				got = append(got, matchWords(m))
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// After a start every connection is looked at.
func TestServing(t *testing.T) {
	serving := service.Serving{Cluster: service.Cluster{NodeAddresses: nodeAddresses, Services: node().Reserved.Services}}
	serving.Add(as(corev1.ProtocolUDP, []string{here, "10.244.1.2 n1 leaving"}, nodePort))
	serving.Add(as(corev1.ProtocolUDP, nil, clusterIP("10.96.0.2")))
	serving.Add(as(corev1.ProtocolTCP, []string{here}, clusterIP("10.96.0.3")))
	gone := as(corev1.ProtocolUDP, []string{here}, clusterIP("10.96.0.9"))
	serving.Add(gone)
	serving.Remove(gone)
	connection := func(protocol uint8, to, from string) conntrack.Match {
		a, b := netip.MustParseAddrPort(to), netip.MustParseAddrPort(from)
		return conntrack.Match{
			Original: conntrack.Tuple{Destination: a.Addr(), DestinationPort: a.Port(), Protocol: protocol},
			Reply:    conntrack.Tuple{Source: b.Addr(), SourcePort: b.Port(), Protocol: protocol},
		}
	}
	const udp, sctp, tcp = unix.IPPROTO_UDP, unix.IPPROTO_SCTP, unix.IPPROTO_TCP
	for _, c := range []struct {
		protocol uint8
		to, from string
		want     bool
	}{
		{udp, "10.96.0.1:80", "10.244.1.1:8080", false},
		{udp, "10.96.0.1:80", "10.244.1.2:8080", false},
		{udp, "10.96.0.1:80", "10.244.1.1:8081", true},
		{udp, "10.96.0.1:80", "10.244.2.1:8080", true},
		{udp, "10.96.0.1:80", "10.96.0.1:80", true}, // it was not translated
		{udp, "198.51.100.1:30080", "10.244.1.1:8080", false},
		{udp, "198.51.100.1:30080", "10.244.2.1:8080", true},
		{udp, "203.0.113.9:30080", "10.244.2.1:8080", false}, // no address of the node
		{udp, "198.51.100.1:30081", "10.244.2.1:8080", false},
		{udp, "10.96.0.2:80", "10.244.1.1:8080", true},     // nobody serves
		{udp, "10.96.0.9:80", "10.244.1.1:8080", true},     // a Service that is gone
		{udp, "10.96.0.1:81", "10.244.1.1:8080", true},     // a port that is gone
		{sctp, "10.96.0.1:80", "10.244.1.1:8080", true},    // another protocol of it
		{udp, "[fd00:96::9]:80", "[fd00:244::1]:80", true}, //
		{tcp, "10.96.0.9:80", "10.244.1.1:8080", false},    // it ends by itself
		{tcp, "10.96.0.3:80", "10.244.2.1:8080", false},
		{tcp, "10.96.0.3:80", "10.96.0.3:80", true}, // it was not translated
		{tcp, "[fd00:96::9]:80", "[fd00:96::9]:80", true},
		{tcp, "198.51.100.1:30080", "198.51.100.1:30080", false}, // a program of the node
		{tcp, "192.0.2.9:80", "192.0.2.9:80", false},             // others'
		{udp, "192.0.2.9:53", "192.0.2.9:53", false},             // others'
	} {
		t.Run(fmt.Sprintf("%d %s %s", c.protocol, c.to, c.from), func(t *testing.T) {
			if got := serving.Stale(connection(c.protocol, c.to, c.from)); got != c.want {
				t.Errorf("stale: %v", got)
			}
		})
	}
}

// A second time is forgotten what is still stale, and no connection of those that serve.
func TestAgain(t *testing.T) {
	var serving service.Serving
	serving.Add(as(corev1.ProtocolUDP, []string{here}))
	serving.Add(as(corev1.ProtocolUDP, nil, clusterIP("10.96.0.2")))
	for _, c := range []struct{ name, match, want string }{
		{"an endpoint that went", "10.96.0.1:80 10.244.2.1:8080", "10.96.0.1:80 10.244.2.1:8080"},
		{"one that came back", "10.96.0.1:80 10.244.1.1:8080", ""},
		{"a front that went", "10.96.0.9:80", "10.96.0.9:80"},
		{"a front that nobody serves", "10.96.0.2:80", "10.96.0.2:80"},
		{"a front that is served: what was not translated", "10.96.0.1:80", "10.96.0.1:80 10.96.0.1:80"},
	} {
		to, from, _ := strings.Cut(c.match, " ")
		m := conntrack.Match{Original: tuple(t, "", to)}
		if from != "" {
			m.Reply = tuple(t, from, "")
		}
		got := ""
		if again, still := serving.Again(m); still {
			got = matchWords(again)
		}
		if got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

// tuple is of UDP; a text that is empty is anything.
func tuple(t *testing.T, source, destination string) (all conntrack.Tuple) {
	t.Helper()
	all.Protocol = unix.IPPROTO_UDP
	if a, err := netip.ParseAddrPort(source); err == nil {
		all.Source, all.SourcePort = a.Addr(), a.Port()
	}
	if a, err := netip.ParseAddrPort(destination); err == nil {
		all.Destination, all.DestinationPort = a.Addr(), a.Port()
	}
	return all
}
