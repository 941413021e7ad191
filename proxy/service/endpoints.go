package service

import (
	"cmp"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"
)

// candidate is an endpoint of a slice.
type candidate struct {
	Endpoint

	pod                         types.UID // of the pod behind it, if a slice says so
	ready, serving, terminating bool      // without a word of the slice: true, true and false
	zones, nodes                []string  // for which it is hinted
	slice                       *discoveryv1.EndpointSlice
}

// candidates are in order, one for each address and port.
type candidates []candidate

// endpoints gathers the endpoints of one port and family from all slices.
func (b *builder) endpoints(ipv6 bool, port *corev1.ServicePort) candidates {
	of := discoveryv1.AddressTypeIPv4
	if ipv6 {
		of = discoveryv1.AddressTypeIPv6
	}
	var all candidates
	for _, slice := range b.slices {
		if slice.AddressType != of || slice.Labels[ProxyNameLabel] != "" {
			continue
		}
		for _, p := range slice.Ports {
			if matches(p, port) {
				all = b.from(slice, uint16(*p.Port), all)
			}
		}
	}
	slices.SortFunc(all, candidate.compare)
	return all.once()
}

// matches says whether a port of a slice is that of the Service.
func matches(p discoveryv1.EndpointPort, port *corev1.ServicePort) bool {
	name, protocol := "", corev1.ProtocolTCP
	if p.Name != nil {
		name = *p.Name
	}
	if p.Protocol != nil {
		protocol = *p.Protocol
	}
	return p.Port != nil && isPort(*p.Port) && name == port.Name && protocol == cmp.Or(port.Protocol, corev1.ProtocolTCP)
}

// from adds the endpoints of a slice.
func (b *builder) from(slice *discoveryv1.EndpointSlice, port uint16, all candidates) candidates {
	for _, e := range slice.Endpoints {
		if len(e.Addresses) == 0 {
			continue
		}
		a, err := parse(e.Addresses[0]) // all of an endpoint's are the same endpoint
		if err != nil || a.Is6() != (slice.AddressType == discoveryv1.AddressTypeIPv6) || a.IsUnspecified() || a.IsMulticast() {
			b.say(ReasonEndpointUnusable, "", "EndpointSlice %s has %q, which is no address of an endpoint: it gets no connections", slice.Name, e.Addresses[0])
			continue
		}
		c := candidate{
			Endpoint: Endpoint{netip.AddrPortFrom(a, port), e.NodeName != nil && *e.NodeName == b.node.Name},
			ready:    isTrue(e.Conditions.Ready, true), serving: isTrue(e.Conditions.Serving, true),
			terminating: isTrue(e.Conditions.Terminating, false), slice: slice,
		}
		if e.TargetRef != nil {
			c.pod = e.TargetRef.UID
		}
		if e.Hints != nil {
			for _, zone := range e.Hints.ForZones {
				c.zones = append(c.zones, zone.Name)
			}
			for _, node := range e.Hints.ForNodes {
				c.nodes = append(c.nodes, node.Name)
			}
		}
		all = append(all, c)
	}
	return all
}

func isTrue(condition *bool, otherwise bool) bool {
	if condition == nil {
		return otherwise
	}
	return *condition
}

// compare puts the one first that counts among those of one address and port. Of one pod in
// two slices it is what the newer slice says: the pod moved from the other. Of two pods, of
// which one is on its way out, it is the one that runs.
func (c candidate) compare(other candidate) int {
	return cmp.Or(
		c.Endpoint.compare(other.Endpoint),
		cmp.Compare(c.pod, other.pod),
		-age(c.slice, other.slice),
		cmp.Compare(c.slice.Name, other.slice.Name),
		// One slice that has it twice is a mistake. The order of its endpoints means nothing.
		-cmp.Compare(c.rank(), other.rank()),
		-cmp.Compare(number(c.Here), number(other.Here)),
		slices.Compare(c.zones, other.zones),
		slices.Compare(c.nodes, other.nodes),
	)
}

