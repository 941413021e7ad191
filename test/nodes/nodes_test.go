package nodes

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
)

// One API server serves all: it takes longer to start than the tests take.
func TestNodes(t *testing.T) {
	w := newWorld(t)
	for name, test := range map[string]func(*testing.T, *world){
		"pods reach each other":            testPodsReachEachOther,
		"what others take away comes back": testWhatOthersTakeAwayComesBack,
		"the agent is away":                testTheAgentIsAway,
		"nodes come and go":                testNodesComeAndGo,
		"nodes of different MTU":           testMTU,
		"many interfaces, strict filters":  testUplinks,
		"a leader gives ranges":            testALeaderGivesRanges,
		"kube-proxy has not gone yet":      testWaitingForKubeProxy,
		"taking over from nftables":        func(t *testing.T, w *world) { testTakingOver(t, w, "nftables", 31) },
		"taking over from iptables":        func(t *testing.T, w *world) { testTakingOver(t, w, "iptables", 33) },
		"another table says no":            testAnotherTableSaysNo,
		"Services":                         testServices,
		"a lost event is found":            testALostEventIsFound,
		"Services without the pod network": testServicesAlone,
		"addresses":                        testAddresses,
		"policies":                         testPolicies,
		"many addresses":                   testManyAddresses,
		"addresses on two interfaces":      testAddressesOnTwoInterfaces,
		"addresses without an API server":  testAddressesWithoutAPIServer,
	} {
		t.Run(name, func(t *testing.T) { test(t, w) })
	}
}

// Pods of three nodes, two on one link and one behind a router that knows no pods, reach
// one another, the nodes and what is outside, in both families.
func testPodsReachEachOther(t *testing.T, w *world) {
	one, two, far := w.machine(t, settings{number: 1}), w.machine(t, settings{number: 2}), w.machine(t, settings{number: 3, fabric: 1})
	pods := map[string]*pod{}
	for _, m := range []*machine{one, two, far} {
		pods[m.name] = m.pod("a-"+m.name, "").serve(t)
		m.Answer(t, "[::]:9000")
	}
	neighbour := one.pod("b-n1", "").serve(t)
	for _, m := range []*machine{one, two, far} {
		m.eventually("it has ways to the others", func() error {
			routes := m.shell("ip route show proto 102; ip -6 route show proto 102")
			for _, other := range []*machine{one, two, far} {
				for _, pods := range []string{fmt.Sprintf("10.244.%s.0/24", other.name[1:]), fmt.Sprintf("fd00:244:%s::/64", other.name[1:])} {
					if other != m && !strings.Contains(routes, pods) {
						return fmt.Errorf("no route to %s in\n%s", pods, routes)
					}
				}
			}
			return nil
		})
	}
	for family := range 2 {
		for _, from := range pods {
			for _, to := range pods {
				asks(t, from.Namespace, to.at(family, 8080), from.addresses[family].String()) // no NAT between pods
			}
			for _, m := range []*machine{one, two, far} {
				seen := from.addresses[family]
				if m != from.node && (m == far || from.node == far) { // the router knows no pods
					seen = from.node.addresses[family]
				}
				asks(t, from.Namespace, netip.AddrPortFrom(m.addresses[family], 9000).String(), seen.String())
			}
		}
		asks(t, neighbour.Namespace, pods["n1"].at(family, 8080), neighbour.addresses[family].String())
		asks(t, one.Namespace, pods["n1"].at(family, 8080), one.addresses[family].String())
		asks(t, one.Namespace, pods["n2"].at(family, 8080), one.addresses[family].String())
	}
	// A node reaches a pod over the overlay with the network address of its own range.
	asks(t, one.Namespace, pods["n3"].at(0, 8080), "10.244.1.0")
	asks(t, one.Namespace, pods["n3"].at(1, 8080), "fd00:244:1::")

	// Outside is this namespace: it sees the node, and has no way to pods.
	outside := netip.MustParseAddrPort(own.Answer(t, "192.0.2.254:9001").String())
	asks(t, pods["n1"].Namespace, outside.String(), one.addresses[0].String())
	asks(t, pods["n3"].Namespace, outside.String(), far.addresses[0].String())
}
