package enforce

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/labels"

	"github.com/fairwaynet/fairway/proxy/nft"
	"github.com/fairwaynet/fairway/proxy/nft/conntrack"
	"github.com/fairwaynet/fairway/proxy/policy"
)

// Connections finds and forgets connections. A *conntrack.Table is one.
type Connections interface {
	List(ctx context.Context, each func(conntrack.Connection)) error
	Remove(ctx context.Context, c conntrack.Connection) error
}

// Lease is which addresses a pod of the node has, before the API server knows.
type Lease struct {
	Pod       policy.Key
	UID       string // that the runtime knows: of a static pod not the API server's
	Addresses []netip.Addr
}

// Options are what an Enforcer works with.
type Options struct {
	Node        string // its name
	Engine      *nft.Engine
	Connections Connections
	// Leases are those of pods that may run on the node.
	Leases func() ([]Lease, error)
	// Own are the addresses of the node itself: what they send to its pods passes.
	Own func() ([]netip.Addr, error)
	// Isolated hears, before anything of it is written, which namespaces have policies: ADDs of their
	// pods must call Prepare.
	Isolated func([]string) error
	Now      func() time.Time
	// LogDenied makes the kernel log what it denies: see Listen.
	LogDenied bool
	// Committed is called after each commit.
	Committed func(context.Context, Report)
}

// Report says what a commit did.
type Report struct {
	// Refused are the errors that cost one policy or pod, by "policy NAMESPACE/NAME" and "pod NAMESPACE/NAME".
	Refused map[string]error
	// Cut is how many connections were cut.
	Cut int
	// Took is how long it took.
	Took time.Duration
	// Err is what keeps everything from being written. It is tried again.
	Err error
}

// Enforcer keeps policies in the kernel. Its methods may be called concurrently.
type Enforcer struct {
	Options

	woken chan struct{} // holds a value while a commit is wanted

	mu       sync.Mutex // guards what follows
	book     *policy.Book
	pods     map[policy.Key]*policy.Pod // of the node, as they were told
	leases   map[string]Lease           // by UID
	gone     map[policy.Key]bool        // pods that the API server no longer has, and that may run
	waiting  map[chan struct{}]bool     // for a pod to be told
	complete bool
	written  bool

	writing  sync.Mutex     // one commit at a time; guards what follows
	isolated []string       // last heard
	pending  policy.Changes // taken, and not written yet
	cuts     map[conntrack.Match]cutting
}

// Tables are the keys of the tables.
func Tables() []nft.TableKey {
	return []nft.TableKey{policy.TableKey(nft.IPv4), policy.TableKey(nft.IPv6)}
}

// New declares the tables to the engine.
func New(options Options) (*Enforcer, error) {
	for _, table := range policy.Tables() {
		if err := options.Engine.Declare(table); err != nil {
			return nil, fmt.Errorf("enforce policies: %w", err)
		}
	}
	book := policy.NewBook(options.Node)
	book.LogDenied = options.LogDenied
	return &Enforcer{
		Options: options, woken: make(chan struct{}, 1), book: book, pods: map[policy.Key]*policy.Pod{},
		leases: map[string]Lease{}, gone: map[policy.Key]bool{}, waiting: map[chan struct{}]bool{}, cuts: map[conntrack.Match]cutting{},
		pending: policy.Changes{Parts: map[nft.Key]map[nft.Family]nft.Part{}},
	}, nil
}

// PublishNamespace says which labels a namespace has from now on; nil: there is none.
func (e *Enforcer) PublishNamespace(name string, has labels.Set) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.book.SetNamespace(name, has)
	e.wake()
}

// PublishPolicy says what a policy is from now on; nil: there is none.
func (e *Enforcer) PublishPolicy(name policy.Key, p *policy.Policy) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.book.SetPolicy(name, p)
	e.wake()
}

// PublishCluster says what a policy of the cluster is from now on; nil: there is none.
func (e *Enforcer) PublishCluster(name string, p *policy.ClusterPolicy) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.book.SetCluster(name, p)
	e.wake()
}

