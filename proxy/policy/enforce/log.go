package enforce

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"github.com/fairwaynet/fairway/proxy/nft/nflog"
	"github.com/fairwaynet/fairway/proxy/policy"
)

// Denial is a packet that the policies of one of the node's pods denied.
type Denial struct {
	Pod       policy.Key
	Direction policy.Direction
	Cluster   string // the policy of the cluster that denied it; empty: the pod's own did
	nflog.Headers
}

// Listen calls each for the packets that are denied, with Options.LogDenied and as far as the kernel's limit
// logs them, until ctx ends. failed hears what keeps it from that, once for each cause; it is tried again.
// What is lost is no failure: the kernel never waits.
func (e *Enforcer) Listen(ctx context.Context, each func(Denial), failed func(error)) {
	const pause = 5 * time.Second // after a failure: the agent before this one may still listen
	said := ""
	for ctx.Err() == nil {
		err := e.listen(ctx, func(d Denial) {
			said = ""
			each(d)
		})
		if ctx.Err() != nil {
			return
		}
		if err.Error() != said {
			said = err.Error()
			failed(err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}

// listen listens until something fails.
func (e *Enforcer) listen(ctx context.Context, each func(Denial)) (err error) {
	listener, err := nflog.Open(ctx, policy.LogGroup)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, listener.Close()) }()
	for {
		err := listener.Listen(ctx, func(p nflog.Packet) {
			if d, known := e.denial(p); known {
				each(d)
			}
		})
		if !errors.Is(err, nflog.ErrLost) {
			return err
		}
	}
}

// denial finds the pod for whose sake a chain has logged a packet.
func (e *Enforcer) denial(p nflog.Packet) (Denial, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for name, pod := range e.pods {
		for _, d := range []policy.Direction{policy.Ingress, policy.Egress} {
			if policy.LogPrefix(pod, d) == p.Prefix {
				return Denial{Pod: name, Direction: d, Headers: p.Headers}, true
			}
		}
	}
	for _, x := range e.book.ClusterPolicies() {
		for d, address := range map[policy.Direction]netip.Addr{policy.Ingress: p.Destination, policy.Egress: p.Source} {
			if pod := e.book.Owner(address); pod != nil && policy.ClusterLogPrefix(x, d) == p.Prefix {
				return Denial{Pod: pod.Name, Direction: d, Cluster: x.Name, Headers: p.Headers}, true
			}
		}
	}
	return Denial{}, false
}
