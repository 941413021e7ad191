package bench

import (
	"context"
	"net"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/proto"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
)

// relay stands between an Envoy and a controller, and changes the resources that
// the controller sends.
type relay struct {
	discoveryv3.UnimplementedAggregatedDiscoveryServiceServer

	controller discoveryv3.AggregatedDiscoveryServiceClient
	edit       func(proto.Message)
}

// startRelay returns the address of a relay, which ends with the benchmark.
func startRelay(b *testing.B, controller string, edit func(proto.Message)) string {
	b.Helper()
	const much = 1 << 30
	connection, err := grpc.NewClient("passthrough:///"+controller,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(much), grpc.MaxCallSendMsgSize(much)))
	if err != nil {
		b.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	server := grpc.NewServer(grpc.MaxRecvMsgSize(much), grpc.MaxSendMsgSize(much))
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(server,
		&relay{controller: discoveryv3.NewAggregatedDiscoveryServiceClient(connection), edit: edit})
	ended := make(chan struct{})
	go func() { defer close(ended); _ = server.Serve(listener) }()
	b.Cleanup(func() { server.Stop(); <-ended; _ = connection.Close() })
	return listener.Addr().String()
}

// DeltaAggregatedResources passes one stream on until either end leaves.
func (r *relay) DeltaAggregatedResources(envoy discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesServer) error {
	ctx, cancel := context.WithCancel(envoy.Context())
	defer cancel()
	controller, err := r.controller.DeltaAggregatedResources(ctx)
	if err != nil {
		return err
	}
	go func() { // ends with the stream, which ends when this function returns
		defer cancel()
		for {
			request, err := envoy.Recv()
			if err != nil || controller.Send(request) != nil {
				return
			}
		}
	}()
	for {
		response, err := controller.Recv()
		if err != nil {
			return err
		}
		for _, resource := range response.GetResources() {
			message, err := resource.GetResource().UnmarshalNew()
			if err != nil {
				return err
			}
			r.edit(message)
			if err := resource.GetResource().MarshalFrom(message); err != nil {
				return err
			}
		}
		if err := envoy.Send(response); err != nil {
			return err
		}
	}
}
