// Package cluster starts a real etcd and a real kube-apiserver for component
// tests and benchmarks, with client certificates and RBAC. Every cluster has its
// own folder, port and keys, so any number can run side by side.
//
//	c := cluster.Start(t, cluster.Options{})
//	c.Kubectl(t, manifests, "apply", "-f", "-")
//	run(c.ServiceAccount("fairway", "controller"))
//
// There is no kubelet, no scheduler and no controller-manager, so nothing acts on
// objects. A test must write the addresses of Pods as EndpointSlices, a deleted
// Namespace stays Terminating, and dependents stay when their owner is deleted.
//
// The servers die with the test process, however that ends. The package finds
// their programs through test/tools; tests are never skipped for lack of them.
package cluster
