package route

// Chain is what becomes of the connections over TLS that ask for a server name
// (SNI). The zero value is what becomes of all others: TLS ends at the gateway,
// which has one certificate for the name and asks for none of the client.
//
// It is comparable: names whose Chains are equal share one filter chain in
// Envoy, so that a name comes and goes without anything happening to the
// connections of the others.
type Chain struct {
	// Client is what is demanded of clients' certificates.
	Client ClientPolicy
	// Passthrough is where connections are passed on as they are, if its
	// Service has a name.
	Passthrough Cluster
	// Pair is the name or wildcard, if any, whose two certificates are offered:
	// RSA to clients that can use nothing else, ECDSA to all others.
	Pair Hostname
	// Closed refuses connections: what is demanded of them cannot be verified.
	Closed bool
}

// IsPassthrough reports whether connections are passed on as they are.
func (c Chain) IsPassthrough() bool { return c.Passthrough.Port.Service.Name != "" }
