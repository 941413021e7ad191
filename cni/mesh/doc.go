// Package mesh decides how a node reaches the pods of the others: by a route on a link
// that both have, or by VXLAN.
//
// It is pure: it knows neither Kubernetes objects nor the kernel. Its invariant: what it
// decides depends on the nodes alone, not on their order or on what was decided before;
// and a mistake of one node costs that node's pods only.
package mesh
