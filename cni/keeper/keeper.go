package keeper

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/fairwaynet/fairway/cni/ipam"
	"github.com/fairwaynet/fairway/cni/link"
	"github.com/fairwaynet/fairway/cni/rules"
	"github.com/fairwaynet/fairway/proxy/nft"
)

const (
	// fullInterval is how often everything is compared, whatever the kernel has told.
	fullInterval = 5 * time.Second
	// tableInterval is how often others' tables are looked at.
	tableInterval = time.Second
	// restInterval is the least time between two passes.
	restInterval = 200 * time.Millisecond
)

// Options are what a Keeper works with.
type Options struct {
	Engine *nft.Engine
	Leases ipam.Leases
	// Overlay is what identifies the packets of the overlay in the tables. The zero value is
	// no overlay.
	Overlay rules.Overlay
	// Connections forgets connections of host ports; nil: none are.
	Connections Connections
	// Boot is that of the kernel, as in leases.
	Boot string
	Now  func() time.Time
	// InterfacesChanged is called when an interface of the node that is not ours, or an
	// address of one, has changed.
	InterfacesChanged func()
	// Passed is called after each pass.
	Passed func(context.Context, Report)
}

// Keeper keeps the kernel. Its methods may be called concurrently.
type Keeper struct {
	Options
	keys  []nft.TableKey // of the tables
	woken chan struct{}  // holds a value while a pass is wanted

	mu        sync.Mutex
	wanted    *Wanted // nil: nothing was published yet
	published bool    // since the last pass: what differs is no foreign change

	routes     map[string]bool  // that the last passes made, as text
	interfaces []link.Interface // at the last pass
	blockers   blockers

	forgetting sync.Mutex // guards Connections

	leasing   sync.Mutex              // guards submitted, with the reading of leases that it follows
	submitted map[ipam.Key]ipam.Lease // whose host ports are in the tables
}

// New declares the tables to the engine.
func New(options Options) (*Keeper, error) {
	var keys []nft.TableKey
	for _, table := range rules.Tables(options.Overlay) {
		if err := options.Engine.Declare(table); err != nil {
			return nil, fmt.Errorf("keep the pod network: %w", err)
		}
		keys = append(keys, table.Key())
	}
	return &Keeper{
		Options: options, keys: keys, woken: make(chan struct{}, 1), routes: map[string]bool{}, submitted: map[ipam.Key]ipam.Lease{},
	}, nil
}

// Publish says what is wanted from now on. It hands over and does not wait.
func (k *Keeper) Publish(wanted Wanted) {
	k.mu.Lock()
	k.wanted, k.published = &wanted, true
	k.mu.Unlock()
	k.wake()
}

// Wake makes the keeper compare everything: something has changed that the kernel does not
// tell. It does not wait.
func (k *Keeper) Wake() { k.wake() }

func (k *Keeper) wake() {
	select {
	case k.woken <- struct{}{}:
	default:
	}
}

// take returns what is wanted, and whether that is new since the last pass.
func (k *Keeper) take() (wanted *Wanted, fresh bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	fresh, k.published = k.published, false
	return k.wanted, fresh
}

// Run keeps the kernel until ctx ends.
func (k *Keeper) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var watching sync.WaitGroup
	defer watching.Wait()
	defer cancel()
	watched := make(chan error, 1)
	watching.Go(func() { watched <- link.Watch(ctx, k.wake) })
	full, tables := time.NewTicker(fullInterval), time.NewTicker(tableInterval)
	defer full.Stop()
	defer tables.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-watched:
			if ctx.Err() == nil {
				return err
			}
		case <-tables.C:
			k.lookAtBlockers(ctx)
			continue
		case <-full.C:
		case <-k.woken:
		}
		k.pass(ctx)
		select {
		case <-ctx.Done():
		case <-time.After(restInterval):
		}
	}
}

// pass makes everything as it is wanted.
func (k *Keeper) pass(ctx context.Context) {
	k.look()
	wanted, fresh := k.take()
	if wanted == nil {
		return
	}
	report := Report{Wanted: *wanted}
	leases := k.tables(ctx, *wanted, &report) // first: no pod's packet before the rules
	k.router(*wanted, fresh, &report)
	k.ways(*wanted, fresh, &report)
	k.wires(leases, *wanted, &report)
	k.blockers.tell(&report)
	if report.Err != nil {
		k.again(ctx)
	}
	if ctx.Err() == nil {
		k.Passed(ctx, report)
	}
}

