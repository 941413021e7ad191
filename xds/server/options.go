package server

import (
	"context"
	"time"

	"github.com/go-logr/logr"

	"github.com/fairwaynet/fairway/xds/route"
)

// Options are the settings of a Server. The zero value of each field is its default.
type Options struct {
	Log      logr.Logger
	Observer Observer // may be nil
	// Authorize returns an error if the peer of a stream may not have the
	// configuration of a gateway. Without it every peer may have any.
	Authorize func(ctx context.Context, gateway route.Gateway) error
	// ClusterGrace is how long a cluster stays after every Envoy has ACKed the removal
	// of the last route that used it. Default 10 s.
	ClusterGrace time.Duration
	// AckTimeout is how long a synced Envoy may take to answer a response.
	// Default 5 s.
	AckTimeout time.Duration
	// SyncTimeout is the same for an Envoy that is not synced, whose first responses
	// are the whole configuration. A stream without a request ends after it, too.
	// Default 60 s.
	SyncTimeout time.Duration
	// DNSGrace is how long routes to a cluster that Envoy resolves by DNS wait after
	// its ACK: Envoy does not say when it has resolved the name. Default 1 s.
	DNSGrace time.Duration
	// ProofTimeout is how long a host counts as not served because a gateway has not
	// shown its certificate. After it the Observer is told. Default 10 s.
	ProofTimeout time.Duration
	// LastResortAfter is how long an Envoy must have tried a server that is not open,
	// or stale, until it is admitted there. Default 5 s.
	LastResortAfter time.Duration
}
