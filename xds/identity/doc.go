// Package identity decides who may be a controller and who a gateway: an
// authority of our own, the certificates that it signs, and when each of them
// must be renewed, and why.
//
// It is pure but for the making of keys: it takes what there is and the time,
// and returns what there should be. It stores nothing and knows no Secret.
//
// Its invariant: whoever follows it, however late, never hands out a certificate
// that somebody who was told in time does not trust. A new authority is made
// known to all before it replaces a certificate in use, and an old one is
// forgotten only when nothing that it signed has been in use for a while.
package identity
