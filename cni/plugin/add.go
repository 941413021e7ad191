package plugin

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"

	"github.com/fairwaynet/fairway/cni/agent"
	"github.com/fairwaynet/fairway/cni/detach"
	"github.com/fairwaynet/fairway/cni/ipam"
	"github.com/fairwaynet/fairway/cni/link"
)

// Plugin is the verbs.
type Plugin struct {
	// Now is the clock.
	Now func() time.Time
}

// patience is how long ADD waits for the agent. The kubelet gives a pod's network minutes,
// but a runtime that is asked to stop waits for its plugins.
const patience = 8 * time.Second

// Add connects the pod, or leaves nothing behind.
func (p Plugin) Add(ctx context.Context, args *skel.CmdArgs) (err error) {
	config, err := parse(args)
	if err != nil {
		return err
	}
	node, err := readNode(config)
	if err != nil {
		return err
	}
	netns, err := openNamespace(args.Netns)
	if err != nil {
		return err
	}
	defer func() { _ = netns.Close() }() // it was only entered
	lease, err := p.lease(ctx, config, node, netns, args)
	if err != nil {
		return err
	}
	defer undo(&err, func() error {
		return detach.Detach(context.WithoutCancel(ctx), ipam.Leases{Dir: config.State}, lease.Key)
	})

	wire := wireOf(lease, config, node)
	ends, err := link.Connect(netns, wire)
	if err != nil {
		return because(fmt.Errorf("connect the pod: %w", err), types.ErrInternal, "")
	}
	if err := await(ctx, config, node, lease); err != nil {
		return err
	}
	return types.PrintResult(config.describe(args.Netns, wire, ends), config.CNIVersion)
}

// undo undoes a step if a later one failed. Its own error is told, too.
func undo(err *error, step func() error) {
	if *err == nil {
		return
	}
	failed := step()
	if said := (*types.Error)(nil); failed != nil && errors.As(*err, &said) {
		said.Details += "; what was made is still there, DEL removes it: " + failed.Error()
	}
}

// readNode returns what holds on the node.
func readNode(config Config) (agent.Node, error) {
	node, err := agent.Read(config.Run)
	if errors.Is(err, agent.ErrNotStarted) {
		return node, failure(types.ErrTryAgainLater, err.Error(), tryAgain+"; if it stays so, "+seeAgent)
	}
	return node, because(err, types.ErrIOFailure, seeAgent)
}

func openNamespace(path string) (*link.Namespace, error) {
	netns, err := link.OpenNamespace(path)
	if err != nil {
		return nil, because(err, types.ErrInvalidNetNS, "")
	}
	own, err := netns.IsOwn()
	if err == nil && own {
		err = fmt.Errorf("%s is the network namespace of the node itself", path)
	}
	if err != nil {
		return nil, errors.Join(because(err, types.ErrInvalidNetNS, ""), netns.Close())
	}
	return netns, nil
}

// lease takes the pod's addresses, and notes all that ADD is about to make.
func (p Plugin) lease(
	ctx context.Context, config Config, node agent.Node, netns *link.Namespace, args *skel.CmdArgs,
) (ipam.Lease, error) {
	requested, err := config.Runtime.addresses()
	if err != nil {
		return ipam.Lease{}, err
	}
	ports, err := config.Runtime.hostPorts()
	if err != nil {
		return ipam.Lease{}, err
	}
	owner := link.Owner{Container: args.ContainerID, Interface: args.IfName}
	host, err := link.New(owner)
	if err != nil {
		return ipam.Lease{}, because(err, types.ErrInternal, "")
	}
	namespace, name, uid := pod(args.Args)
	lease, err := ipam.Leases{Dir: config.State}.Take(ctx, ipam.Lease{
		Key: ipam.Key{Container: args.ContainerID, Interface: args.IfName}, Boot: node.Boot,
		Namespace: ipam.Namespace{Path: args.Netns, Device: netns.Device, Inode: netns.Inode},
		Pod:       ipam.Pod{Namespace: namespace, Name: name, UID: uid},
		Link:      host, HostPorts: ports, Created: p.Now(),
	}, ipam.Wanted{Ranges: node.Ranges, Requested: requested})
	return lease, refused(err)
}

// refused gives the error of a lease its code.
func refused(err error) error {
	switch {
	case errors.As(err, new(*ipam.ExhaustedError)):
		return because(err, types.ErrTryAgainLater, "pods that end make room; for more pods at once give the node a larger range")
	case errors.As(err, new(*ipam.TakenError)), errors.Is(err, ipam.ErrGiven):
		return because(err, types.ErrTryAgainLater, tryAgain)
	case errors.As(err, new(*ipam.OutsideError)):
		return because(err, types.ErrInvalidNetworkConfig, "")
	case errors.Is(err, ipam.ErrExists):
		return because(err, types.ErrInvalidEnvironmentVariables, "")
	default:
		return because(err, types.ErrIOFailure, "")
	}
}

// wireOf is the wire of a lease.
func wireOf(lease ipam.Lease, config Config, node agent.Node) link.Wire {
	return link.Wire{
		Owner: link.Owner{Container: lease.Container, Interface: lease.Interface}, Host: lease.Link,
		Addresses: lease.Addresses, MTU: node.MTU, Sources: node.Addresses, Bandwidth: config.Runtime.bandwidth(),
		HostPorts: len(lease.HostPorts) > 0,
	}
}

// await waits until the agent has put the pod's host ports and policies into the kernel.
func await(ctx context.Context, config Config, node agent.Node, lease ipam.Lease) error {
	if !node.Waits(lease.Pod.Namespace, len(lease.HostPorts) > 0) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	err := agent.Ask(ctx, config.Run, agent.Request{
		Container: lease.Container, Interface: lease.Interface,
		UID: lease.Pod.UID, Namespace: lease.Pod.Namespace, Pod: lease.Pod.Name,
	})
	if refusal := (*agent.RefusedError)(nil); errors.As(err, &refusal) && refusal.Outcome == agent.Replaced {
		return failure(types.ErrUnknownContainer, fmt.Sprintf("pod replaced: %s", refusal.Why), "this sandbox is of a pod that is gone; its successor is not affected")
	}
	if err != nil {
		return failure(types.ErrTryAgainLater, fmt.Sprintf("put the policies and host ports of the pod in place: %v", err), tryAgain+"; if it stays so, "+seeAgent)
	}
	return nil
}
