// Package install puts the plugin and its network configuration onto a node, and takes them
// away.
//
// The container runtime calls a node ready when it finds a configuration, so that comes last
// and is whole or absent. What others have put there is never changed, unless that is asked
// for.
package install
