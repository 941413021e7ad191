package network_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairwaynet/fairway/api/podnetwork"
	"github.com/fairwaynet/fairway/cni/link"
	"github.com/fairwaynet/fairway/cni/mesh"
	"github.com/fairwaynet/fairway/cni/rules"
	"github.com/fairwaynet/fairway/controllers/node/network"
)

// node makes a Node of words: addresses, ranges with a slash, and JSON of the annotation.
func node(name string, words ...string) corev1.Node {
	n := corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}
	for _, word := range words {
		switch {
		case strings.HasPrefix(word, "{"):
			n.Annotations = map[string]string{podnetwork.FactsAnnotation: word}
		case strings.Contains(word, "/"):
			n.Spec.PodCIDRs = append(n.Spec.PodCIDRs, word)
		default:
			n.Status.Addresses = append(n.Status.Addresses, corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: word})
		}
	}
	return n
}

func prefixes(texts ...string) (all []netip.Prefix) {
	for _, text := range texts {
		all = append(all, netip.MustParsePrefix(text))
	}
	return all
}

var eth0 = []link.Interface{{Name: "eth0", MTU: 1500, Networks: prefixes("192.0.2.1/24", "2001:db8::1/64")}}

const elsewhere = `{"version": "x", "vtep": "02:fc:00:00:00:05", "mtu": 9000}`

