package plugin

import (
	"context"
	"errors"
	"fmt"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"

	"github.com/fairwaynet/fairway/cni/ipam"
	"github.com/fairwaynet/fairway/cni/link"
)

// Del takes away what the lease of a container and interface names: kernel first, addresses
// last. What is gone is no error, and neither is a pod of which nothing was ever made.
func (p Plugin) Del(ctx context.Context, args *skel.CmdArgs) error {
	config, err := parse(args)
	if err != nil {
		return err
	}
	return because(release(ctx, config.State, ipam.Key{Container: args.ContainerID, Interface: args.IfName}), types.ErrIOFailure, tryAgain)
}

// release undoes an ADD, wherever it ended.
func release(ctx context.Context, state string, key ipam.Key) error {
	owner := link.Owner{Container: key.Container, Interface: key.Interface}
	leases := ipam.Leases{Dir: state}
	lease, found, err := leases.Find(key)
	switch {
	case err != nil:
		return errors.Join(fmt.Errorf("disconnect %s: %w", owner, err), link.DisconnectAny(owner))
	case !found: // or the folder was lost: what is in the kernel carries the owner's mark
		return link.DisconnectAny(owner)
	}
	if err := link.Disconnect(owner, lease.Link); err != nil {
		return fmt.Errorf("disconnect %s: %w", owner, err)
	}
	return leases.Give(ctx, key)
}

// GC takes away all leases, and what they name, of which the runtime says that no
// attachment is left. One that fails keeps none of the others.
func (p Plugin) GC(ctx context.Context, args *skel.CmdArgs) error {
	config, err := parse(args)
	if err != nil {
		return err
	}
	all, _, err := ipam.Leases{Dir: config.State}.All()
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
			failed = append(failed, release(ctx, config.State, lease.Key))
		}
	}
	return because(errors.Join(failed...), types.ErrIOFailure, tryAgain)
}
