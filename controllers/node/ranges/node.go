package ranges

import (
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Node is what counts of a Node.
type Node struct {
	Name string
	UID  types.UID
	// Served is whether it has ranges, also some that cannot be read: it keeps them.
	Served bool
	Ranges []netip.Prefix
}

func nodeOf(object *corev1.Node) Node {
	node := Node{Name: object.Name, UID: object.UID, Served: len(object.Spec.PodCIDRs) > 0}
	for _, text := range object.Spec.PodCIDRs {
		if pods, err := netip.ParsePrefix(text); err == nil { // the agents tell of others
			node.Ranges = append(node.Ranges, pods)
		}
	}
	return node
}

// unseen counts the Nodes that a cache does not show as they were in a list of the API
// server.
func unseen(listed, cached []Node) int {
	shown := make(map[types.UID]Node, len(cached))
	for _, node := range cached {
		shown[node.UID] = node
	}
	count := 0
	for _, node := range listed {
		if is, ok := shown[node.UID]; !ok || node.Served && !is.Served {
			count++
		}
	}
	return count
}
