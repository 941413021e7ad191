// Package strangers tests what the gateway does with clients that mean harm:
// those that ask for more than their share, and those that ask in two tongues
// at once.
//
// A real Envoy runs with exactly the bootstrap, the listeners and the limits
// that ship. Behind it are backends that record every byte and read HTTP/1.1 as
// strictly as RFC 9112 allows; beside the stranger is a neighbour, an ordinary
// client whose every request is counted.
//
// A request that somebody might smuggle is a file in testdata: a sentence, what
// is sent, what is answered, and what a backend gets to see. To add a case is to
// add a file. What is true of all of them stands in invariant_test.go.
//
// All of it happens in a network namespace of the test's own.
package strangers
