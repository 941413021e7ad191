// Package connection explains to people whether policies let a pod connect to something: to a pod, to a
// Service, or to an address.
//
// It reads objects, and asks no node. Its invariant: of each connection it says what proxy/policy judges,
// as the nodes of both ends do: the sender's policies and the receiver's, both behind the translation of
// Services.
package connection
