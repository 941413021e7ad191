// Package verifier is the controller's end of package proof: it has the processes of
// one gateway, the provers, show that their Envoys serve the certificates that were
// published.
//
// It is a state machine and nothing else. It opens no stream, starts no goroutine and
// takes no lock: its owner sends what Session.Next returns, passes the answers on, and
// guards every call with one lock, those that come by Config.After included.
//
// Its invariants: a prover is asked for one certificate of a name at a time; a new
// certificate comes before all that were there when the prover came; and nobody waits
// for a proof longer than Config.Patience.
package verifier