// PublishPod says what a pod is from now on; nil: there is none that may send or be called.
func (e *Enforcer) PublishPod(name policy.Key, p *policy.Pod) {
	e.mu.Lock()
	defer e.mu.Unlock()
	own, was := e.pods[name]
	switch {
	case p != nil && p.Node == e.Node:
		e.pods[name] = p
		delete(e.gone, name)
		p = e.leased(p)
		for waits := range e.waiting {
			close(waits)
		}
		clear(e.waiting)
	case p == nil && was && e.hasLease(own):
		e.gone[name] = true // it may run on for a while: as long as it has its lease
		return
	default:
		delete(e.pods, name)
		delete(e.gone, name)
	}
	e.book.SetPod(name, p)
	e.wake()
}

// leased is a pod with the addresses of its lease, which the API server hears of later.
func (e *Enforcer) leased(p *policy.Pod) *policy.Pod {
	lease, has := e.lease(p)
	if !has {
		return p
	}
	with := *p
	with.Addresses = slices.Clone(lease.Addresses)
	return &with
}

func (e *Enforcer) lease(p *policy.Pod) (Lease, bool) {
	if lease, has := e.leases[string(p.UID)]; has {
		return lease, true
	}
	lease, has := e.leases[p.Static]
	return lease, has && p.Static != ""
}

func (e *Enforcer) hasLease(p *policy.Pod) bool {
	_, has := e.lease(p)
	return has
}

// Complete says that everything was told once. Nothing is written before.
func (e *Enforcer) Complete() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.complete = true
	e.wake()
}

// Written says whether the kernel has had all policies once.
func (e *Enforcer) Written() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.written
}

func (e *Enforcer) wake() {
	select {
	case e.woken <- struct{}{}:
	default:
	}
}

// Run writes until ctx ends.
func (e *Enforcer) Run(ctx context.Context) error {
	const pause = time.Second // after an error, and between looks at leases
	ticker := time.NewTicker(pause)
	defer ticker.Stop()
	failed := false
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-e.woken:
		case <-ticker.C:
			if !e.refresh() && !failed {
				continue
			}
		}
		e.mu.Lock()
		complete := e.complete
		e.mu.Unlock()
		if !complete {
			continue
		}
		began := e.Now()
		report := e.commit(ctx)
		report.Took = e.Now().Sub(began)
		if ctx.Err() != nil {
			return nil
		}
		failed = report.Err != nil
		if !failed {
			e.mu.Lock()
			e.written = true
			e.mu.Unlock()
		}
		e.Committed(ctx, report)
	}
}