func number(is bool) int {
	if is {
		return 1
	}
	return 0
}

// age compares when slices were written last. Resource versions of one kind grow. One that
// is no number is before all that are: no API server has made it.
func age(a, b *discoveryv1.EndpointSlice) int {
	n, err := resourceversion.CompareResourceVersion(a.ResourceVersion, b.ResourceVersion)
	if err != nil {
		return cmp.Compare(number(numbered(a)), number(numbered(b)))
	}
	return n
}

// numbered says whether the slice's resource version is a number.
func numbered(s *discoveryv1.EndpointSlice) bool {
	_, err := resourceversion.CompareResourceVersion(s.ResourceVersion, s.ResourceVersion)
	return err == nil
}

// rank is how much an endpoint is wanted.
func (c candidate) rank() int {
	switch {
	case c.ready && !c.terminating: // else its Service publishes addresses that are not ready
		return 3
	case c.ready:
		return 2
	case c.serving:
		return 1
	default:
		return 0
	}
}

// once leaves one candidate for each address and port: of each pod what its newest slice
// says, and of several pods the best.
func (all candidates) once() candidates {
	var kept candidates
	for i, c := range all {
		if i > 0 && all[i-1].Endpoint.compare(c.Endpoint) == 0 && all[i-1].pod == c.pod {
			continue
		}
		if n := len(kept); n > 0 && kept[n-1].Endpoint.compare(c.Endpoint) == 0 {
			if c.rank() > kept[n-1].rank() {
				kept[n-1] = c
			}
			continue
		}
		kept = append(kept, c)
	}
	return kept
}

func (all candidates) pick(want func(candidate) bool) []Endpoint {
	var picked []Endpoint
	for _, c := range all {
		if want(c) {
			picked = append(picked, c.Endpoint)
		}
	}
	return picked
}

func leaving(c candidate) bool { return !c.ready && c.serving && c.terminating }

func (c candidate) readyHere() bool { return c.Here && c.ready }

// any says whether somebody of the cluster answers.
func (all candidates) any() bool {
	return slices.ContainsFunc(all, func(c candidate) bool { return c.ready || leaving(c) })
}

// serving are all that answer.
func (all candidates) serving() []netip.AddrPort {
	var picked []netip.AddrPort
	for _, c := range all {
		if c.serving || c.ready {
			picked = append(picked, c.AddrPort)
		}
	}
	return picked
}

// usable are those that connections are given to wherever they come from: the ready ones that
// the hints name for the node or its zone, else all ready ones, else those that are leaving
// and still answer.
func (all candidates) usable(node Node) []Endpoint {
	hinted := all.hints(node)
	ready := all.pick(func(c candidate) bool { return c.ready && hinted(c) })
	if len(ready) > 0 {
		return ready
	}
	return all.pick(leaving)
}

// local are those of this node.
func (all candidates) local() []Endpoint {
	if ready := all.pick(candidate.readyHere); len(ready) > 0 {
		return ready
	}
	return all.pick(func(c candidate) bool { return c.Here && leaving(c) })
}

// hints returns which endpoints the hints leave. They count if every ready endpoint has one
// and one is for this node, or else for its zone.
func (all candidates) hints(node Node) func(candidate) bool {
	for _, by := range []func(candidate) (names []string, own string){
		func(c candidate) ([]string, string) { return c.nodes, node.Name },
		func(c candidate) ([]string, string) { return c.zones, node.Zone },
	} {
		each, some := true, false
		for _, c := range all {
			if !c.ready {
				continue
			}
			names, own := by(c)
			each = each && len(names) > 0
			some = some || slices.Contains(names, own)
		}
		if each && some {
			return func(c candidate) bool {
				names, own := by(c)
				return slices.Contains(names, own)
			}
		}
	}
	return func(candidate) bool { return true }
}
