// Package announce answers for addresses on a link, by ARP and neighbour discovery, though no
// interface has them.
//
// It decides nothing: whoever calls it says what to answer for. Its invariants: it answers for
// what it holds and nothing else; and after a pause of the process it answers nothing until it
// is told that what it holds is still its own, because somebody else may have taken it.
package announce
