package keeper

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/fairwaynet/fairway/proxy/nft"
	"github.com/fairwaynet/fairway/proxy/nft/conntrack"
	"github.com/fairwaynet/fairway/proxy/service"
)

// Connections forgets connections. A *conntrack.Table is one.
type Connections interface {
	Delete(ctx context.Context, m conntrack.Match) error
	Remove(ctx context.Context, c conntrack.Connection) error
	Find(ctx context.Context, m conntrack.Match, each func(conntrack.Connection)) error
	List(ctx context.Context, each func(conntrack.Connection)) error
}

// Options are what a Keeper works with.
type Options struct {
	Engine      *nft.Engine
	Connections Connections
	Health      Health
	Now         func() time.Time
	// Committed is called after each commit.
	Committed func(context.Context, Report)
}

// Health tells load balancers how many endpoints of a Service this node has. A
// *healthcheck.Server is one.
type Health interface {
	Set(name types.NamespacedName, health service.Health)
}

// Report says what a commit did.
type Report struct {
	// Cluster is what was written of the cluster and the node.
	Cluster service.Cluster
	// Services are those that were written, and when each was told.
	Services map[types.NamespacedName]time.Time
	// Refused are the errors that cost one Service.
	Refused map[types.NamespacedName]error
	// Lacks are the fronts that a Service wants and another has; each of Services has an entry.
	Lacks map[types.NamespacedName]map[service.FrontKey]types.NamespacedName
	// Triggered are when those changes of endpoints began that are in the kernel now, as far as
	// EndpointSlices say so and the keeper was there.
	Triggered []time.Time
	// Took is how long it took.
	Took time.Duration
	// Messages are how many changes the kernel took.
	Messages int
	// Err is what keeps everything from being written. It is tried again.
	Err error
}

// Keeper keeps Services in the kernel. Its methods may be called concurrently.
type Keeper struct {
	Options

	woken chan struct{} // holds a value while a commit is wanted

	mu       sync.Mutex
	claims   *service.Claims
	cluster  service.Cluster
	told     map[types.NamespacedName]time.Time // since the last commit
	moved    bool                               // the cluster was told since the last commit
	sweep    bool                               // all connections are to be looked at
	complete bool
	begun    bool // everything was written once

	started time.Time
	written map[name]*service.Service // what the kernel has; Run's alone
	kept    service.Parts             // see keep; Run's alone
	old     *forgetter                // Run's alone
}

// name is that of a Service.
type name = types.NamespacedName

// Keys of what the tables hold besides Services. No Service has such a name.
const (
	clusterKey nft.Key = "cluster"
	keptKey    nft.Key = "kept"
	lateKey    nft.Key = "late"
)

// Tables are the keys of the tables.
func Tables() []nft.TableKey {
	return []nft.TableKey{service.Key(nft.IPv4), service.Key(nft.IPv6)}
}

// New declares the tables to the engine.
func New(options Options) (*Keeper, error) {
	for _, table := range service.Tables() {
		if err := options.Engine.Declare(table); err != nil {
			return nil, fmt.Errorf("keep Services: %w", err)
		}
	}
	k := &Keeper{
		Options: options, woken: make(chan struct{}, 1), claims: service.NewClaims(),
		told: map[name]time.Time{}, started: options.Now(), written: map[name]*service.Service{}, kept: service.Parts{},
	}
	k.old = newForgetter(options.Connections, k.await)
	return k, nil
}

// Publish says what a Service is from now on; nil: nothing. It hands over and does not wait.
func (k *Keeper) Publish(name types.NamespacedName, s *service.Service) {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := k.Now()
	for _, changed := range k.claims.Set(name, s) {
		if _, earlier := k.told[changed]; !earlier {
			k.told[changed] = now
		}
	}
	k.wake()
}

// PublishCluster says what the cluster is from now on.
func (k *Keeper) PublishCluster(c service.Cluster) {
	k.mu.Lock()
	defer k.mu.Unlock()
	c.Balancers = k.cluster.Balancers // these are told apart
	k.cluster, k.moved = c, true
	k.wake()
}

