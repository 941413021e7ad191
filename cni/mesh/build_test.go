package mesh_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/fairwaynet/fairway/cni/mesh"
)

// node makes a node of words: addresses, ranges with a slash, "vtep", "mtu=9000".
func node(name, words string) mesh.Node {
	n := mesh.Node{Name: name}
	for _, word := range strings.Fields(words) {
		switch {
		case word == "vtep":
			n.VTEP = mesh.HardwareAddr{2, 0, 0, 0, 0, name[len(name)-1]}
		case strings.HasPrefix(word, "mtu="):
			if _, err := fmt.Sscanf(word, "mtu=%d", &n.MTU); err != nil {
				panic(err)
			}
		case strings.Contains(word, "/"):
			n.Ranges = append(n.Ranges, netip.MustParsePrefix(word))
		default:
			n.Addresses = append(n.Addresses, netip.MustParseAddr(word))
		}
	}
	return n
}

func uplink(name string, mtu int, networks ...string) mesh.Uplink {
	u := mesh.Uplink{Name: name, MTU: mtu}
	for _, network := range networks {
		u.Networks = append(u.Networks, netip.MustParsePrefix(network))
	}
	return u
}

// said prints peers and problems, a line each.
func said(peers []mesh.Peer, problems []mesh.Problem) []string {
	lines := []string{}
	for _, peer := range peers {
		for _, r := range peer.Routes {
			line := fmt.Sprintf("%s: %s by %s %s mtu %d", peer.Node, r.Range, r.Way, r.Node, r.MTU)
			if r.VTEP != (mesh.HardwareAddr{}) {
				line += " vtep"
			}
			lines = append(lines, line)
		}
	}
	for _, problem := range problems {
		lines = append(lines, problem.Node+"! "+problem.Message)
	}
	return lines
}

