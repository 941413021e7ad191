// Package services keeps the Services of one node.
//
// Its keys are Services, and the node itself for what all of them share. It knows no
// nftables: proxy/service decides, and a Publisher writes. Its invariant: what is published of
// a Service depends on what the objects are, and not on the order in which they came.
package services
