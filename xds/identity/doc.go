// Package identity is the identity of controllers and gateways towards one another:
// an authority of our own, the certificates that it signs, and the reasons and times
// of their renewal.
//
// It is pure but for the making of keys: it takes the present certificates and the
// time, and returns the wanted ones. It stores nothing and knows no Secret.
//
// Its invariant: no process gets a certificate that its peers do not trust yet. All
// peers know a new authority before it signs a certificate in use, and an old authority
// is forgotten only when no certificate of its has been in use for a while.
package identity
