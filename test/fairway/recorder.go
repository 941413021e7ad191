package fairway

import (
	"context"
	"fmt"
	"net"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
)

// recorder sits between Envoys and the controller and notes their messages. It
// passes all messages on unchanged.
type recorder struct {
	discoveryv3.UnimplementedAggregatedDiscoveryServiceServer

	timeline *Timeline
	server   discoveryv3.AggregatedDiscoveryServiceClient
}

// record starts a recorder in front of the controller's xDS server and returns
// the recorder's address.
func (r *Installation) record(t testing.TB) string {
	t.Helper()
	const much = 1 << 30
	connection, err := grpc.NewClient("passthrough:///"+r.XDS.String(),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(much), grpc.MaxCallSendMsgSize(much)),
		// The recorder must not delay an Envoy's reconnection.
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: backoff.Config{
			BaseDelay: 20 * time.Millisecond, Multiplier: 1.5, MaxDelay: 200 * time.Millisecond,
		}}))
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(grpc.MaxRecvMsgSize(much), grpc.MaxSendMsgSize(much))
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(server,
		&recorder{timeline: &r.Timeline, server: discoveryv3.NewAggregatedDiscoveryServiceClient(connection)})
	ended := make(chan struct{})
	go func() { defer close(ended); _ = server.Serve(listener) }()
	t.Cleanup(func() { server.Stop(); <-ended; _ = connection.Close() })
	return listener.Addr().String()
}

// DeltaAggregatedResources passes a stream's messages on until either end leaves.
func (r *recorder) DeltaAggregatedResources(envoy discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesServer) error {
	ctx, cancel := context.WithCancel(envoy.Context())
	server, err := r.server.DeltaAggregatedResources(ctx)
	if err != nil {
		cancel()
		return err
	}
	var node string
	var mu sync.Mutex // guards node
	var passing sync.WaitGroup
	passing.Go(func() {
		defer cancel()
		for {
			request, err := envoy.Recv()
			if err != nil {
				return
			}
			mu.Lock()
			if request.GetNode() != nil {
				node = request.GetNode().GetId()
			}
			mu.Unlock()
			r.timeline.Note("%s > %s", node, describeRequest(request))
			if server.Send(request) != nil {
				return
			}
		}
	})
	// Recv returns when this function returns, so the goroutine ends after it.
	for {
		response, err := server.Recv()
		mu.Lock()
		name := node
		mu.Unlock()
		if err != nil {
			cancel()
			r.timeline.Note("%s: the stream ends: %v", name, err)
			return err
		}
		r.timeline.Note("%s < %s", name, describeResponse(response))
		if err := envoy.Send(response); err != nil {
			cancel()
			return err
		}
	}
}

func describeRequest(q *discoveryv3.DeltaDiscoveryRequest) string {
	text := kindOf(q.GetTypeUrl())
	switch {
	case q.GetErrorDetail() != nil:
		text += fmt.Sprintf(" NACK %s: %s", q.GetResponseNonce(), q.GetErrorDetail().GetMessage())
	case q.GetResponseNonce() != "":
		text += " ACK " + q.GetResponseNonce()
	}
	if n := len(q.GetInitialResourceVersions()); n > 0 {
		text += fmt.Sprintf(" knows %d", n)
	}
	return text + names(" subscribe", q.GetResourceNamesSubscribe()) + names(" unsubscribe", q.GetResourceNamesUnsubscribe())
}

func describeResponse(s *discoveryv3.DeltaDiscoveryResponse) string {
	var sent []string
	for _, resource := range s.GetResources() {
		sent = append(sent, resource.GetName()+"@"+resource.GetVersion()[:min(6, len(resource.GetVersion()))])
	}
	return fmt.Sprintf("%s %s%s%s", kindOf(s.GetTypeUrl()), s.GetNonce(), names("", sent), names(" without", s.GetRemovedResources()))
}

// kindOf is the last word of a type URL.
func kindOf(url string) string { return strings.TrimPrefix(path.Ext(url), ".") }

// names lists a few names and counts the rest.
func names(what string, all []string) string {
	const few = 6
	if len(all) == 0 {
		return ""
	}
	all = slices.Sorted(slices.Values(all))
	if len(all) > few {
		return fmt.Sprintf("%s [%s and %d more]", what, strings.Join(all[:few], ", "), len(all)-few)
	}
	return fmt.Sprintf("%s [%s]", what, strings.Join(all, ", "))
}
