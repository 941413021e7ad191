// Package speaker decides which node of a cluster tells of what all of them see.
package speaker

import (
	"hash/fnv"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Speaks says whether a node tells of the Problems of an object. Each of a cluster's nodes sees the same,
// and one of them tells: that which the name falls on.
func Speaks(own string, nodes []corev1.Node, name types.NamespacedName) bool {
	chosen, least := own, weight(own, name)
	for i := range nodes {
		if w := weight(nodes[i].Name, name); w < least {
			chosen, least = nodes[i].Name, w
		}
	}
	return chosen == own
}

func weight(node string, name types.NamespacedName) uint64 {
	sum := fnv.New64a()
	for _, text := range []string{node, name.Namespace, name.Name} {
		_, _ = sum.Write([]byte(text + "\x00")) // never fails
	}
	return sum.Sum64()
}
