// Package lab runs a real Kubernetes of several machines on one machine: etcd,
// kube-apiserver with RBAC, controller-manager, scheduler, and nodes with a
// containerd, runc and kubelet of their own. It needs Linux and root, and no
// Docker, no registry and no route to anywhere.
//
//	func TestMain(m *testing.M) { lab.Main(); os.Exit(m.Run()) }
//
//	l := lab.Start(t, lab.Options{Nodes: 3, ReferenceNetwork: true})
//	l.Kubectl(t, manifests, "apply", "-f", "-")
//	l.Machine("n2").Reboot(t)
//	l.Machine("client").Exec(t, "curl", "http://n1")
//
// Machines are namespaces (test/lab/machine) in a rack (test/lab/rack), which is
// one process: a lab lives exactly as long as it. What is not the kernel's to
// clean up, control groups and a folder, Down removes, or the next Up of any
// lab when Down never came.
//
// Nodes have no pod network, no service proxy and no DNS unless asked for:
// those are what a lab tests.
package lab
