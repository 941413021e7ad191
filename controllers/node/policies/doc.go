// Package policies tells what enforces a node's policies of NetworkPolicies, Pods and Namespaces.
//
// Its invariant: what is told of an object depends on that object alone.
package policies
