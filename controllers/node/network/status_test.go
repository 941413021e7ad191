package network

import (
	"net/netip"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"

	"github.com/fairwaynet/fairway/api/podnetwork"
	"github.com/fairwaynet/fairway/cni/link"
	"github.com/fairwaynet/fairway/cni/mesh"
	"github.com/fairwaynet/fairway/cni/rules"
)

func nodeWith(name, address string, ranges []string, annotations map[string]string) corev1.Node {
	var node corev1.Node
	node.Name, node.Annotations, node.Spec.PodCIDRs = name, annotations, ranges
	node.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: address}}
	return node
}

// Nodes are counted by the way to all of their ranges; one without ranges is no peer.
func TestPeersAreCountedByTheirWay(t *testing.T) {
	facts := func(mac string) map[string]string {
		return map[string]string{podnetwork.FactsAnnotation: podnetwork.Facts{VTEP: mac, MTU: 1500}.Text()}
	}
	config := Config{Mode: mesh.Auto, Overlay: rules.Overlay{Port: 8479, VNI: 102}, Version: "v1"}
	picture, problems := config.Build("own", []corev1.Node{
		nodeWith("own", "192.0.2.1", []string{"10.244.1.0/24"}, nil),
		nodeWith("near", "192.0.2.2", []string{"10.244.2.0/24"}, nil),
		nodeWith("far", "198.51.100.3", []string{"10.244.3.0/24", "10.244.4.0/24"}, facts("02:fc:00:00:00:03")),
		nodeWith("starts", "198.51.100.4", []string{"10.244.5.0/24"}, nil),
		nodeWith("overlaps", "192.0.2.5", []string{"10.244.6.0/24", "10.244.2.0/25"}, nil),
		nodeWith("without", "192.0.2.6", nil, nil),
	}, []link.Interface{{Name: "eth0", MTU: 1500, Networks: []netip.Prefix{netip.MustParsePrefix("192.0.2.1/24")}}})
	if want := (podnetwork.Peers{Link: 1, Overlay: 1, Unreached: 2}); picture.Status.Peers != want {
		t.Errorf("peers: %+v, want %+v", picture.Status.Peers, want)
	}
	if s := picture.Status; s.Version != "v1" || s.Mode != "auto" || s.MTU != 1450 {
		t.Errorf("status: %+v", s)
	}
	if len(problems) != 1 || problems[0].Object.Name.Name != "overlaps" || problems[0].Reason != ReasonPeerUnreachable {
		t.Errorf("problems: %v", problems)
	}
}

// The status of a node, which may change often, wakes no agent; its facts do.
func TestAStatusWakesNobody(t *testing.T) {
	seen := func(annotations map[string]string) any {
		node := nodeWith("n", "192.0.2.1", nil, annotations)
		trimmed, err := Trim(&node)
		if err != nil {
			t.Fatal(err)
		}
		return essence(trimmed.(*corev1.Node))
	}
	facts, status := podnetwork.Facts{MTU: 1500}.Text(), podnetwork.Status{Version: "v1"}.Text()
	bare := seen(nil)
	if told := seen(map[string]string{podnetwork.StatusAnnotation: status, "example.com/other": "x"}); !equality.Semantic.DeepEqual(bare, told) {
		t.Errorf("a status changes %v into %v", bare, told)
	}
	if told := seen(map[string]string{podnetwork.StatusAnnotation: status, podnetwork.FactsAnnotation: facts}); equality.Semantic.DeepEqual(bare, told) {
		t.Errorf("facts change nothing of %v", told)
	}
}
