// Package policies says for people which NetworkPolicies and ClusterNetworkPolicies apply to a pod, and what they
// allow.
//
// It reads objects, and asks no node. Its invariant: a policy applies, and a part of it counts, exactly
// where the agent of the pod's node would say so, because proxy/policy reads it for both.
package policies
