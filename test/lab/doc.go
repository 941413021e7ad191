// Package lab runs a real Kubernetes of several machines on one machine: etcd,
// kube-apiserver with RBAC, controller-manager, scheduler, and nodes with their
// own containerd, runc and kubelet. It needs Linux and root, but no Docker, no
// registry and no network access.
//
//	func TestMain(m *testing.M) { lab.Main(); os.Exit(m.Run()) }
//
//	l := lab.Start(t, lab.Options{Nodes: 3, ReferenceNetwork: true})
//	l.Kubectl(t, manifests, "apply", "-f", "-")
//	l.Machine("n2").Reboot(t)
//	l.Machine("client").Exec(t, "curl", "http://n1")
//
// Machines are namespaces (test/lab/machine) in a rack (test/lab/rack). The rack
// is one process, and the lab lives exactly as long as the rack. The kernel does
// not clean up control groups and the lab's folder. Down removes them; if it was
// never called, the next Up of any lab does.
//
// Nodes have no pod network, no service proxy and no DNS unless the options ask
// for them, because those are what a lab tests.
package lab
