// Package node is the agent of a node: it assembles what keeps the node's pod network.
//
// Its invariant is the order of a start: what this boot's pods need is in the kernel before
// the plugin is told so, and the runtime sees a network configuration last. When the agent
// ends, everything stays as it is.
package node
