package grpcserver

import (
	"context"
	"net"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"

	"github.com/fairwaynet/fairway/xds/server"
)

// Limits for connections of all clients. An Envoy needs one stream on one
// connection.
const (
	maxConnections        = 10_000
	maxConnectionsOfOne   = 128 // address: all Envoys of a node may share one
	maxStreams            = 4   // per connection
	maxRequestHeaderBytes = 16 << 10
)

// Serve serves Envoys until ctx ends. A connection lasts about age (0:
// forever), give or take a little. So Envoys spread over controllers that start
// later, and no Envoy stays connected with an expired certificate.
func Serve(ctx context.Context, listener net.Listener, creds credentials.TransportCredentials, age time.Duration, ads *server.Server) error {
	s := grpc.NewServer(append(server.GRPCOptions(),
		grpc.Creds(creds),
		grpc.MaxConcurrentStreams(maxStreams),
		grpc.MaxHeaderListSize(maxRequestHeaderBytes),
		// An Envoy that reconnects lists the name and version of all its
		// resources, one message per type: 100,000 resources are some 20 MiB.
		// gRPC's default limit of 4 MiB would lock such an Envoy out for good.
		// Only clients with a valid certificate can send messages.
		grpc.MaxRecvMsgSize(64<<20),
		grpc.ConnectionTimeout(5*time.Second),
		// The server notices within 40 s that an Envoy has vanished without
		// closing its connection.
		grpc.KeepaliveParams(keepalive.ServerParameters{
			Time: 30 * time.Second, Timeout: 10 * time.Second,
			MaxConnectionAge: age, MaxConnectionAgeGrace: time.Second,
		}),
		// Envoy sends a keepalive ping every 3 s.
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: time.Second, PermitWithoutStream: true}),
	)...)
	return ads.Serve(ctx, s, server.LimitListener(listener, maxConnections, maxConnectionsOfOne))
}
