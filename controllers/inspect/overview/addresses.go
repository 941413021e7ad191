package overview

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairwaynet/fairway/api/v1alpha1"
	"github.com/fairwaynet/fairway/controllers/inspect/snapshot"
	"github.com/fairwaynet/fairway/controllers/inspect/wording"
	"github.com/fairwaynet/fairway/proxy/loadbalancer"
)

// Pool is an AddressPool.
type Pool struct {
	Name      string   `json:"name"`
	Addresses []string `json:"addresses"` // as the pool says them
	Used      int32    `json:"used"`
	Free      string   `json:"free"`          // a number, "more than 1000000", or empty: not counted yet
	Why       string   `json:"why,omitempty"` // what is wrong with it
}

// Address is a load-balancer address that Services have.
type Address struct {
	Address  string   `json:"address"`
	Pool     string   `json:"pool,omitempty"` // empty: none has it any more
	Services []string `json:"services"`       // namespace/name
	// Node answers for it, since when, and whether that node says that it lives.
	Node  string     `json:"node,omitempty"`
	Since *time.Time `json:"since,omitempty"`
	Lives bool       `json:"nodeLives"`
	Why   string     `json:"why,omitempty"` // what is wrong with it

	parsed netip.Addr
}

// Unaddressed is a Service that waits for an address, or for a node that answers for it.
type Unaddressed struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	Why       string `json:"why"`
}

