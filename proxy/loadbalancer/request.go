package loadbalancer

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"github.com/fairwaynet/fairway/api/problem"
)

// Annotations of Services. Those of MetalLB that mean the same are read, too.
const (
	// AddressesAnnotation asks for addresses: "192.0.2.10, 2001:db8::10".
	AddressesAnnotation = "fairway.dev/addresses"
	// PoolAnnotation asks for an AddressPool by its name.
	PoolAnnotation = "fairway.dev/address-pool"
	// SharingAnnotation is a key: Services that have the same one may share an address.
	SharingAnnotation = "fairway.dev/share-address"
)

// Conditions of Services.
const (
	// ConditionAssigned says whether a Service has the addresses that it wants.
	ConditionAssigned = "fairway.dev/AddressAssigned"
	// ConditionAnnounced says whether nodes answer for them.
	ConditionAnnounced = "fairway.dev/AddressAnnounced"
)

// ClassName is the usual class of the Services that name us.
const ClassName = "fairway.dev/load-balancer"

// Reasons of Problems of Services.
const (
	ReasonNoAddressFree   problem.Reason = "NoAddressFree"
	ReasonAddressNotFree  problem.Reason = "AddressNotFree"
	ReasonAddressUnknown  problem.Reason = "AddressInNoPool"
	ReasonPoolUnknown     problem.Reason = "AddressPoolUnknown"
	ReasonRequestInvalid  problem.Reason = "AddressRequestInvalid"
	ReasonAddressInUse    problem.Reason = "AddressInUse"
	ReasonAddressOrphaned problem.Reason = "AddressOutsidePools"
)

// Class is which Services are ours.
type Class struct {
	Name    string // of spec.loadBalancerClass
	Default bool   // also Services without a class
}

// Has says whether a Service wants addresses of us.
func (c Class) Has(s *corev1.Service) bool {
	if s == nil || s.Spec.Type != corev1.ServiceTypeLoadBalancer || s.DeletionTimestamp != nil {
		return false
	}
	if s.Spec.LoadBalancerClass == nil {
		return c.Default
	}
	return *s.Spec.LoadBalancerClass == c.Name
}

// Front is a port at which an address is called.
type Front struct {
	Protocol corev1.Protocol
	Port     int32
}

// Request is what a Service wants.
type Request struct {
	Service         types.NamespacedName
	Created         time.Time
	Labels          map[string]string
	NamespaceLabels map[string]string
	Families        []corev1.IPFamily
	Lenient         bool // a second family is welcome and not needed
	Wanted          []netip.Addr
	Pool            string // empty: any
	Sharing         string // empty: with nobody
	Fronts          []Front
	// Backends are equal for two Services that may share an address although only some nodes
	// can answer for it: empty for those for which each node can.
	Backends string
}

// Ask reads what a Service wants, and what of that cannot be read.
func Ask(s *corev1.Service, namespace map[string]string) (Request, []problem.Problem) {
	name := types.NamespacedName{Namespace: s.Namespace, Name: s.Name}
	r := Request{
		Service: name, Created: s.CreationTimestamp.Time, Labels: s.Labels, NamespaceLabels: namespace,
		Families: slices.Clone(s.Spec.IPFamilies),
		Lenient:  s.Spec.IPFamilyPolicy == nil || *s.Spec.IPFamilyPolicy != corev1.IPFamilyPolicyRequireDualStack,
		Pool:     annotated(s, PoolAnnotation, "metallb.io/address-pool", "metallb.universe.tf/address-pool"),
		Sharing:  annotated(s, SharingAnnotation, "metallb.io/allow-shared-ip", "metallb.universe.tf/allow-shared-ip"),
	}
	for _, p := range s.Spec.Ports {
		r.Fronts = append(r.Fronts, Front{p.Protocol, p.Port})
	}
	if s.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal {
		r.Backends = name.Namespace + "/" + labels.SelectorFromSet(s.Spec.Selector).String()
		if len(s.Spec.Selector) == 0 {
			r.Backends = name.String() // nobody else has its endpoints
		}
	}
	var problems []problem.Problem
	say := func(field, format string, values ...any) {
		problems = append(problems, problem.Problem{
			Object: problem.Object{Kind: "Service", Name: name}, Reason: ReasonRequestInvalid, Field: field, Message: fmt.Sprintf(format, values...),
		})
	}
	field, text := "metadata.annotations["+AddressesAnnotation+"]", annotated(s, AddressesAnnotation, "metallb.io/loadBalancerIPs", "metallb.universe.tf/loadBalancerIPs")
	if text == "" {
		field, text = "spec.loadBalancerIP", s.Spec.LoadBalancerIP
	}
	of := map[bool]netip.Addr{}
	for part := range strings.SplitSeq(text, ",") {
		if part = strings.TrimSpace(part); part == "" {
			continue
		}
		a, err := parseAddr(part)
		family := corev1.IPv4Protocol
		if a.Is6() {
			family = corev1.IPv6Protocol
		}
		switch other := of[a.Is6()]; {
		case err != nil:
			say(field, "it is left out: %v", err)
		case !slices.Contains(r.Families, family):
			say(field, "%s is left out: the Service has no family %s (spec.ipFamilies)", a, family)
		case other.IsValid() && other != a:
			say(field, "%s is left out: a Service has one address of each family, and %s is asked for before", a, other)
		default:
			of[a.Is6()] = a
		}
	}
	r.Wanted = slices.SortedFunc(maps.Values(of), netip.Addr.Compare)
	if text != "" && len(r.Wanted) == 0 {
		r.Families = nil // it gets no other address than it asks for
	}
	return r, problems
}

// annotated is the first of some annotations that is there.
func annotated(s *corev1.Service, keys ...string) string {
	for _, key := range keys {
		if text := strings.TrimSpace(s.Annotations[key]); text != "" {
			return text
		}
	}
	return ""
}

// fits says whether two Services can share an address.
func (r *Request) fits(other *Request) bool {
	if r.Service == other.Service {
		return true
	}
	return r.Sharing != "" && r.Sharing == other.Sharing && r.Backends == other.Backends &&
		!slices.ContainsFunc(r.Fronts, func(f Front) bool { return slices.Contains(other.Fronts, f) })
}
