package keeper

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fairwaynet/fairway/cni/ipam"
	"github.com/fairwaynet/fairway/cni/link"
	"github.com/fairwaynet/fairway/cni/rules"
	"github.com/fairwaynet/fairway/proxy/nft"
	"github.com/fairwaynet/fairway/proxy/nft/conntrack"
)

// Connections forgets connections. A *conntrack.Table is one.
type Connections interface {
	Delete(context.Context, conntrack.Match) error
}

// ErrNoLease says that a container has no lease: its ADD has ended, or its DEL came first.
var ErrNoLease = errors.New("the container has no lease")

// Prepare returns when what the tables need for a container's lease is in the kernel.
func (k *Keeper) Prepare(ctx context.Context, key ipam.Key) error {
	lease, err := k.submitLease(key)
	if err != nil {
		return err
	}
	result, err := k.Engine.Commit(ctx, k.keys...)
	if err != nil {
		return fmt.Errorf("write nftables: %w", err)
	}
	part := partKey(lease)
	for _, refused := range result.Refused {
		if refused.Key == part {
			return fmt.Errorf("nftables table %s: %w", refused.Table, refused.Err)
		}
	}
	return k.forget(ctx, lease)
}

func (k *Keeper) submitLease(key ipam.Key) (ipam.Lease, error) {
	k.leasing.Lock()
	defer k.leasing.Unlock()
	lease, found, err := k.Leases.Find(key)
	if err != nil {
		return lease, err
	}
	if !found {
		return lease, fmt.Errorf("container %s: %w", key.Container, ErrNoLease)
	}
	return lease, k.submit(lease)
}

// submitLeases submits the parts of all leases of this boot, and removes those of leases
// that are gone. It returns both.
func (k *Keeper) submitLeases() (leases, gone []ipam.Lease, err error) {
	k.leasing.Lock()
	defer k.leasing.Unlock()
	leases, _, err = k.Leases.All()
	if err != nil {
		return nil, nil, err
	}
	leases = slices.DeleteFunc(leases, func(l ipam.Lease) bool { return l.Boot != k.Boot })
	present := map[ipam.Key]bool{}
	for _, lease := range leases {
		if len(lease.HostPorts) == 0 {
			continue
		}
		present[lease.Key] = true
		if err := k.submit(lease); err != nil {
			return leases, nil, err
		}
	}
	for key, lease := range k.submitted {
		if present[key] {
			continue
		}
		if err := k.withdraw(lease); err != nil {
			return leases, nil, err
		}
		gone = append(gone, lease)
	}
	return leases, gone, nil
}

// submit submits the parts of a lease if they are not, or were those of another one.
func (k *Keeper) submit(lease ipam.Lease) error {
	if len(lease.HostPorts) == 0 {
		return nil
	}
	earlier, has := k.submitted[lease.Key]
	if has && partKey(earlier) != partKey(lease) {
		if err := k.withdraw(earlier); err != nil {
			return err
		}
	}
	for family, part := range rules.HostPorts(lease) {
		if err := k.Engine.Submit(rules.Key(family), partKey(lease), part); err != nil {
			return err
		}
	}
	k.submitted[lease.Key] = lease
	return nil
}

func (k *Keeper) withdraw(lease ipam.Lease) error {
	for family := range rules.HostPorts(lease) {
		if err := k.Engine.Submit(rules.Key(family), partKey(lease), nft.Part{}); err != nil {
			return err
		}
	}
	delete(k.submitted, lease.Key)
	return nil
}

// partKey names the parts of a lease. Of two leases that want one host port the later has
// it, because the earlier is that of a pod that ends: its key must be the smaller one.
func partKey(lease ipam.Lease) nft.Key {
	return nft.Key(fmt.Sprintf("lease %016x %s", uint64(math.MaxInt64-lease.Created.UnixNano()), lease.Key))
}

// forget forgets what the kernel knows of UDP that came to a lease's host ports, because it
// goes on to where it went before. TCP ends by itself.
func (k *Keeper) forget(ctx context.Context, lease ipam.Lease) error {
	if k.Connections == nil {
		return nil
	}
	k.forgetting.Lock()
	defer k.forgetting.Unlock()
	wanted := k.peek()
	var wrong []error
	for _, port := range lease.HostPorts {
		if port.Protocol == "tcp" {
			continue
		}
		protocol := uint8(unix.IPPROTO_UDP)
		if port.Protocol == "sctp" {
			protocol = unix.IPPROTO_SCTP
		}
		for _, pod := range lease.Addresses {
			wrong = append(wrong, k.Connections.Delete(ctx, conntrack.Match{
				Reply: conntrack.Tuple{Source: pod, Protocol: protocol, SourcePort: port.PodPort},
			}))
		}
		if wanted == nil {
			continue
		}
		for _, node := range nodeAddresses(port, wanted.Sources) {
			wrong = append(wrong, k.Connections.Delete(ctx, conntrack.Match{
				Original: conntrack.Tuple{Destination: node, Protocol: protocol, DestinationPort: port.Port},
			}))
		}
	}
	return errors.Join(wrong...)
}

// nodeAddresses are those at which a host port answers.
func nodeAddresses(port ipam.HostPort, own []netip.Addr) []netip.Addr {
	if port.Address.IsValid() {
		return []netip.Addr{port.Address}
	}
	return own
}

// youngWire is the age below which a wire is left to the ADD that makes it.
const youngWire = 2 * time.Second

// wires puts the host's ends of pods' wires back.
func (k *Keeper) wires(leases []ipam.Lease, wanted Wanted, report *Report) {
	for _, lease := range leases {
		if lease.Link == "" || k.Now().Sub(lease.Created) < youngWire {
			continue
		}
		changed, err := wireOf(lease, wanted).Restore()
		for _, what := range changed {
			report.Mended = append(report.Mended, fmt.Sprintf("interface %s of pod %s: %s", lease.Link, lease.Pod, what))
		}
		if errors.Is(err, link.ErrGone) && !k.stands(lease) {
			continue // the pod has ended, and its DEL is on the way or over
		}
		if err != nil {
			report.Failed = append(report.Failed, fmt.Errorf("pod %s has no network, delete it: %w", lease.Pod, err))
		}
	}
}

// stands reports whether a lease and its pod's network namespace are there still.
func (k *Keeper) stands(lease ipam.Lease) bool {
	open, err := link.OpenNamespace(lease.Namespace.Path)
	if err != nil {
		return false
	}
	defer func() { _ = open.Close() }() // it was only looked at
	_, found, err := k.Leases.Find(lease.Key)
	return found && err == nil && open.Device == lease.Namespace.Device && open.Inode == lease.Namespace.Inode
}

// wireOf is the wire of a lease.
func wireOf(lease ipam.Lease, wanted Wanted) link.Wire {
	return link.Wire{
		Owner: link.Owner{Container: lease.Container, Interface: lease.Interface}, Host: lease.Link,
		Addresses: lease.Addresses, MTU: wanted.MTU, Sources: wanted.Sources, HostPorts: len(lease.HostPorts) > 0,
	}
}
