package plugin

import (
	"context"
	"fmt"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"

	"github.com/fairwaynet/fairway/cni/agent"
	"github.com/fairwaynet/fairway/cni/ipam"
	"github.com/fairwaynet/fairway/cni/link"
)

// Check says what is missing or wrong of a pod's network.
func (p Plugin) Check(_ context.Context, args *skel.CmdArgs) error {
	config, err := parse(args)
	if err != nil {
		return err
	}
	if config.previous == nil {
		return failure(types.ErrInvalidNetworkConfig, "CHECK needs prevResult, what ADD answered", "")
	}
	lease, found, err := ipam.Leases{Dir: config.State}.Find(ipam.Key{Container: args.ContainerID, Interface: args.IfName})
	switch {
	case err != nil:
		return because(err, types.ErrIOFailure, "")
	case !found:
		return failure(types.ErrUnknownContainer, fmt.Sprintf("container %s has no lease for %s", args.ContainerID, args.IfName), "restart the pod")
	case !hasAddresses(config.previous, args.IfName, lease.Addresses):
		return failure(types.ErrInternal, fmt.Sprintf("prevResult does not have the addresses of the lease, %v", lease.Addresses), "restart the pod")
	}
	netns, err := openNamespace(args.Netns)
	if err != nil {
		return err
	}
	defer func() { _ = netns.Close() }() // it was only entered
	wire := link.Wire{
		Owner: link.Owner{Container: lease.Container, Interface: lease.Interface}, Host: lease.Link, Addresses: lease.Addresses,
	}
	return because(link.Check(netns, wire), types.ErrInternal, "restart the pod")
}

// Status says whether the next ADD can work at all. A range without free addresses or an
// agent that restarts concerns some pods, not the node: it is ready all the same.
func (p Plugin) Status(_ context.Context, args *skel.CmdArgs) error {
	config, err := parse(args)
	if err != nil {
		return err
	}
	node, err := agent.Read(config.Run)
	if err != nil {
		return because(err, types.ErrPluginNotAvailable, seeAgent)
	}
	_, err = ipam.Leases{Dir: config.State}.Usage(node.Ranges)
	return because(err, types.ErrPluginNotAvailable, "")
}