// refresh looks which of the pods that the API server no longer has have ended. It says whether there is
// something to write.
func (e *Enforcer) refresh() bool {
	e.mu.Lock()
	gone := len(e.gone)
	e.mu.Unlock()
	if gone == 0 {
		return false
	}
	all, err := e.Leases()
	if err != nil {
		return false // the next look finds them
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	now := map[string]Lease{}
	for _, lease := range all {
		now[lease.UID] = lease
	}
	e.leases = now
	changed := false
	for name := range e.gone {
		if p := e.pods[name]; !e.hasLease(p) {
			delete(e.gone, name)
			delete(e.pods, name)
			e.book.SetPod(name, nil)
			changed = true
		}
	}
	return changed
}

// Load reads the leases before the first objects are told.
func (e *Enforcer) Load() error {
	all, err := e.Leases()
	if err != nil {
		return fmt.Errorf("read the leases of pods: %w", err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, lease := range all {
		e.leases[lease.UID] = lease
	}
	return nil
}

// ErrReplaced says that a pod of this name has another UID now.
var ErrReplaced = errors.New("the pod was replaced by another one of its name")

// Prepare returns when the policies of a pod that is about to begin are in the kernel, for the addresses of
// its lease, and connections that whoever had these before has left were judged by them. It waits until the API server has told
// of the pod. exists asks the API server itself whether it still has the pod with this UID.
func (e *Enforcer) Prepare(ctx context.Context, lease Lease, exists func(context.Context) (bool, error)) error {
	if err := e.await(ctx, lease, exists); err != nil {
		return err
	}
	report := e.commit(ctx)
	if report.Err != nil {
		return fmt.Errorf("write the policies of pod %s: %w", lease.Pod, report.Err)
	}
	if err := report.Refused["pod "+lease.Pod.String()]; err != nil {
		return fmt.Errorf("write the policies of pod %s: %w", lease.Pod, err)
	}
	return nil
}

// await waits until a pod was told, and puts it into the book with its addresses.
func (e *Enforcer) await(ctx context.Context, lease Lease, exists func(context.Context) (bool, error)) error {
	const patience = time.Second // after which the API server itself is asked
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for {
		told := make(chan struct{})
		if e.known(lease, told) {
			return nil
		}
		select {
		case <-ctx.Done():
			e.mu.Lock()
			delete(e.waiting, told)
			e.mu.Unlock()
			return fmt.Errorf("pod %s with UID %s is not known yet, or not all policies: %w", lease.Pod, lease.UID, ctx.Err())
		case <-told:
		case <-timer.C:
			there, err := exists(ctx)
			if err == nil && !there {
				return fmt.Errorf("%s: %w", lease.Pod, ErrReplaced)
			}
			timer.Reset(patience)
		}
	}
}

// known says whether the pod of a lease was told, and everything else once. If not, the channel is closed
// when one of the node is.
func (e *Enforcer) known(lease Lease, told chan struct{}) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.leases[lease.UID] = lease
	p := e.pods[lease.Pod]
	if p == nil || !e.complete || string(p.UID) != lease.UID && p.Static != lease.UID {
		e.waiting[told] = true
		return false
	}
	e.book.SetPod(lease.Pod, e.leased(p))
	return true
}

// commit writes what has changed.
func (e *Enforcer) commit(ctx context.Context) Report {
	e.writing.Lock()
	defer e.writing.Unlock()
	report := Report{Refused: map[string]error{}}
	e.mu.Lock()
	changes, isolated := e.book.Take(), e.book.Isolated()
	e.mu.Unlock()
	for key, parts := range changes.Parts {
		e.pending.Parts[key] = parts
	}
	e.pending.Touched = append(e.pending.Touched, changes.Touched...)
	if !slices.Equal(isolated, e.isolated) {
		if err := e.Isolated(isolated); err != nil {
			report.Err = fmt.Errorf("tell the plugin which pods must wait: %w", err)
			return report
		}
		e.isolated = isolated
	}
	if report.Err = e.write(ctx, &report); report.Err != nil {
		return report
	}
	touched := e.pending.Touched
	clear(e.pending.Parts)
	e.pending.Touched = nil
	cut, err := e.cut(ctx, touched)
	if report.Cut = cut; err != nil {
		e.pending.Touched = touched // again
		report.Err = fmt.Errorf("cut connections that are no longer allowed: %w", err)
	}
	return report
}

// write writes what is pending.
func (e *Enforcer) write(ctx context.Context, report *Report) error {
	for key, parts := range e.pending.Parts {
		for f, part := range parts {
			if err := e.Engine.Submit(policy.TableKey(f), key, part); err != nil {
				report.Refused[string(key)] = err
			}
		}
	}
	for _, key := range Tables() {
		if err := e.Engine.Complete(key); err != nil {
			return err
		}
	}
	result, err := e.Engine.Commit(ctx, Tables()...)
	if err != nil {
		return fmt.Errorf("write policies into the kernel: %w", err)
	}
	for _, refused := range result.Refused {
		report.Refused[string(refused.Key)] = refused.Err
	}
	return nil
}

// Denied is how many packets a pod's policies of a direction have denied, of both families.
type Denied struct {
	Pod       policy.Key
	Direction policy.Direction
	Packets   uint64
}

// Denied returns what the policies of the node's pods have denied: of each pod that is isolated.
func (e *Enforcer) Denied(ctx context.Context) []Denied {
	counted := map[string]uint64{}
	for _, key := range Tables() {
		all, err := e.Engine.Counters(ctx, key)
		if err != nil {
			continue
		}
		for name, c := range all {
			counted[name] += c.Packets
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	var all []Denied
	for name, p := range e.pods {
		for _, d := range []policy.Direction{policy.Ingress, policy.Egress} {
			if packets, isolated := counted[policy.Denied(p, d)]; isolated {
				all = append(all, Denied{name, d, packets})
			}
		}
	}
	return all
}