// PublishBalancers says in which ranges load balancers' addresses are from now on.
func (k *Keeper) PublishBalancers(ranges service.Balancers) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.cluster.Balancers, k.moved = ranges, true
	k.wake()
}

// Complete says that everything was told once. Nothing is written before.
func (k *Keeper) Complete() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.complete = true
	k.wake()
}

// Mended says that tables were put back which somebody else had changed. What was not led
// meanwhile is forgotten.
func (k *Keeper) Mended() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.sweep = true
	k.wake()
}

func (k *Keeper) wake() {
	select {
	case k.woken <- struct{}{}:
	default:
	}
}

// Run writes until ctx ends.
func (k *Keeper) Run(ctx context.Context) error {
	const pause = time.Second // after an error
	defer k.old.again.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-k.old.again.C:
			if k.old.repeat(ctx) {
				k.wake()
			}
			continue
		case <-k.woken:
		}
		if !k.ready() {
			continue
		}
		began := k.Now()
		report := k.commit(ctx)
		report.Took = k.Now().Sub(began)
		if ctx.Err() != nil {
			return nil
		}
		if report.Err != nil {
			time.AfterFunc(pause, k.wake)
		} else {
			k.begin()
		}
		k.Committed(ctx, report)
	}
}

func (k *Keeper) begin() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.begun = true
}

// Written says whether the kernel has had all Services once.
func (k *Keeper) Written() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.begun
}

// Published returns what was published last of each Service.
func (k *Keeper) Published() map[types.NamespacedName]*service.Service {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.claims.Wanted()
}

// NodePorts returns which Service has each NodePort, and the networks of the node's addresses
// at which they answer.
func (k *Keeper) NodePorts() (map[service.FrontKey]types.NamespacedName, []netip.Prefix) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.claims.NodePorts(), k.cluster.NodePorts
}

func (k *Keeper) ready() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.complete
}

// change is what one Service becomes.
type change struct {
	name  types.NamespacedName
	after *service.Service
	lacks map[service.FrontKey]types.NamespacedName
	told  time.Time
}

// take returns what was told since the last commit, and the cluster, told or not.
func (k *Keeper) take() (all []change, cluster service.Cluster, moved bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for name, told := range k.told {
		s, lacks := k.claims.Get(name)
		all = append(all, change{name, s, lacks, told})
	}
	clear(k.told)
	moved, k.moved = k.moved, false
	return all, k.cluster, moved
}

func (k *Keeper) mustSweep() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	must := k.sweep
	k.sweep = false
	return must
}

// again takes changes back that were not written, unless there are newer ones.
func (k *Keeper) again(changes []change, moved bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.moved = k.moved || moved
	for _, c := range changes {
		k.told[c.name] = c.told
	}
}

// commit writes what was told.
func (k *Keeper) commit(ctx context.Context) Report {
	changes, cluster, moved := k.take()
	report := Report{
		Cluster:  cluster,
		Services: map[types.NamespacedName]time.Time{}, Refused: map[types.NamespacedName]error{},
		Lacks: map[types.NamespacedName]map[service.FrontKey]types.NamespacedName{},
	}
	if err := k.submit(changes, cluster, moved, &report); err != nil {
		k.again(changes, moved)
		report.Err = err
		return report
	}
	result, err := k.Engine.Commit(ctx, Tables()...)
	if err != nil {
		k.again(changes, moved)
		report.Err = fmt.Errorf("write Services into the kernel: %w", err)
		return report
	}
	report.Messages = result.Messages
	for _, refused := range result.Refused {
		if refused.Key == keptKey {
			report.Err = fmt.Errorf("write Services into the kernel: %w", refused.Err)
			continue
		}
		if refused.Key == clusterKey {
			k.again(nil, true)
			report.Err = fmt.Errorf("write the cluster's networks into the kernel: %w", refused.Err)
			continue
		}
		report.Refused[nameOf(refused.Key)] = refused.Err
	}
	var done []change
	for _, c := range changes {
		report.Services[c.name], report.Lacks[c.name] = c.told, c.lacks
		if report.Refused[c.name] == nil {
			done = append(done, c)
		}
	}
	if k.mustSweep() {
		k.old.swept = false
	}
	k.old.changed(done, k.written, cluster)
	for _, c := range done {
		if at, is := k.triggered(c); is {
			report.Triggered = append(report.Triggered, at)
		}
		k.note(c)
	}
	if err := k.old.forget(ctx); err != nil {
		report.Err = errors.Join(report.Err, err)
	}
	return report
}

