package node

import (
	"context"
	"time"

	"github.com/fairwaynet/fairway/api/problem"
	"github.com/fairwaynet/fairway/proxy/takeover"
)

// lookInterval is how often the agent looks for kube-proxy. A look asks the kernel one
// question, and tries one connection, if nothing has changed.
const lookInterval = 3 * time.Second

// takeoverKey is the reporter's key of what is found of kube-proxy.
type takeoverKey struct{}

// handover is the state of Services between kube-proxy and the agent.
type handover struct {
	services *Services
	node     takeover.Node
	state    takeover.State
	begun    bool // Services may be written
}

// watchKubeProxy lets the keeper write as soon as it may, and removes what kube-proxy leaves.
func (s *Services) watchKubeProxy(ctx context.Context) error {
	h := &handover{
		services: s, node: takeover.Node{Engine: s.agent.Engine, Now: time.Now}, state: takeover.State{Adopt: s.Adopt},
	}
	ticker := time.NewTicker(lookInterval)
	defer ticker.Stop()
	for {
		if err := h.look(ctx); err != nil && ctx.Err() == nil {
			s.agent.Log.Error(err, "look for kube-proxy")
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

func (h *handover) look(ctx context.Context) error {
	s, a := h.services, h.services.agent
	if !h.begun && !h.state.Serving {
		serves, err := h.node.Serves(ctx)
		if err != nil {
			return err
		}
		h.state.Serving = serves
	}
	found, err := h.node.Look(ctx, s.Adopt)
	if err != nil {
		return err
	}
	h.state.Written, h.state.Now = s.keeper.Written(), time.Now()
	decision := takeover.Decide(found, h.state)
	if decision.Write && !h.begun {
		h.begun, h.state.Serving = true, true
		s.keeper.Complete()
		close(s.allowed)
	}
	if decision.Remove {
		if err := h.node.Remove(ctx); err != nil {
			return err
		}
		a.Log.Info("the rules that kube-proxy has left are removed", "nftables", found.Nftables, "iptables", found.Iptables)
		h.state.Returned, h.state.Removed = !h.state.Removed.IsZero(), h.state.Now
	}
	var problems []problem.Problem
	for _, each := range decision.Problems {
		problems = append(problems, a.problem(each.Reason, each.Message))
	}
	a.Reporter.Report(ctx, takeoverKey{}, problems)
	return nil
}
