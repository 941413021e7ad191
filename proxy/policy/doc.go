// Package policy decides which packets of a node's pods may pass, as NetworkPolicies say, and turns
// that into chains and sets of nftables.
//
//	NetworkPolicy --Parse--> Policy \
//	Pod, Namespace (plain values) ---> Book --Take--> parts by key, and whose connections to judge again
//	                                     \--Judge--> Verdict of one flow
//
// A Book is the picture of a cluster from one node. It renders what concerns this node's pods alone: the
// policies that select one of them, and the addresses of whoever their selectors mean. Each pod of the
// cluster is a key of its own, so that a label that changes costs the elements of that pod. A Book
// depends on what it was told last of each object, and not on the order or on what came before. It
// does no I/O and is for one goroutine.
//
// The rules are read and judged on any system, for people; what renders them is for Linux.
//
// Allows is the same decision by the words of the API, without tables: an oracle for tests.
package policy
