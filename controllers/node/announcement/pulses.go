package announcement

import (
	"context"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	coordinationv1 "k8s.io/client-go/kubernetes/typed/coordination/v1"

	"github.com/fairwaynet/fairway/proxy/loadbalancer"
)

// pulses follows whether the nodes live that hold addresses.
//
// A node is dead when its Lease has not changed for as long as it lasts, and the API server
// said so when half of that time was over, and at its end. If it did not answer, the time
// begins anew: nobody could renew.
type pulses struct {
	own    string
	leases coordinationv1.LeaseInterface
	died   func(node string)

	mu  sync.Mutex
	all map[string]*pulse
}

type pulse struct {
	loadbalancer.Pulse

	halved bool // the API server has confirmed the first half
	asking bool
	dead   bool
}

func newPulses(own string, leases coordinationv1.LeaseInterface, died func(string)) *pulses {
	return &pulses{own: own, leases: leases, died: died, all: map[string]*pulse{}}
}

// see takes a version of the Lease of a node.
func (p *pulses) see(node string, uid types.UID, version string, lasts time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	known := p.all[node]
	if known == nil {
		known = &pulse{}
		p.all[node] = known
	}
	p.changed(known, string(uid)+version, lasts)
}

func (p *pulses) changed(known *pulse, version string, lasts time.Duration) {
	before := known.Version()
	known.See(version, lasts, time.Now())
	if known.Version() != before {
		known.halved, known.dead = false, false
	}
}

// gone says that a node has no Lease any more: it held nothing when it removed it.
func (p *pulses) gone(node string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.all, node)
}

// watch begins the time of a node that is a holder and of whose Lease nothing is known.
func (p *pulses) watch(node string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if node != p.own && p.all[node] == nil {
		known := &pulse{}
		known.See("", loadbalancer.Life, time.Now())
		p.all[node] = known
	}
}

// shorten makes the Lease of a node count no longer than usual: it is not coming back soon.
func (p *pulses) shorten(node string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if known := p.all[node]; known != nil && known.Duration() > loadbalancer.Life {
		known.Lasts(loadbalancer.Life)
	}
}

// dead says whether a node that held addresses lives no more.
func (p *pulses) dead(node string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	known := p.all[node]
	return known != nil && known.dead
}

// run looks at all until ctx ends.
func (p *pulses) run(ctx context.Context) error {
	const interval = 50 * time.Millisecond
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		for _, node := range p.due() {
			go p.ask(ctx, node) // bounded by the nodes that hold addresses
		}
	}
}

// due are the nodes for which the API server must be asked now.
func (p *pulses) due() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	var all []string
	for node, known := range p.all {
		if node == p.own || known.dead || known.asking {
			continue
		}
		left := known.Left(now)
		if left == 0 || (!known.halved && left <= known.Duration()/2) {
			known.asking = true
			all = append(all, node)
		}
	}
	return all
}

// ask asks the API server for the Lease of a node.
func (p *pulses) ask(ctx context.Context, node string) {
	const patience = time.Second
	asked, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	began := time.Now()
	lease, err := p.leases.Get(asked, loadbalancer.AnnouncerName(node), metav1.GetOptions{})
	died := false
	p.mu.Lock()
	defer func() {
		p.mu.Unlock()
		if died {
			p.died(node)
		}
	}()
	known := p.all[node]
	if known == nil {
		return
	}
	known.asking = false
	switch {
	case apierrors.IsNotFound(err): // it holds an address and does not say that it lives
	case err != nil:
		known.Restart(time.Now())
		known.halved = false
		return
	default:
		if _, lasts, ok := loadbalancer.AnnouncerOf(lease); ok {
			if version := string(lease.UID) + lease.ResourceVersion; version != known.Version() {
				p.changed(known, version, lasts)
				return
			}
		}
	}
	if known.Left(began) > 0 || !known.halved {
		known.halved = true
		return
	}
	known.dead, died = true, true
}