func TestBuild(t *testing.T) {
	eth0 := uplink("eth0", 1500, "192.0.2.1/24", "2001:db8::1/64")
	own := "192.0.2.1 2001:db8::1 10.244.1.0/24 fd00:1::/64"
	for _, test := range []struct {
		name    string
		own     string
		uplinks []mesh.Uplink
		others  []mesh.Node
		mode    mesh.Mode
		want    []string
	}{
		{
			"a node on our link is reached directly, with the full MTU", own, []mesh.Uplink{eth0},
			[]mesh.Node{node("b", "192.0.2.2 2001:db8::2 10.244.2.0/24 fd00:2::/64 vtep")}, mesh.Auto,
			[]string{"b: 10.244.2.0/24 by link 192.0.2.2 mtu 1500", "b: fd00:2::/64 by link 2001:db8::2 mtu 1500"},
		},
		{
			"a node elsewhere is reached by the overlay, over IPv4 for both families", own, []mesh.Uplink{eth0},
			[]mesh.Node{node("b", "198.51.100.2 2001:db8:5::2 10.244.2.0/24 fd00:2::/64 vtep")}, mesh.Auto,
			[]string{"b: 10.244.2.0/24 by overlay 198.51.100.2 mtu 1450 vtep", "b: fd00:2::/64 by overlay 198.51.100.2 mtu 1450 vtep"},
		},
		{
			"without IPv4 the overlay is over IPv6", "2001:db8::1 10.244.1.0/24", []mesh.Uplink{eth0},
			[]mesh.Node{node("b", "2001:db8:5::2 10.244.2.0/24 vtep")}, mesh.Auto,
			[]string{"b: 10.244.2.0/24 by overlay 2001:db8:5::2 mtu 1430 vtep"},
		},
		{
			"mode vxlan uses no link, mode direct no overlay", own, []mesh.Uplink{eth0},
			[]mesh.Node{node("b", "192.0.2.2 10.244.2.0/24 vtep")}, mesh.VXLAN,
			[]string{"b: 10.244.2.0/24 by overlay 192.0.2.2 mtu 1450 vtep"},
		},
		{
			"mode direct says which pods it cannot reach", own, []mesh.Uplink{eth0},
			[]mesh.Node{node("b", "198.51.100.2 10.244.2.0/24 vtep"), node("c", "192.0.2.3 10.244.3.0/24")}, mesh.Direct,
			[]string{
				"c: 10.244.3.0/24 by link 192.0.2.3 mtu 1500",
				"b! its pods in 10.244.2.0/24 cannot be reached: in mode direct a node of one family's pods needs an InternalIP of that family on a link of this node",
			},
		},
		{
			"the smaller MTU of both uplinks counts", own, []mesh.Uplink{uplink("eth0", 9000, "192.0.2.1/24", "2001:db8::1/64")},
			[]mesh.Node{node("b", "192.0.2.2 10.244.2.0/24 mtu=1500"), node("c", "198.51.100.3 10.244.3.0/24 mtu=1400 vtep")}, mesh.Auto,
			[]string{"b: 10.244.2.0/24 by link 192.0.2.2 mtu 1500", "c: 10.244.3.0/24 by overlay 198.51.100.3 mtu 1350 vtep"},
		},
		{
			"IPv6 has its least MTU, whatever the overlay leaves", own, []mesh.Uplink{uplink("eth0", 1300, "192.0.2.1/24", "2001:db8::1/64")},
			[]mesh.Node{node("b", "198.51.100.2 10.244.2.0/24 fd00:2::/64 vtep"), node("c", "192.0.2.3 2001:db8::3 10.244.3.0/24 fd00:3::/64 mtu=1290")}, mesh.Auto,
			[]string{
				"b: 10.244.2.0/24 by overlay 198.51.100.2 mtu 1250 vtep", "b: fd00:2::/64 by overlay 198.51.100.2 mtu 1280 vtep",
				"c: 10.244.3.0/24 by link 192.0.2.3 mtu 1290", "c: fd00:3::/64 by link 2001:db8::3 mtu 1290",
			},
		},
		{
			"over IPv6 the overlay is not cut into fragments, so an uplink that is too small is told", "2001:db8::1 10.244.1.0/24 fd00:1::/64",
			[]mesh.Uplink{uplink("eth0", 1300, "2001:db8::1/64")},
			[]mesh.Node{node("b", "2001:db8:5::2 10.244.2.0/24 fd00:2::/64 vtep")}, mesh.Auto,
			[]string{
				"b: 10.244.2.0/24 by overlay 2001:db8:5::2 mtu 1230 vtep", "b: fd00:2::/64 by overlay 2001:db8:5::2 mtu 1230 vtep",
				"b! packets of 1231 to 1280 bytes to its pods in fd00:2::/64 are lost: the overlay over IPv6 needs uplinks with an MTU of 1350 on both nodes",
			},
		},
		{
			"the interface with the InternalIP counts, not the first", "192.0.2.1 10.244.1.0/24",
			[]mesh.Uplink{uplink("nat", 1500, "10.0.2.15/24"), uplink("eth1", 9000, "192.0.2.1/24")},
			[]mesh.Node{node("b", "192.0.2.2 10.244.2.0/24")}, mesh.Auto,
			[]string{"b: 10.244.2.0/24 by link 192.0.2.2 mtu 9000"},
		},
		{
			"an InternalIP that no interface has is told", "192.0.2.99 10.244.1.0/24", []mesh.Uplink{eth0},
			[]mesh.Node{node("b", "192.0.2.2 10.244.2.0/24 vtep")}, mesh.Auto,
			[]string{"a! no interface has the node's InternalIP 192.0.2.99: set --node-ip of the kubelet to an address of the node"},
		},
		{
			"nodes with one address are both told, and reached by neither", own, []mesh.Uplink{eth0},
			[]mesh.Node{node("b", "192.0.2.2 10.244.2.0/24 vtep"), node("c", "192.0.2.2 10.244.3.0/24 vtep"), node("d", "192.0.2.4 10.244.4.0/24")}, mesh.Auto,
			[]string{
				"d: 10.244.4.0/24 by link 192.0.2.4 mtu 1500",
				"c! its InternalIP 192.0.2.2 is also that of node b: no pods of either are reached by it",
			},
		},
		{
			"ranges that overlap belong to us, or to the first by name", own, []mesh.Uplink{eth0},
			[]mesh.Node{node("c", "192.0.2.3 10.244.0.0/16 10.245.3.0/24"), node("b", "192.0.2.2 10.245.3.128/25")}, mesh.Auto,
			[]string{
				"b: 10.245.3.128/25 by link 192.0.2.2 mtu 1500",
				"c! its range 10.244.0.0/16 overlaps with one of node a, which has it",
				"c! its range 10.245.3.0/24 overlaps with one of node b, which has it",
			},
		},
		{
			"an agent that has not started is no mistake, a node without an address is", own, []mesh.Uplink{eth0},
			[]mesh.Node{node("b", "198.51.100.2 10.244.2.0/24"), node("c", "10.244.3.0/24"), node("d", "192.0.2.4")}, mesh.Auto,
			[]string{"c! it has no InternalIP, so its pods cannot be reached"},
		},
		{
			"two nodes of different families are told", "192.0.2.1 10.244.1.0/24", []mesh.Uplink{eth0},
			[]mesh.Node{node("b", "2001:db8::2 10.244.2.0/24 vtep")}, mesh.Auto,
			[]string{"b! this node and it have no InternalIP of one family, so its pods in 10.244.2.0/24 cannot be reached"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := said(mesh.Build(node("a", test.own), test.uplinks, test.others, test.mode))
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// The order of nodes decides nothing, and this node's own object is no peer.
func TestTheOrderDecidesNothing(t *testing.T) {
	own := node("n10", "192.0.2.10 10.244.10.0/24")
	uplinks := []mesh.Uplink{uplink("eth0", 1500, "192.0.2.10/24")}
	var others []mesh.Node
	for i := range 30 {
		others = append(others, node(fmt.Sprintf("n%d", i), fmt.Sprintf("192.0.2.%d 10.244.%d.0/24", i%25, i%27)))
	}
	wantPeers, wantProblems := mesh.Build(own, uplinks, others, mesh.Auto)
	if slices.ContainsFunc(wantPeers, func(p mesh.Peer) bool { return p.Node == own.Name }) || len(wantProblems) == 0 {
		t.Errorf("peers %v, problems %v", wantPeers, wantProblems)
	}
	equal := cmpopts.EquateComparable(netip.Prefix{}, netip.Addr{})
	for seed := range uint64(20) {
		rand.New(rand.NewPCG(seed, 0)).Shuffle(len(others), func(i, j int) { others[i], others[j] = others[j], others[i] })
		peers, problems := mesh.Build(own, uplinks, others, mesh.Auto)
		if diff := cmp.Diff(wantPeers, peers, equal) + cmp.Diff(wantProblems, problems); diff != "" {
			t.Fatalf("seed %d:\n%s", seed, diff)
		}
	}
}

func TestPodMTU(t *testing.T) {
	own := node("a", "192.0.2.1 2001:db8::1")
	both := []mesh.Uplink{uplink("eth0", 9000, "192.0.2.1/24"), uplink("eth1", 1500, "2001:db8::1/64")}
	for _, test := range []struct {
		own     mesh.Node
		uplinks []mesh.Uplink
		mode    mesh.Mode
		want    int
	}{
		{own, both, mesh.Auto, 1450},
		{own, both, mesh.VXLAN, 1450},
		{own, both, mesh.Direct, 1500},
		{node("a", "2001:db8::1"), both, mesh.Auto, 1430},
		{node("a", "192.0.2.1"), both, mesh.Auto, 8950},
		{node("a", "192.0.2.1 10.244.1.0/24"), []mesh.Uplink{uplink("eth0", 1280, "192.0.2.1/24")}, mesh.Auto, 1230},
		{node("a", "192.0.2.1 10.244.1.0/24 fd00:1::/64"), []mesh.Uplink{uplink("eth0", 1280, "192.0.2.1/24")}, mesh.Auto, 1280},
	} {
		if got, err := mesh.PodMTU(test.own, test.uplinks, test.mode); err != nil || got != test.want {
			t.Errorf("%v, %s: %d, %v, want %d", test.own.Addresses, test.mode, got, err, test.want)
		}
	}
	if _, err := mesh.PodMTU(node("a", "192.0.2.7"), both, mesh.Auto); err == nil || !strings.Contains(err.Error(), "no interface has an InternalIP of node a") {
		t.Errorf("without an interface: %v", err)
	}
}

// Which ranges overlap is found as by comparing each with each.
func TestOverlapsAreFound(t *testing.T) {
	for seed := range uint64(200) {
		random := rand.New(rand.NewPCG(seed, 1))
		own := node("n5", "192.0.2.5 10.0.96.0/20 fd00:0:0:60::/60")
		var others []mesh.Node
		for i := range 12 {
			words := fmt.Sprintf("192.0.2.%d", 100+i)
			for range 1 + random.IntN(3) {
				bits := 16 + random.IntN(10)
				four := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(random.IntN(256)), 0}), bits).Masked()
				words += " " + four.String()
			}
			others = append(others, node(fmt.Sprintf("n%d", i), words))
		}
		others[5] = own
		peers, _ := mesh.Build(own, []mesh.Uplink{uplink("eth0", 1500, "192.0.2.5/24")}, others, mesh.Auto)
		got := map[string]bool{}
		for _, peer := range peers {
			for _, route := range peer.Routes {
				got[peer.Node+" "+route.Range.String()] = true
			}
		}
		for _, one := range others {
			for _, pods := range one.Ranges {
				rivals := slices.ContainsFunc(others, func(other mesh.Node) bool {
					return other.Name != one.Name && (other.Name == own.Name || other.Name < one.Name) && slices.ContainsFunc(other.Ranges, pods.Overlaps)
				})
				if want := one.Name != own.Name && !rivals; got[one.Name+" "+pods.String()] != want {
					t.Fatalf("seed %d: %s %s has a route: %t, want %t", seed, one.Name, pods, !want, want)
				}
			}
		}
	}
}
