// Package cluster starts a real etcd and a real kube-apiserver for component
// tests and benchmarks: authentication by client certificate, RBAC on, nothing
// else. Every cluster has a folder, a port and keys of its own, so any number
// run side by side.
//
//	c := cluster.Start(t, cluster.Options{})
//	c.Kubectl(t, manifests, "apply", "-f", "-")
//	run(c.ServiceAccount("fairway", "controller"))
//
// There is no kubelet, no scheduler and no controller-manager, so nothing acts
// on what is written: a test writes Pods' addresses as EndpointSlices itself,
// a deleted Namespace stays Terminating, and owners do not take what they own
// with them.
//
// The child processes die with the test process, however that ends. The
// package finds them through test/tools; they are never skipped.
package cluster
