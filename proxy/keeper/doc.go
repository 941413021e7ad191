// Package keeper keeps the Services of one node in the kernel.
//
// A Keeper is told what each Service is and writes the difference, as one transaction for all
// that was told meanwhile. Then it forgets the connections that the change has left with
// somebody who no longer serves, and tells load balancers which Services have endpoints here.
// Its invariants: nothing is removed from the kernel before everything was told; and a
// Service that the kernel refuses costs no other.
package keeper
