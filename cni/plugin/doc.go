// Package plugin is the verbs of the CNI plugin fairway-cni (CNI specification 1.1):
// ADD, DEL, CHECK, GC, STATUS and VERSION. It connects what cni/ipam, cni/link and
// cni/agent do; it needs no API server, and DEL needs nobody.
//
// Its invariants: ADD leaves a pod that works, or nothing; what ADD makes is in a lease
// before it is made, so DEL finds it, wherever ADD was killed; and DEL, however late or
// often, takes away only what the lease of its own container and interface names.
package plugin