// look tells of interfaces that have changed.
func (k *Keeper) look() {
	interfaces, err := link.Interfaces()
	if err != nil {
		return // the next pass looks again
	}
	same := func(a, b link.Interface) bool {
		return a.Name == b.Name && a.MTU == b.MTU && slices.Equal(a.Networks, b.Networks)
	}
	if !slices.EqualFunc(interfaces, k.interfaces, same) {
		k.interfaces = interfaces
		k.InterfacesChanged()
	}
}

// again wakes the keeper a moment later.
func (k *Keeper) again(ctx context.Context) {
	const pause = time.Second
	time.AfterFunc(pause, func() {
		if ctx.Err() == nil {
			k.wake()
		}
	})
}

// lookAtBlockers looks at others' tables, and at everything if something has changed.
func (k *Keeper) lookAtBlockers(ctx context.Context) {
	wanted := k.peek()
	if wanted == nil {
		return
	}
	if k.blockers.look(ctx, k.Engine, crossing(*wanted, k.interfaces)) {
		k.pass(ctx)
	}
}

func (k *Keeper) peek() *Wanted {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.wanted
}

func said(changes []nft.Change) []string {
	var all []string
	for _, change := range changes {
		all = append(all, change.String())
	}
	return all
}

// networkKey is the key of what the tables hold of the nodes.
const networkKey nft.Key = "network"

// tables writes what is wanted of nodes and leases into the tables. It returns the leases of
// this boot.
func (k *Keeper) tables(ctx context.Context, wanted Wanted, report *Report) (leases []ipam.Lease) {
	var wrong []error
	for family, part := range wanted.Network.Parts() {
		wrong = append(wrong, k.Engine.Submit(rules.Key(family), networkKey, part))
	}
	leases, gone, err := k.submitLeases()
	if err != nil {
		wrong = append(wrong, err)
	} else {
		for _, key := range k.keys {
			wrong = append(wrong, k.Engine.Complete(key))
		}
	}
	result, err := k.Engine.Commit(ctx, k.keys...)
	wrong = append(wrong, err)
	report.Mended = append(report.Mended, said(result.Changes)...)
	for _, refused := range result.Refused {
		failed := fmt.Errorf("nftables table %s, %s: %w", refused.Table, refused.Key, refused.Err)
		if refused.Key == networkKey {
			wrong = append(wrong, failed)
		} else {
			report.Failed = append(report.Failed, failed)
		}
	}
	for _, conflict := range result.Conflicts {
		report.Failed = append(report.Failed, fmt.Errorf("%s of %s is held by %s", conflict.What, conflict.Key, conflict.With))
	}
	if err := errors.Join(wrong...); err != nil {
		report.Err = errors.Join(report.Err, fmt.Errorf("write nftables: %w", err))
		return leases
	}
	for _, lease := range gone {
		if err := k.forget(ctx, lease); err != nil {
			report.Failed = append(report.Failed, err)
		}
	}
	return leases
}

// router makes the node forward packets, and its end of the overlay.
func (k *Keeper) router(wanted Wanted, fresh bool, report *Report) {
	changed, err := link.Router(wanted.Uplinks)
	if err != nil {
		report.Err = errors.Join(report.Err, fmt.Errorf("make the node forward packets: %w", err))
	}
	if wanted.Overlay.Name != "" {
		more, err := wanted.Overlay.Apply()
		changed = append(changed, more...)
		report.Err = errors.Join(report.Err, err)
	}
	if !fresh {
		report.Mended = append(report.Mended, changed...)
	}
}

// ways makes the routes to other nodes, and removes those that lead nowhere any more.
func (k *Keeper) ways(wanted Wanted, fresh bool, report *Report) {
	found, err := link.PeerRoutes()
	if err != nil {
		report.Err = errors.Join(report.Err, err)
		return
	}
	have := map[netip.Prefix]link.PeerRoute{}
	for _, route := range found {
		have[route.Range] = route
	}
	made := map[string]bool{}
	for _, route := range wanted.Routes {
		is, text := have[route.Range], route.String()
		delete(have, route.Range)
		if is.String() != text {
			if err := route.Replace(is); err != nil {
				report.Failed = append(report.Failed, err)
				continue
			}
			if !fresh && k.routes[text] {
				report.Mended = append(report.Mended, "the route "+text+" was missing")
			}
		}
		made[text] = true
	}
	for _, route := range have {
		if err := route.Remove(); err != nil {
			report.Failed = append(report.Failed, err)
		}
	}
	k.routes = made
}
