package healthcheck

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"
)

// Node tells load balancers whether a node takes connections to Services at all, as kube-proxy
// does at port 10256. Its methods may be called concurrently.
type Node struct {
	Now func() time.Time

	mu      sync.Mutex
	written time.Time // the last commit; zero: none
	failing time.Time // since when commits fail; zero: they do not
	leaving bool
}

// stale is how long commits may fail until the node counts as unhealthy.
const stale = 2 * time.Minute

// Committed says that the kernel has all Services, and whether the node is about to go.
func (n *Node) Committed(leaving bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.written, n.failing, n.leaving = n.Now(), time.Time{}, leaving
}

// Failed says that the kernel did not take Services.
func (n *Node) Failed() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.failing.IsZero() {
		n.failing = n.Now()
	}
}

// Healthy says whether the kernel has what Services are.
func (n *Node) Healthy() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.healthy()
}

func (n *Node) healthy() bool {
	return !n.written.IsZero() && (n.failing.IsZero() || n.Now().Sub(n.failing) < stale)
}

// Serve answers at an address until ctx ends. It waits while another program has it, such as
// the kube-proxy from which this one takes over, and says so once.
func (n *Node) Serve(ctx context.Context, address string, taken func(error)) error {
	const pause = 5 * time.Second
	for told := false; ; {
		socket, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
		if err == nil {
			return n.serve(ctx, socket)
		}
		if !told && ctx.Err() == nil {
			told = true
			taken(err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
	}
}

func (n *Node) serve(ctx context.Context, socket net.Listener) error {
	answering := server(n)
	defer context.AfterFunc(ctx, func() { _ = answering.Close() })()
	if err := answering.Serve(socket); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("answer load balancers: %w", err)
	}
	return nil
}

// nodeAnswer is what kube-proxy answers.
type nodeAnswer struct {
	LastUpdated  time.Time `json:"lastUpdated"`
	CurrentTime  time.Time `json:"currentTime"`
	NodeEligible *bool     `json:"nodeEligible,omitempty"`
}

// ServerName is in the header "Server" of each answer: who asks the port of kube-proxy can tell
// Fairway's agent from it.
const ServerName = "fairway"

// ServeHTTP implements http.Handler: /healthz is for load balancers, /livez for whoever
// restarts the process.
func (n *Node) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	n.mu.Lock()
	healthy, eligible := n.healthy(), !n.leaving
	answer := nodeAnswer{LastUpdated: n.written, CurrentTime: n.Now()}
	n.mu.Unlock()
	w.Header().Set("Server", ServerName)
	switch r.URL.Path {
	case "/healthz":
		answer.NodeEligible = &eligible
		healthy = healthy && eligible
	case "/livez":
	default:
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if !healthy {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	_ = json.NewEncoder(w).Encode(answer) // the load balancer may have gone
}
