// Package acme gets certificates from a certificate authority by ACME (RFC
// 8555), with renewal information (RFC 9773) and profiles.
//
// It knows neither Kubernetes nor Envoy: who stores an Order, and who answers
// its challenges, are others. It has no loop of its own either: Client.Advance
// takes an Order one step on, and says when the next is due.
//
// Its invariant: an Order is a value that is saved between any two steps, and
// what was saved last is all that is needed to go on. Whatever is lost after
// that, an answer, a process, a machine, costs neither a second order nor a
// certificate: a step that the authority may have done already asks it first.
package acme
