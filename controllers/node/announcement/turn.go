package announcement

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	coordination "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairwaynet/fairway/api/nodelinks"
	"github.com/fairwaynet/fairway/api/problem"
	"github.com/fairwaynet/fairway/proxy/loadbalancer"
	"github.com/fairwaynet/fairway/proxy/loadbalancer/announce"
)

// ReasonAddressContested says that a machine that is no node of ours claims an address.
const ReasonAddressContested problem.Reason = "AddressContested"

// contested is for how long somebody has to claim an address that this node holds until people
// are told: a node that gives it up claims it for a moment, too.
const contested = 3 * time.Second

// turn does what is this node's turn of one address.
func (s *Speaker) turn(ctx context.Context, lease string) (time.Duration, error) {
	var object coordination.Lease
	err := s.objects.Get(ctx, types.NamespacedName{Namespace: s.Namespace, Name: lease}, &object)
	if apierrors.IsNotFound(err) {
		s.forget(ctx, lease)
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	record, ok := loadbalancer.ReadRecord(&object)
	if !ok {
		return 0, nil
	}
	s.note(record)
	if record.Holder != "" && record.Holder != s.Node {
		s.pulses.watch(record.Holder)
	}
	speakers, until, err := s.speakers(ctx, record)
	if err != nil {
		return 0, err
	}
	v := loadbalancer.View{Address: record.Address, Own: s.Node, Speakers: speakers, Holder: record.Holder}
	v.Vacant = s.vacant(&v)
	act, again := loadbalancer.Turn(v)
	again = soonest(again, until)
	if record.Foreign != "" && act == loadbalancer.Take {
		act = loadbalancer.Leave // the controller decides what becomes of the address
	}
	switch act {
	case loadbalancer.Keep:
		return s.keep(ctx, record, &object)
	case loadbalancer.Take:
		return 0, s.take(ctx, record, &object, why(v.HolderOf()))
	case loadbalancer.Yield:
		s.announcer.Drop(record.Address)
		record.Holder = ""
		_, err := s.write(ctx, record, &object)
		return 0, err
	default:
		s.announcer.Drop(record.Address)
		return again, nil
	}
}

// note remembers a record.
func (s *Speaker) note(r loadbalancer.Record) {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.states[r.Address]
	if st == nil {
		st = &state{}
		s.states[r.Address] = st
	}
	if st.record.Holder != r.Holder {
		st.heard = nil
	}
	for _, name := range st.record.Services {
		delete(s.services[name], r.Address)
		if len(s.services[name]) == 0 {
			delete(s.services, name)
		}
	}
	for _, name := range r.Services {
		if s.services[name] == nil {
			s.services[name] = map[netip.Addr]bool{}
		}
		s.services[name][r.Address] = true
	}
	st.record = r
}

// forget gives up an address of which there is no record any more.
func (s *Speaker) forget(ctx context.Context, lease string) {
	s.mu.Lock()
	var gone netip.Addr
	for a, st := range s.states {
		if loadbalancer.RecordName(a) == lease {
			gone = a
			for _, name := range st.record.Services {
				delete(s.services[name], a)
			}
			delete(s.states, a)
			break
		}
	}
	s.mu.Unlock()
	if gone.IsValid() {
		s.announcer.Drop(gone)
		s.Reporter.Report(ctx, gone, nil)
	}
}

// vacant is for how long an address has been for whoever takes it.
func (s *Speaker) vacant(v *loadbalancer.View) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.states[v.Address]
	if st == nil || !v.Vacated(v.HolderOf()) {
		if st != nil {
			st.vacant = time.Time{}
		}
		return 0
	}
	if st.vacant.IsZero() {
		st.vacant = time.Now()
	}
	return time.Since(st.vacant)
}

// keep goes on as the holder.
func (s *Speaker) keep(ctx context.Context, r loadbalancer.Record, object *coordination.Lease) (time.Duration, error) {
	device := s.device(r.Address)
	if device == "" {
		return 0, fmt.Errorf("no interface has a network with %s", r.Address)
	}
	heard, again := s.listened(r, object) // before anything that waits for the API server
	switch heard {
	case yields:
		s.announcer.Drop(r.Address)
		return again, nil
	case defends:
		s.announcer.Announce(r.Address)
	case none:
	}
	if _, held := s.announcer.Held()[r.Address]; !held {
		if err := s.life.begin(ctx); err != nil {
			return 0, err // nobody knows that this node lives, so it begins nothing
		}
		// The cache may be late: after a pause it shows what was before.
		if mine, err := s.holdsNow(ctx, r.Address); err != nil || !mine {
			return 0, err // that it is another's comes as an event
		}
	}
	if !r.Proved {
		s.prove(ctx, r, object, device)
		return 0, nil
	}
	if err := s.announcer.Hold(r.Address, device); err != nil {
		return 0, err
	}
	s.tell(ctx, r)
	return again, nil
}

