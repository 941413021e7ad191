package server

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
)

const (
	// answerPatience is how long a server that ends waits for what Envoys still
	// have to answer.
	drainTimeout = time.Second
	// cutPatience is after how long it closes the connections of whoever has not
	// gone by then.
	closeTimeout = 2 * time.Second
)

// errShuttingDown ends the streams of a server that ends. Envoy tries again, and
// elsewhere: it has been told that nobody is here any more.
var errShuttingDown = status.Error(codes.Unavailable, "shutting down")

// Serve serves those who connect to listener until ctx ends, and then ends
// itself: each is told to go elsewhere, what is under way is still heard, and who
// does not go is cut off. It takes little more than two seconds, whatever
// they do.
func (s *Server) Serve(ctx context.Context, transport *grpc.Server, listener *LimitedListener) error {
	s.Register(transport)
	ended := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(ended)
		cut := time.AfterFunc(closeTimeout, listener.CloseAll)
		defer cut.Stop()
		told := make(chan struct{})
		go func() { defer close(told); transport.GracefulStop() }()
		s.Close() // streams do not end by themselves
		<-told
	})
	err := transport.Serve(listener)
	if !stop() {
		<-ended
		return nil
	}
	return fmt.Errorf("serve xDS: %w", err)
}

// Close ends all streams and the server's goroutines, and waits for them. What
// was sent to an Envoy, and what it answers within a second, counts.
func (s *Server) Close() {
	s.mu.Lock()
	if !s.closing {
		s.closing = true
		close(s.closed)
	}
	s.mu.Unlock()
	s.streaming.Wait()
	s.notifier.stop()
	s.running.Wait()
}

// begin counts a goroutine of a stream, which must call s.streaming.Done. It
// reports false if the server ends.
func (s *Server) trackStream() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return false
	}
	s.streaming.Add(1)
	return true
}

// first waits for the first request, which tells who it is that connects.
func (s *Server) firstRequest(
	ctx context.Context, ads discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesServer,
) (*discoveryv3.DeltaDiscoveryRequest, error) {
	var first *discoveryv3.DeltaDiscoveryRequest
	heard := make(chan error, 1)
	if !s.trackStream() {
		return nil, errShuttingDown
	}
	// Recv cannot be interrupted but by the end of the stream.
	go func() {
		defer s.streaming.Done()
		var err error
		first, err = ads.Recv()
		heard <- err
	}()
	patience := time.NewTimer(s.options.SyncTimeout)
	defer patience.Stop()
	select {
	case <-s.closed:
		return nil, errShuttingDown
	case <-patience.C:
		return nil, status.Errorf(codes.DeadlineExceeded, "nothing was asked for within %s", s.options.SyncTimeout)
	case err := <-heard:
		if err != nil {
			return nil, err
		}
	}
	return first, s.authorize(ctx, first.GetNode())
}

// drain waits until an Envoy has answered what it was sent, or for
// answerPatience. Nothing more is sent to it.
func (s *Server) drain(ctx context.Context, stream *stream) {
	s.mu.Lock()
	answered := stream.hasNoInflight()
	s.mu.Unlock()
	if answered {
		return
	}
	patience := time.NewTimer(drainTimeout)
	defer patience.Stop()
	select {
	case <-patience.C:
	case <-ctx.Done():
	}
}

// isAnswered reports whether no response is under way.
func (s *stream) hasNoInflight() bool {
	for k := range s.subscriptions {
		if s.subscriptions[k].inflight != nil {
			return false
		}
	}
	return true
}
