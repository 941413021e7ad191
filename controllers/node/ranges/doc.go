// Package ranges gives each Node a range of addresses for its pods, where
// kube-controller-manager does not: one leader among the agents writes spec.podCIDRs.
//
// Its invariant: no two Nodes get one range, whatever leaders believe and however late a
// request arrives. The API server keeps a Node's ranges once they are set, and nothing else.
// So a range is promised in a ledger before it is written on a Node, and only a leader that
// knows the last version of the ledger can add to it. A promise stands until the Node has
// its range or is gone.
package ranges