// holdsNow asks the API server whether this node is the holder of an address.
func (s *Speaker) holdsNow(ctx context.Context, a netip.Addr) (bool, error) {
	const patience = 2 * time.Second
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	lease, err := s.leases.Get(ctx, loadbalancer.RecordName(a), metav1.GetOptions{})
	if err != nil {
		return false, client.IgnoreNotFound(err)
	}
	r, ok := loadbalancer.ReadRecord(lease)
	return ok && r.Holder == s.Node, nil
}

// What a node does about others that claim an address that it holds.
type reaction int

const (
	none reaction = iota
	defends
	yields
)

// listened decides about who else was heard. A node that does not know that it still is the holder
// yields, until the API server says that he is.
func (s *Speaker) listened(r loadbalancer.Record, object *coordination.Lease) (reaction, time.Duration) {
	sure := s.life.sure()
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.states[r.Address]
	if st == nil {
		return none, 0
	}
	if st.yielded != "" && (sure || st.yielded != object.ResourceVersion) {
		st.yielded, st.heard = "", nil // the API server knows this node as the holder
	}
	if len(st.heard) == 0 && st.yielded == "" {
		return none, 0
	}
	if !sure {
		st.yielded = object.ResourceVersion
		return yields, 0
	}
	fresh := false
	for mac, c := range st.heard {
		if time.Since(c.last) > 2*contested {
			delete(st.heard, mac)
		}
		fresh = fresh || time.Since(c.last) < time.Second
	}
	if !fresh {
		return none, contested
	}
	return defends, contested
}

// tell tells people of machines that go on claiming an address.
func (s *Speaker) tell(ctx context.Context, r loadbalancer.Record) {
	s.mu.Lock()
	var macs []string
	if st := s.states[r.Address]; st != nil {
		for mac, c := range st.heard {
			if c.last.Sub(c.first) > contested {
				macs = append(macs, mac)
			}
		}
	}
	s.mu.Unlock()
	var problems []problem.Problem
	if len(macs) > 0 {
		slices.Sort(macs)
		for _, name := range r.Services {
			problems = append(problems, problem.Problem{
				Object: problem.Object{Kind: "Service", Name: name}, Reason: ReasonAddressContested,
				Message: fmt.Sprintf("node %s answers for %s, and so does a machine with the MAC %s: take the address off that machine", s.Node, r.Address, strings.Join(macs, ", ")),
			})
		}
	}
	s.Reporter.Report(ctx, r.Address, problems)
}

// why says why somebody else than a holder takes an address.
func why(holder loadbalancer.Speaker) string {
	switch {
	case holder.Node == "":
		return "nobody answered for it"
	case holder.Dead:
		return "that node no longer says that it lives"
	case holder.Will == loadbalancer.Reluctant:
		return "that node is cordoned, or not Ready"
	default:
		return "that node may not any more: its Node, its links, its labels or its endpoints are others"
	}
}

// take makes this node the holder.
func (s *Speaker) take(ctx context.Context, r loadbalancer.Record, object *coordination.Lease, because string) error {
	device := s.device(r.Address)
	if device == "" {
		return nil
	}
	if err := s.life.begin(ctx); err != nil {
		return err
	}
	before := r.Holder
	r.Holder, r.Since = s.Node, time.Now()
	now, err := s.write(ctx, r, object)
	if err != nil {
		return err
	}
	s.Log.Info("this node answers for an address", "address", r.Address, "before", before, "because", because)
	s.Metrics.took()
	s.note(r)
	if !r.Proved {
		s.prove(ctx, r, now, device)
		return nil
	}
	return s.announcer.Hold(r.Address, device)
}