// submit hands what has changed to the engine. What can never be written is refused.
func (k *Keeper) submit(changes []change, cluster service.Cluster, moved bool, report *Report) error {
	if err := k.submitShared(cluster, moved); err != nil {
		return err
	}
	for _, c := range changes {
		for f, part := range c.after.Parts() {
			if err := k.Engine.Submit(service.Key(f), keyOf(c.name), part); err != nil {
				report.Refused[c.name] = err
			}
			if err := k.keep(f, part); err != nil {
				return err
			}
		}
	}
	for _, table := range Tables() {
		if err := k.Engine.Complete(table); err != nil {
			return err
		}
	}
	return nil
}

// submitShared hands over what belongs to no Service.
func (k *Keeper) submitShared(cluster service.Cluster, moved bool) error {
	if moved {
		for f, part := range cluster.Parts() {
			if err := k.Engine.Submit(service.Key(f), clusterKey, part); err != nil {
				return err
			}
		}
	}
	return nil
}

// mostKept bounds the chains of a family that are kept.
const mostKept = 256

// keep makes chains stay that Services need, also when none needs them any more, until the
// agent starts again. When a chain comes, the kernel looks at every endpoint of all Services;
// and Services that grow and shrink need the same ones again and again.
func (k *Keeper) keep(f nft.Family, part nft.Part) error {
	kept, grown := k.kept[f], false
	for _, chain := range part.Chains {
		known := slices.ContainsFunc(kept.Chains, func(c nft.Chain) bool { return c.Name == chain.Name })
		if !known && len(kept.Chains) < mostKept {
			kept.Chains, grown = append(slices.Clip(kept.Chains), chain), true
		}
	}
	if !grown {
		return nil
	}
	k.kept[f] = kept
	return k.Engine.Submit(service.Key(f), keptKey, kept)
}

// await lets the answers pass that connections wait for which are about to be forgotten, and no
// others from now on.
func (k *Keeper) await(ctx context.Context, forgotten []conntrack.Connection) error {
	for f, part := range service.Late(forgotten) {
		if err := k.Engine.Submit(service.Key(f), lateKey, part); err != nil {
			return err
		}
	}
	result, err := k.Engine.Commit(ctx, Tables()...)
	for _, refused := range result.Refused {
		if refused.Key == lateKey {
			err = errors.Join(err, refused.Err)
		}
	}
	return err
}

// triggered is when a change of endpoints began, if it is one that was not written before.
func (k *Keeper) triggered(c change) (time.Time, bool) {
	if c.after == nil {
		return time.Time{}, false
	}
	last := k.started
	if before := k.written[c.name]; before != nil && before.Triggered.After(last) {
		last = before.Triggered
	}
	return c.after.Triggered, c.after.Triggered.After(last)
}

// note keeps what the kernel has.
func (k *Keeper) note(c change) {
	health := service.Health{}
	if c.after == nil {
		delete(k.written, c.name)
	} else {
		k.written[c.name] = c.after
		health = c.after.Health
	}
	k.Health.Set(c.name, health)
}

func keyOf(name types.NamespacedName) nft.Key { return nft.Key(name.String()) }

func nameOf(key nft.Key) types.NamespacedName {
	namespace, name, _ := strings.Cut(string(key), "/")
	return types.NamespacedName{Namespace: namespace, Name: name}
}
