package node

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"k8s.io/apimachinery/pkg/types"

	"github.com/fairwaynet/fairway/api/problem"
	"github.com/fairwaynet/fairway/cni/agent"
	"github.com/fairwaynet/fairway/cni/keeper"
)

// starter tells the plugin and the container runtime that pods can start.
type starter struct {
	agent *Agent
	begun bool

	mu       sync.Mutex // guards what follows
	isolated []string   // namespaces whose pods wait for their policies
	node     agent.Node // as it was written last
}

// isolate says which namespaces have policies. The plugin knows when it returns.
func (s *starter) isolate(namespaces []string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.isolated = namespaces
	if s.node.Version == 0 {
		return nil // no pod can start yet
	}
	return s.write(s.node)
}

// write writes what the plugin must know. The caller has the lock.
func (s *starter) write(node agent.Node) error {
	node.Isolated = s.isolated
	if is, err := agent.Read(s.agent.Folders.Run); err != nil || !same(is, node) {
		if err := node.Write(s.agent.Folders.Run); err != nil {
			return err
		}
	}
	s.node = node
	return nil
}

// starterKey is the reporter's key of what a starter finds.
type starterKey struct{}

// ReasonOtherNetwork says that the runtime takes another network configuration than ours.
const ReasonOtherNetwork problem.Reason = "OtherNetwork"

// complete is called when everything that is wanted is in the kernel, also again. The
// plugin's file comes first, the configuration last: the node becomes Ready by it.
func (s *starter) complete(ctx context.Context, wanted keeper.Wanted) error {
	a := s.agent
	if len(wanted.Ranges) == 0 || wanted.MTU == 0 {
		return nil // no pod could start: the Problem is told
	}
	if !s.begun && a.Services != nil && !a.Services.keeper.Written() {
		return nil // a pod could reach no Service: the next pass looks again
	}
	if !s.begun && a.Policies != nil && !a.Policies.enforcer.Written() {
		return nil // a pod would be open
	}
	node := agent.Node{
		Version: agent.Version, Boot: a.boot, Ranges: wanted.Ranges, MTU: wanted.MTU, Addresses: wanted.Sources,
	}
	s.mu.Lock()
	err := s.write(node)
	s.mu.Unlock()
	if err != nil {
		return err
	}
	if err := s.network(ctx); err != nil {
		return err
	}
	if !s.begun {
		s.begun = true
		a.Log.Info("pods can start", "ranges", join(wanted.Ranges), "mtu", wanted.MTU)
		a.Complete()
	}
	return a.available(ctx)
}

// network writes the network configuration, and looks for others that come before it.
func (s *starter) network(ctx context.Context) error {
	a := s.agent
	written, err := a.Folders.Network()
	if err != nil {
		return err
	}
	if written && s.begun {
		a.Told.Mended(ctx, "the network configuration of the plugin was missing or changed")
	}
	rivals, err := a.Folders.Rivals()
	if err != nil {
		return err
	}
	if len(rivals) > 0 && a.Exclusive {
		a.Log.Info("other network configurations are moved aside", "files", rivals)
		if err := a.Folders.MoveAside(rivals); err != nil {
			return err
		}
		rivals = nil
	}
	var problems []problem.Problem
	if len(rivals) > 0 {
		problems = append(problems, a.problem(ReasonOtherNetwork, fmt.Sprintf(
			"%s in %s comes before Fairway's, so new pods get another network: remove it, or set --cni-exclusive to move it aside",
			strings.Join(rivals, ", "), a.Folders.Networks)))
	}
	a.Reporter.Report(ctx, starterKey{}, problems)
	return nil
}

func (a *Agent) object() problem.Object {
	return problem.Object{Kind: "Node", Name: types.NamespacedName{Name: string(a.Name)}}
}

func same(a, b agent.Node) bool {
	return a.Boot == b.Boot && a.MTU == b.MTU && slices.Equal(a.Ranges, b.Ranges) &&
		slices.Equal(a.Addresses, b.Addresses) && slices.Equal(a.Isolated, b.Isolated)
}

func join[T fmt.Stringer](all []T) string {
	var texts []string
	for _, each := range all {
		texts = append(texts, each.String())
	}
	return strings.Join(texts, ", ")
}