// addresses adds the load-balancer addresses: what there is, who has it, and who waits.
func (o *Overview) addresses(ctx context.Context, reader snapshot.Reader, services []object, now time.Time) error {
	pools, err1 := known(o, "the pools of load-balancer addresses")(reader.AddressPools(ctx))
	leases, err2 := known(o, "which nodes answer for load-balancer addresses")(reader.LabelledLeases(ctx, loadbalancer.LeaseLabel))
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	for _, pool := range objectsOf[*v1alpha1.AddressPool](pools) {
		o.Pools = append(o.Pools, poolOf(pool))
	}
	alive := map[string]bool{}
	for _, lease := range objectsOf[*coordinationv1.Lease](leases) {
		if node, _, ok := loadbalancer.AnnouncerOf(lease); ok {
			alive[node] = controllerOf(lease, now).Alive
		}
	}
	for _, lease := range objectsOf[*coordinationv1.Lease](leases) {
		if record, ok := loadbalancer.ReadRecord(lease); ok {
			o.Addresses = append(o.Addresses, addressOf(record, alive))
		}
	}
	for _, service := range objectsOf[*corev1.Service](services) {
		if why := unaddressed(service); why != "" {
			o.Unaddressed = append(o.Unaddressed, Unaddressed{service.Namespace, service.Name, why})
		}
	}
	slices.SortFunc(o.Pools, func(a, b Pool) int { return cmp.Compare(a.Name, b.Name) })
	slices.SortFunc(o.Addresses, func(a, b Address) int {
		return cmp.Or(cmp.Compare(min(1, len(b.Why)), min(1, len(a.Why))), a.parsed.Compare(b.parsed))
	})
	slices.SortFunc(o.Unaddressed, func(a, b Unaddressed) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	return nil
}

// known turns a permission that is missing into a line of what is unknown.
func known(o *Overview, what string) func([]object, error) ([]object, error) {
	return func(objects []object, err error) ([]object, error) {
		if forbidden := (*snapshot.PermissionError)(nil); errors.As(err, &forbidden) {
			o.Unknown = append(o.Unknown, what+": "+forbidden.Error())
			return nil, nil
		}
		return objects, err
	}
}

func poolOf(from *v1alpha1.AddressPool) Pool {
	p := Pool{
		Name: from.Name, Addresses: append([]string{}, from.Spec.Addresses...), Used: from.Status.Assigned, Free: from.Status.Available,
		Why: "no controller has looked at it yet (loadBalancer.enabled)",
	}
	if accepted := meta.FindStatusCondition(from.Status.Conditions, v1alpha1.ConditionAccepted); accepted != nil {
		if p.Why = ""; accepted.Status != metav1.ConditionTrue || accepted.Message != "" {
			p.Why = accepted.Reason + ": " + accepted.Message
		}
	}
	return p
}

func addressOf(r loadbalancer.Record, alive map[string]bool) Address {
	a := Address{Address: r.Address.String(), Pool: r.Pool, Services: []string{}, Node: r.Holder, Lives: alive[r.Holder], parsed: r.Address}
	for _, name := range r.Services {
		a.Services = append(a.Services, name.String())
	}
	if r.Holder != "" && !r.Since.IsZero() {
		a.Since = new(r.Since.UTC())
	}
	switch {
	case r.Foreign != "":
		a.Why = fmt.Sprintf("a machine with the MAC %s, which is no node, answers for it: no Service gets it", r.Foreign)
	case r.Holder == "":
		a.Why = "no node answers for it"
	case !a.Lives:
		a.Why = fmt.Sprintf("node %s does not say any more that it lives, and no other node has taken the address", r.Holder)
	}
	return a
}

// unaddressed says what a Service waits for, by its conditions; empty: nothing.
func unaddressed(s *corev1.Service) string {
	if s.Spec.Type != corev1.ServiceTypeLoadBalancer {
		return ""
	}
	for _, kind := range []string{loadbalancer.ConditionAssigned, loadbalancer.ConditionAnnounced} {
		if c := meta.FindStatusCondition(s.Status.Conditions, kind); c != nil && c.Status != metav1.ConditionTrue {
			return c.Reason + ": " + c.Message
		}
	}
	asks := s.Spec.LoadBalancerClass != nil && *s.Spec.LoadBalancerClass == loadbalancer.ClassName
	if asks && meta.FindStatusCondition(s.Status.Conditions, loadbalancer.ConditionAssigned) == nil {
		return "no controller has looked at it yet (loadBalancer.enabled)"
	}
	return ""
}

// wantsAddresses reports whether a person should look at the addresses.
func (o *Overview) wantsAddresses() bool {
	return len(o.Unaddressed) > 0 || o.unanswered() > 0 || slices.ContainsFunc(o.Pools, func(p Pool) bool { return p.Why != "" })
}

// unanswered is how many addresses have something wrong. They come first.
func (o *Overview) unanswered() int {
	at := slices.IndexFunc(o.Addresses, func(a Address) bool { return a.Why == "" })
	if at < 0 {
		return len(o.Addresses)
	}
	return at
}

// mostAddresses is how many addresses of which nothing is wrong are shown one by one, and
// mostUnanswered how many others and how many Services that wait.
const (
	mostAddresses  = 20
	mostUnanswered = 50
)

func (o *Overview) shownAddresses() []Address {
	if len(o.Addresses) <= mostAddresses {
		return o.Addresses
	}
	return o.Addresses[:min(o.unanswered(), mostUnanswered)]
}

// addAddresses adds pools and addresses as rows of the table.
func (o *Overview) addAddresses(row func(cells ...string)) {
	if len(o.Pools) > 0 {
		row()
		row("POOL", "USED", "FREE", "ADDRESSES")
		for _, p := range o.Pools {
			row(p.Name, number(p.Used), cmp.Or(p.Free, "-"), orNone(short(p.Addresses)))
		}
	}
	if len(o.Addresses) == 0 {
		return
	}
	row()
	row("ADDRESS", "POOL", "NODE", "SINCE", "SERVICES")
	for _, a := range o.shownAddresses() {
		row(a.Address, cmp.Or(a.Pool, "-"), a.node(), moment(a.Since), orNone(short(a.Services)))
	}
}

func (a Address) node() string {
	switch {
	case a.Node == "":
		return "-"
	case !a.Lives:
		return a.Node + ", gone"
	default:
		return a.Node
	}
}

// whysOfAddresses says a line for each pool, address and Service that is not as it should be.
func (o *Overview) whysOfAddresses(say func(format string, args ...any)) {
	for _, p := range o.Pools {
		if p.Why != "" {
			say("pool %s: %s\n", p.Name, wording.Printable(p.Why, '\t'))
		}
	}
	shown := o.shownAddresses()
	for _, a := range shown {
		if a.Why != "" {
			say("address %s: %s\n", a.Address, wording.Printable(a.Why, '\t'))
		}
	}
	if more := o.unanswered() - len(shown); more > 0 {
		say("%s more with problems: -o json has all\n", countOf(more, "address", "addresses"))
	}
	if well := len(o.Addresses) - max(o.unanswered(), len(shown)); well > 0 {
		say("%s answered for: by %s\n", countOf(well, "address is", "addresses are"), holders(o.Addresses[o.unanswered():]))
	}
	for i, s := range o.Unaddressed {
		if i == mostUnanswered {
			say("%s more wait: -o json has all\n", countOf(len(o.Unaddressed)-i, "Service", "Services"))
			break
		}
		say("service %s/%s: %s\n", s.Namespace, s.Name, wording.Printable(s.Why, '\t'))
	}
}

// holders are the nodes that answer for addresses, those for most first.
func holders(all []Address) string {
	nodes := map[string]int{}
	for _, a := range all {
		nodes[a.Node]++
	}
	return counted(nodes)
}

// onlyAddresses drops what no Service of a namespace has.
func (o *Overview) onlyAddresses(namespace string) {
	o.Addresses = slices.DeleteFunc(o.Addresses, func(a Address) bool {
		return !slices.ContainsFunc(a.Services, func(name string) bool { return strings.HasPrefix(name, namespace+"/") })
	})
	o.Unaddressed = slices.DeleteFunc(o.Unaddressed, func(s Unaddressed) bool { return s.Namespace != namespace })
}
