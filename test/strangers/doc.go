// Package strangers tests the gateway against hostile clients: those that use
// more than their share, and those that send ambiguous requests.
//
// A real Envoy runs with exactly the bootstrap, listeners and limits of the
// release. Its backends record every byte and read HTTP/1.1 as strictly as RFC
// 9112 allows. Beside the hostile client there is a neighbour, an ordinary client
// whose every request is counted.
//
// Each smuggling attempt is a file in testdata: a sentence, the request, the
// answer, and the bytes that a backend may see. To add a case, add a file.
// invariant_test.go checks what must be true of all cases.
//
// All tests run in a network namespace of their own.
package strangers