// write writes the record. That somebody else was faster is no error: his write is an event.
func (s *Speaker) write(ctx context.Context, r loadbalancer.Record, object *coordination.Lease) (*coordination.Lease, error) {
	const patience = 2 * time.Second
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	changed := object.DeepCopy()
	if err := r.Write(changed); err != nil {
		return nil, err
	}
	now, err := s.leases.Update(ctx, changed, metav1.UpdateOptions{})
	if err != nil {
		return nil, fmt.Errorf("write the record of %s: %w", r.Address, err)
	}
	return now, nil
}

// prove finds out whether somebody else answers for an address that no node has had. It does
// not wait.
func (s *Speaker) prove(ctx context.Context, r loadbalancer.Record, object *coordination.Lease, device string) {
	s.mu.Lock()
	st := s.states[r.Address]
	begin := st != nil && !st.probing
	if begin {
		st.probing = true
	}
	s.mu.Unlock()
	if !begin {
		return
	}
	go func() { // ends after three probes
		other, err := s.announcer.Probe(ctx, r.Address, device)
		if err == nil {
			if r.Proved = other.MAC == nil; r.Proved {
				err = s.announcer.Hold(r.Address, device)
			} else {
				r.Foreign, r.Holder = other.MAC.String(), ""
			}
			_, wrote := s.write(ctx, r, object)
			if err = errors.Join(err, wrote); wrote != nil {
				s.announcer.Drop(r.Address)
			}
		}
		s.mu.Lock()
		st.probing = false
		s.mu.Unlock()
		if err != nil && ctx.Err() == nil {
			s.Log.V(1).Info("an address is tried again", "address", r.Address, "reason", err.Error())
			s.queue.AddRateLimited(loadbalancer.RecordName(r.Address))
		}
	}()
}

// look follows the interfaces of the node until ctx ends.
func (s *Speaker) look(ctx context.Context) error {
	const interval = time.Second
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	written := ""
	for {
		if text, ok := s.linksNow(); ok && text != written {
			if err := s.Annotate(ctx, nodelinks.Annotation, text); err == nil {
				written = text
			} else if ctx.Err() == nil {
				s.Log.V(1).Info("other nodes are not told of this node's links yet", "reason", err.Error())
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// linksNow reads the interfaces, and wakes all addresses if they have changed.
func (s *Speaker) linksNow() (annotation string, ok bool) {
	all, err := s.Links()
	if err != nil {
		s.Log.Error(err, "look at the interfaces")
		return "", false
	}
	routes, err := s.Routes()
	if err != nil {
		s.Log.Error(err, "look at the routes")
		return "", false
	}
	links, direct := nodelinks.Links{Routers: routes.Routers}, map[netip.Prefix]string{}
	for _, l := range all {
		for _, network := range l.Networks {
			if network.Bits() < network.Addr().BitLen() {
				links.Networks = append(links.Networks, network)
			}
			if device, ok := routes.Direct[network.Masked()]; ok {
				direct[network.Masked()] = device
			}
		}
	}
	s.mu.Lock()
	changed := !slices.EqualFunc(s.links, all, func(a, b Link) bool { return a.Name == b.Name && slices.Equal(a.Networks, b.Networks) }) ||
		!maps.Equal(s.direct, direct)
	s.links, s.direct = all, direct
	s.mu.Unlock()
	if changed {
		s.wakeAll()
	}
	return links.Text(), true
}

// reassure finds out after a pause of the process what is still this node's, and answers again.
func (s *Speaker) reassure(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.unsure:
		}
		held := s.announcer.Held()
		if still, err := s.recorded(ctx); err == nil {
			for a := range held {
				if !still[a] {
					s.announcer.Drop(a)
				}
			}
		} else { // nobody can be asked but the link
			s.ask(ctx, held, func(a netip.Addr, other announce.Answer) {
				if other.MAC != nil {
					s.announcer.Drop(a)
					s.heard(a, other.MAC)
				}
			})
		}
		s.announcer.Resume()
	}
}

// recorded asks the API server which addresses are this node's.
func (s *Speaker) recorded(ctx context.Context) (map[netip.Addr]bool, error) {
	const patience = time.Second
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	list, err := s.leases.List(ctx, metav1.ListOptions{LabelSelector: loadbalancer.LeaseLabel + "=" + loadbalancer.AddressKind})
	if err != nil {
		return nil, fmt.Errorf("list the records of addresses: %w", err)
	}
	own := map[netip.Addr]bool{}
	for i := range list.Items {
		if r, ok := loadbalancer.ReadRecord(&list.Items[i]); ok && r.Holder == s.Node {
			own[r.Address] = true
		}
	}
	return own, nil
}
