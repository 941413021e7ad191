// Package grpcserver is the gRPC server by which Envoys get their configuration: its
// address, its mutual TLS, its limits, and which gateway a certificate stands for.
//
// It does not know what is served (xds/server) or where certificates come from. Its
// invariant: a client of the network without a certificate of a trusted authority gets
// nothing, and nobody keeps Envoys from being served.
package grpcserver
