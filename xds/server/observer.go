package server

import "github.com/fairwaynet/fairway/xds/route"

// Observer hears the fate of what was published. The server calls its methods one at a
// time, in the order of events, from a goroutine of its own. They may publish. The same
// event may be told more than once.
type Observer interface {
	// HostServed says that every synced Envoy has ACKed the newest published
	// value of the host, or its removal. Without a synced Envoy it is called for
	// removals only.
	HostServed(key route.Key)
	// HostRejected says that an Envoy refused the newest published value of
	// the host; detail is Envoy's own message. The host serves its last good
	// version, or 503.
	HostRejected(key route.Key, detail string)
	// BackendRejected says that an Envoy refused the endpoints of a Service
	// port; the last good ones stay.
	BackendRejected(port route.ServicePort, detail string)
	// SettingsRejected says that an Envoy refused a listener of the gateway;
	// the last good one stays.
	SettingsRejected(gateway route.Gateway, detail string)
	// EnvoysChanged says that Envoys of the gateway connected, became synced, or
	// left.
	EnvoysChanged(gateway route.Gateway)
	// CertificateRejected says that an Envoy refused the certificate that is
	// published under key. The last good one stays, or the one that is served
	// without it. A key without gateway is that of the default certificate. An
	// empty detail says that the refused certificate is not published any more.
	CertificateRejected(key route.Key, detail string)
	// CertificateNotServed says that clients of a gateway do not get the
	// certificate that is published under key, for Options.ProofTimeout already.
	// detail tells what they get instead. An empty detail says that they get it
	// now, or that it is not published any more.
	CertificateNotServed(key route.Key, detail string)
}
