package server

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const (
	// drainTimeout is how long a server that ends waits for the last answers of
	// Envoys.
	drainTimeout = time.Second
	// closeTimeout is after how long it closes the connections that are left.
	closeTimeout = 2 * time.Second
)

// errShuttingDown ends the streams of a server that ends. Envoy tries again, and at
// another server: its cluster has learned that this one is gone.
var errShuttingDown = status.Error(codes.Unavailable, "shutting down")

// Serve serves the connections of listener until ctx ends, and then ends the server. It
// tells each Envoy to go to another server, still takes the answers that are under way,
// and closes the connections that are left. That takes little more than two seconds,
// whatever the Envoys do.
func (s *Server) Serve(ctx context.Context, transport *grpc.Server, listener *LimitedListener) error {
	s.Register(transport)
	ended := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(ended)
		closing := time.AfterFunc(closeTimeout, listener.CloseAll)
		defer closing.Stop()
		drained := make(chan struct{})
		go func() { defer close(drained); transport.GracefulStop() }()
		s.Close() // streams do not end by themselves
		<-drained
	})
	err := transport.Serve(listener)
	if !stop() {
		<-ended
		return nil
	}
	return fmt.Errorf("serve xDS: %w", err)
}

// Close ends all streams and the server's goroutines, and waits for them. Answers to
// responses that were sent before still count, if they come within a second.
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

// trackStream counts a goroutine of a stream, which must call s.streaming.Done. It
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

// drain waits until an Envoy has answered its last responses, for drainTimeout at most.
// Nothing more is sent to it.
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

// hasNoInflight reports whether Envoy has answered every response.
func (s *stream) hasNoInflight() bool {
	for k := range s.subscriptions {
		if s.subscriptions[k].inflight != nil {
			return false
		}
	}
	return true
}
