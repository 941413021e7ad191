package simulated

import (
	"context"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
)

// Ask asks for the clusters and listeners of a gateway, as an Envoy that has
// just started, and returns how that went when the first response is there: nil
// if there is one.
func Ask(ctx context.Context, conn grpc.ClientConnInterface, gateway string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := discoveryv3.NewAggregatedDiscoveryServiceClient(conn).DeltaAggregatedResources(ctx)
	if err != nil {
		return err
	}
	node := &corev3.Node{Id: "asking", Cluster: gateway}
	for _, kind := range []string{"cluster.v3.Cluster", "listener.v3.Listener"} {
		// What is wrong, Recv says.
		_ = stream.Send(&discoveryv3.DeltaDiscoveryRequest{Node: node, TypeUrl: "type.googleapis.com/envoy.config." + kind})
	}
	_, err = stream.Recv()
	return err
}
