package keeper

import (
	"context"
	"errors"

	"github.com/fairwaynet/fairway/cni/detach"
	"github.com/fairwaynet/fairway/cni/ipam"
	"github.com/fairwaynet/fairway/cni/link"
	"github.com/fairwaynet/fairway/cni/rules"
	"github.com/fairwaynet/fairway/proxy/nft"
)

// Remove takes everything out of the kernel that a Keeper and the plugin have put there:
// pods' wires, routes, the overlay and the tables, which guard until the end. Settings of
// the node stay: others may need them.
func Remove(ctx context.Context, engine *nft.Engine, leases ipam.Leases, overlay string) error {
	all, _, err := leases.All()
	wrong := []error{err}
	for _, lease := range all {
		wrong = append(wrong, detach.Detach(ctx, leases, lease.Key))
	}
	routes, err := link.PeerRoutes()
	wrong = append(wrong, err)
	for _, route := range routes {
		wrong = append(wrong, route.Remove())
	}
	wrong = append(wrong, link.Overlay{Name: overlay}.Remove())
	for _, table := range rules.Tables(rules.Overlay{}) {
		wrong = append(wrong, engine.Remove(ctx, table.Key()))
	}
	return errors.Join(wrong...)
}
