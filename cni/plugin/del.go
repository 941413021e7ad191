package plugin

import (
	"context"
	"errors"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"

	"github.com/fairwaynet/fairway/cni/detach"
	"github.com/fairwaynet/fairway/cni/ipam"
)

// Del takes away what the lease of a container and interface names: kernel first, addresses
// last. What is gone is no error, and neither is a pod of which nothing was ever made.
func (p Plugin) Del(ctx context.Context, args *skel.CmdArgs) error {
	config, err := parse(args)
	if err != nil {
		return err
	}
	return because(detach.Detach(ctx, ipam.Leases{Dir: config.State}, ipam.Key{Container: args.ContainerID, Interface: args.IfName}), types.ErrIOFailure, tryAgain)
}

// GC takes away all leases, and what they name, of which the runtime says that no
// attachment is left. One that fails keeps none of the others.
func (p Plugin) GC(ctx context.Context, args *skel.CmdArgs) error {
	config, err := parse(args)
	if err != nil {
		return err
	}
	leases := ipam.Leases{Dir: config.State}
	all, _, err := leases.All()
	if err != nil {
		return because(err, types.ErrIOFailure, "")
	}
	valid := map[ipam.Key]bool{}
	for _, attachment := range config.ValidAttachments {
		valid[ipam.Key{Container: attachment.ContainerID, Interface: attachment.IfName}] = true
	}
	var failed []error
	for _, lease := range all {
		if !valid[lease.Key] {
			failed = append(failed, detach.Detach(ctx, leases, lease.Key))
		}
	}
	return because(errors.Join(failed...), types.ErrIOFailure, tryAgain)
}