func TestBuild(t *testing.T) {
	config := network.Config{
		Mode: mesh.Auto, Overlay: rules.Overlay{Port: 8479, VNI: 102}, Version: "v1",
		Pods: prefixes("10.244.0.0/16", "fd00:244::/32"), Direct: prefixes("203.0.113.0/24"),
	}
	own := node("a", "192.0.2.1", "2001:db8::1", "10.244.1.0/24", "fd00:244:1::/64")
	for _, test := range []struct {
		name   string
		mode   mesh.Mode
		own    corev1.Node
		others []corev1.Node
		want   []string
	}{
		{
			"a node on our link sees pods, one behind the overlay does not", mesh.Auto, own,
			[]corev1.Node{node("b", "192.0.2.2", "10.244.2.0/24"), node("c", "198.51.100.3", "10.244.3.0/24", elsewhere)},
			[]string{
				"route 10.244.2.0/24 by 192.0.2.2, MTU 1500", "route 10.244.3.0/24 by 198.51.100.3, MTU 1450, over fwoverlay to 02:fc:00:00:00:05",
				"without masquerade 10.244.0.0/16 10.244.1.0/24 10.244.2.0/24 10.244.3.0/24 192.0.2.1/32 192.0.2.2/32 2001:db8::1/128 203.0.113.0/24 fd00:244:1::/64 fd00:244::/32",
				"peers 192.0.2.2 198.51.100.3",
				"overlay 192.0.2.1 MTU 1450 with 10.244.1.0 fd00:244:1::", "pods MTU 1450 from 192.0.2.1 2001:db8::1",
			},
		},
		{
			"without an overlay pods have the whole MTU", mesh.Direct, own, nil,
			[]string{
				"without masquerade 10.244.0.0/16 10.244.1.0/24 192.0.2.1/32 2001:db8::1/128 203.0.113.0/24 fd00:244:1::/64 fd00:244::/32",
				"pods MTU 1500 from 192.0.2.1 2001:db8::1",
			},
		},
		{
			"a node without a range says so, and keeps its ways", mesh.Auto, node("a", "192.0.2.1"),
			[]corev1.Node{node("b", "192.0.2.2", "10.244.2.0/24")},
			[]string{
				"route 10.244.2.0/24 by 192.0.2.2, MTU 1500",
				"without masquerade 10.244.0.0/16 10.244.2.0/24 192.0.2.1/32 192.0.2.2/32 203.0.113.0/24 fd00:244::/32", "peers 192.0.2.2",
				"overlay 192.0.2.1 MTU 1450 with", "pods MTU 1450 from 192.0.2.1",
				"a NoPodRange: the node has no range of addresses for its pods (spec.podCIDRs), so no pod can start on it",
			},
		},
		{
			"what cannot be read costs its node alone", mesh.Auto, own,
			[]corev1.Node{
				node("b", "192.0.2.2", "10.244.2.0/24", "nonsense/x"), node("c", "127.0.0.1", "10.244.3.0/24", `{"vtep": "zz"}`),
				node("d", "198.51.100.4", "10.244.4.0/24", "{"), node("e", "198.51.100.5", "10.244.5.0/24", `{"vtep": "01:00:5e:00:00:01"}`),
			},
			[]string{
				"route 10.244.2.0/24 by 192.0.2.2, MTU 1500",
				"without masquerade 10.244.0.0/16 10.244.1.0/24 10.244.2.0/24 10.244.3.0/24 10.244.4.0/24 10.244.5.0/24 192.0.2.1/32 192.0.2.2/32 2001:db8::1/128 203.0.113.0/24 fd00:244:1::/64 fd00:244::/32",
				"peers 192.0.2.2 198.51.100.4 198.51.100.5",
				"overlay 192.0.2.1 MTU 1450 with 10.244.1.0 fd00:244:1::", "pods MTU 1450 from 192.0.2.1 2001:db8::1",
				`b PeerUnreachable: its range of pods "nonsense/x" is none`,
				`c PeerUnreachable: it has no InternalIP, so its pods cannot be reached`,
				`c PeerUnreachable: its InternalIP "127.0.0.1" is no address by which a node can be reached`,
				`c PeerUnreachable: its annotation fairway.dev/network has "zz" as MAC address`,
				`d PeerUnreachable: read annotation fairway.dev/network: unexpected end of JSON input`,
				`e PeerUnreachable: its annotation fairway.dev/network has "01:00:5e:00:00:01" as MAC address`,
			},
		},
		{
			"without an address of an interface there is no network", mesh.Auto, node("a", "192.0.2.77", "10.244.1.0/24"), nil,
			[]string{
				"a NodeAddress: find the MTU of pods: no interface has an InternalIP of node a",
				"a NodeAddress: no interface has the node's InternalIP 192.0.2.77: set --node-ip of the kubelet to an address of the node",
			},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			config.Mode = test.mode
			if diff := cmp.Diff(test.want, said(config, append(test.others, test.own))); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// said prints what Build makes of the node a.
func said(config network.Config, nodes []corev1.Node) (lines []string) {
	picture, problems := config.Build("a", nodes, eth0)
	w := picture.Wanted
	for _, route := range w.Routes {
		lines = append(lines, "route "+route.String())
	}
	if n := w.Network; len(n.Cluster) > 0 {
		lines = append(lines, "without masquerade"+list(n.Cluster))
	}
	if len(w.Network.Peers) > 0 {
		lines = append(lines, "peers"+list(w.Network.Peers))
	}
	if o := w.Overlay; o.Name != "" {
		lines = append(lines, fmt.Sprintf("overlay %s MTU %d with%s", o.Own, o.MTU, list(o.Gateways)))
	}
	if w.MTU != 0 {
		lines = append(lines, fmt.Sprintf("pods MTU %d from%s", w.MTU, list(w.Sources)))
	}
	for _, p := range problems {
		message, _, _ := strings.Cut(p.Message, ": let kube-controller-manager")
		lines = append(lines, fmt.Sprintf("%s %s: %s", p.Object.Name.Name, p.Reason, message))
	}
	return lines
}

func list[T fmt.Stringer](all []T) string {
	var texts []string
	for _, each := range all {
		texts = append(texts, " "+each.String())
	}
	slices.Sort(texts)
	return strings.Join(slices.Compact(texts), "")
}

// The network of one node among a thousand is built at each change of one of them.
func BenchmarkBuild(b *testing.B) {
	nodes := []corev1.Node{node("a", "192.0.2.1", "10.244.1.0/24")}
	for i := range 1000 {
		nodes = append(nodes, node(fmt.Sprintf("n%d", i), fmt.Sprintf("10.9.%d.%d", i/250, 1+i%250),
			fmt.Sprintf("10.%d.%d.0/24", 128+i/256, i%256), fmt.Sprintf("fd00:1:%x::/64", i), elsewhere))
	}
	config := network.Config{Mode: mesh.Auto}
	for b.Loop() {
		config.Build("a", nodes, eth0)
	}
}
