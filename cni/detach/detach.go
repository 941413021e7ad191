// Package detach takes a pod off its node: all that its lease names. It undoes what an ADD
// of the plugin did, wherever that ended, whoever asks: DEL, GC or the agent of the node.
//
// Its invariants: the address is given back last, so no other pod gets it before the kernel
// has forgotten it; and nothing is taken that another container's lease names.
package detach

import (
	"context"
	"errors"
	"fmt"

	"github.com/fairwaynet/fairway/cni/ipam"
	"github.com/fairwaynet/fairway/cni/link"
)

// Detach takes away what the lease of a key names. What is gone is no error, and neither is
// a key of which nothing was ever made.
func Detach(ctx context.Context, leases ipam.Leases, key ipam.Key) error {
	owner := link.Owner{Container: key.Container, Interface: key.Interface}
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
