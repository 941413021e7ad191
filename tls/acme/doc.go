// Package acme gets certificates from a certificate authority by ACME (RFC
// 8555), with renewal information (RFC 9773) and profiles.
//
// It knows neither Kubernetes nor Envoy: its callers store Orders and answer
// challenges. It has no loop of its own either: Client.Advance takes an Order one
// step on, and says when the next step is due.
//
// Its invariant: an Order is a value that is saved between any two steps, and the
// value that was saved last is all that is needed to go on. The loss of an answer,
// a process or a machine after that costs neither a second order nor a certificate:
// a step that the authority may have done already asks the authority first.
package acme
