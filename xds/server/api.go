package server

import (
	"context"
	"time"

	"github.com/go-logr/logr"

	"github.com/fairwaynet/fairway/xds/route"
)

// Observer hears what became of what was published. Its methods are called
// one at a time, in the order in which things happened, from a goroutine of
// the server's own; they may publish. A key may be told more than once.
type Observer interface {
	// HostServed says that every synced Envoy has ACKed the newest published
	// value of the host, or its removal. With no Envoy connected it is not
	// called, but for a removal.
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
	// EnvoysChanged says that Envoys of the gateway came, caught up, or left.
	EnvoysChanged(gateway route.Gateway)
	// CertificateRejected says that an Envoy refused the certificate that is
	// published under key; the last good one stays, or what is served without
	// it. A key without gateway is that of the default certificate. An empty
	// detail says that it is not published any more.
	CertificateRejected(key route.Key, detail string)
	// CertificateNotServed says that a gateway's clients have not got the
	// certificate that is published under key for Options.ProofPatience; detail
	// is what they got instead. Empty: they do now, or it is not published any
	// more.
	CertificateNotServed(key route.Key, detail string)
}

// Options are the server's settings; the zero value of each is its default.
type Options struct {
	Log      logr.Logger
	Observer Observer // may be nil
	// Authorize says why the peer of a stream may not have the configuration of
	// a gateway; nil: it may. Without it everybody who can connect may have any.
	Authorize func(ctx context.Context, gateway route.Gateway) error
	// Grace is how long a cluster stays after the last route that used it was
	// ACKed away. Default 10 s.
	ClusterGrace time.Duration
	// AckTimeout is how long a synced Envoy may take to answer a response.
	// Default 5 s.
	AckTimeout time.Duration
	// SyncTimeout is the same for an Envoy that catches up, whose first
	// responses are the whole picture; and how long a stream may take to ask for
	// something. Default 60 s.
	SyncTimeout time.Duration
	// Settle is how long a cluster that Envoy resolves by DNS is given, after
	// its ACK, before routes use it: Envoy does not say when it has resolved.
	// Default 1 s.
	DNSGrace time.Duration
	// ProofPatience is how long a host counts as not served because a gateway
	// has not shown its certificate, and after how long that is told. Default
	// 10 s.
	ProofTimeout time.Duration
	// LastResort is how long an Envoy must have asked a server that is not open,
	// or stale, until it is let in there. Default 5 s.
	LastResortAfter time.Duration
}

// HostState is what is known of one host.
type HostState struct {
	// Value is what a controller asks for; nil: nothing. It must not be changed.
	Value       *route.Host
	Published   bool   // a controller asks for it
	Served      bool   // every synced Envoy (at least one) ACKed the newest value
	Rejected    string // Envoy's message, if the newest value was refused
	WaitingFor  string // what a release waits for, for people; empty if nothing
	Withdrawing bool   // not published any more, and some synced Envoy has not ACKed that
	// Unattended says that no Envoy of the gateway has caught up: nobody is
	// waited for, and nobody is told that the host is served.
	NoEnvoys bool
	// Proving says that a gateway has yet to show the host's certificate, which
	// is new. The observer hears HostServed again when that is over.
	ProofPending bool
}

// EnvoyState is what is known of one connected Envoy.
type EnvoyState struct {
	Gateway route.Gateway
	Node    string // node id
	Address string // peer address of the stream
	Version string // of Envoy
	Synced  bool   // has caught up
	Pending int    // resources it has not yet ACKed at their newest version
	Since   time.Time
}
