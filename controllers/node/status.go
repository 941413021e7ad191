package node

import (
	"context"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairwaynet/fairway/api/podnetwork"
	"github.com/fairwaynet/fairway/api/problem"
	"github.com/fairwaynet/fairway/cni/ipam"
	"github.com/fairwaynet/fairway/controllers/node/network"
)

// Every write of a Node goes to every agent, so the agents of a cluster together write at
// most one status in perWrite, and each of them one in leastPause.
const (
	leastPause = 30 * time.Second
	perWrite   = 100 * time.Millisecond
)

// statusWriter writes what people should know of the node's network onto its Node. There is
// no heartbeat: whether an agent lives is in the readiness of its pod.
type statusWriter struct {
	name   network.Key
	writer client.Writer
	now    func() time.Time
	log    logr.Logger

	mu        sync.Mutex
	described podnetwork.Status // by the network, without Problems and use
	latest    podnetwork.Status
	fresh     chan struct{} // holds a value while latest may have to be written

	written podnetwork.Status
	at      time.Time // zero: nothing was written
}

func newStatusWriter(name network.Key, writer client.Writer, now func() time.Time, log logr.Logger) *statusWriter {
	return &statusWriter{name: name, writer: writer, now: now, log: log, fresh: make(chan struct{}, 1)}
}

// describe takes what the network says of itself.
func (s *statusWriter) describe(status podnetwork.Status) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.described = status
}

// passed takes what is so after a pass of the keeper. It does not wait.
func (s *statusWriter) passed(usage []ipam.Usage, problems []problem.Problem) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.latest = s.described
	s.latest.Ranges = nil
	for _, each := range usage {
		s.latest.Ranges = append(s.latest.Ranges, podnetwork.Usage(each))
	}
	s.latest.Problems, s.latest.PeerProblems = apart(string(s.name), problems)
	select {
	case s.fresh <- struct{}{}:
	default:
	}
}

// apart tells Problems of the node of a name and those of others apart.
func apart(name string, problems []problem.Problem) (own []string, others []podnetwork.PeerProblem) {
	for _, p := range problems {
		if p.Object.Kind != "Node" {
			continue // the object's owner is told
		}
		if p.Object.Name.Name == name {
			own = append(own, p.Message)
		} else {
			others = append(others, podnetwork.PeerProblem{Node: p.Object.Name.Name, Message: p.Message})
		}
	}
	return own, others
}

// run writes until ctx ends. Passes come all the time, so nothing is tried again sooner.
func (s *statusWriter) run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.fresh:
		}
		if err := s.write(ctx); err != nil && ctx.Err() == nil {
			s.log.V(1).Info("the status of the node's network cannot be written yet", "reason", err.Error())
		}
	}
}

// write writes the latest status if it is worth it and the last write is long enough ago.
func (s *statusWriter) write(ctx context.Context) error {
	s.mu.Lock()
	latest := s.latest
	s.mu.Unlock()
	if !s.at.IsZero() && (!latest.Differs(s.written) || s.now().Sub(s.at) < pause(latest.Peers)) {
		return nil
	}
	if err := network.Annotate(ctx, s.writer, s.name, podnetwork.StatusAnnotation, latest.Text()); err != nil {
		return client.IgnoreNotFound(err) // the kubelet has not registered the node yet
	}
	s.written, s.at = latest, s.now()
	return nil
}

// pause is the least time between two writes of an agent that has so many peers.
func pause(peers podnetwork.Peers) time.Duration {
	nodes := peers.Link + peers.Overlay + peers.Unreached
	return max(leastPause, time.Duration(nodes)*perWrite)
}
