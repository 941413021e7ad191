package route

// Chain is a filter chain: what becomes of the connections over TLS that ask for a
// server name (SNI). The zero value is the chain of all names that ask for nothing
// special: TLS ends at the gateway, which shows one certificate for the name and asks
// the client for none. ChainFor says which chain a name has.
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

// EndsTLS reports whether TLS ends at the gateway, so that clients are shown a
// certificate of the gateway's.
func (c Chain) EndsTLS() bool { return !c.Closed && !c.IsPassthrough() }

// Serves reports whether requests for a host are served over connections of the
// chain: exactly what the host demands of clients was demanded there. All other
// requests are answered 421.
func (c Chain) Serves(host *Host) bool {
	switch {
	case host.Passthrough != nil:
		return c.IsPassthrough()
	case host.Client != nil:
		return c.Client == *host.Client
	default:
		return true
	}
}
