package folder

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/leaderelection/resourcelock"

	"github.com/fairwaynet/fairway/api/problem"
	"github.com/fairwaynet/fairway/xds/route"
)

// endpoints are what people wrote before there were EndpointSlices, and still
// write. Kubernetes has deprecated the type but still mirrors it.
type endpoints = corev1.Endpoints //nolint:staticcheck // it is read for as long as people write it

const (
	kindEndpoints     = "Endpoints"
	kindEndpointSlice = "EndpointSlice"
	kindService       = "Service"
)

const (
	// mirroredBy is the manager of the EndpointSlices that a control plane makes
	// of Endpoints.
	mirroredBy = "endpointslicemirroring-controller.k8s.io"
	// maxMirrored is how many addresses of a subset it mirrors, by default.
	maxMirrored = 1000
)

func completeEndpoints(o *endpoints) {
	for i := range o.Subsets {
		for j := range o.Subsets[i].Ports {
			port := &o.Subsets[i].Ports[j]
			port.Protocol = cmp.Or(port.Protocol, corev1.ProtocolTCP)
		}
	}
}

// mirror makes EndpointSlices of the Endpoints, as the mirroring controller of a
// control plane does. It does so for Endpoints of a Service without a selector,
// unless a label or annotation excepts them. It replaces slices that such a
// controller made before, which a dump of a cluster may hold.
func (t *tree) mirror() (all map[ref]locatedObject, problems []problem.Problem) {
	t.mirrored, t.unmirrored = map[ref]locatedObject{}, nil
	found := t.endpoints()
	if len(found) == 0 {
		return t.objects, nil
	}
	all = maps.Clone(t.objects)
	dumped := t.mirroredBefore()
	for _, r := range found {
		delete(all, r)
		s := t.objects[r]
		from := s.object.(*endpoints)
		if why := t.exception(r, from); why != "" {
			t.unmirrored = append(t.unmirrored, PassedOver{Place: Place{s.place.file, s.place.line}, Why: fmt.Sprintf("%s: %s", r, why)})
			continue
		}
		for _, old := range dumped[r.name] {
			delete(all, old)
		}
		made, faults := slicesOf(from)
		for _, fault := range faults {
			problems = append(problems, fileProblem(s.place.file, s.place.line, route.ReasonInvalidEndpoint, fmt.Sprintf("%s: %s", r, fault)))
		}
		for i, slice := range made {
			r := t.place(all, slice, i)
			all[r], t.mirrored[r] = locatedObject{slice, s.place}, locatedObject{slice, s.place}
		}
	}
	return all, problems
}

func (t *tree) endpoints() []ref {
	found := map[ref]locatedObject{}
	for r, s := range t.objects {
		if r.kind == kindEndpoints {
			found[r] = s
		}
	}
	return sortedRefs(found)
}

// mirroredBefore returns the mirrored slices among the files, by Service.
func (t *tree) mirroredBefore() map[types.NamespacedName][]ref {
	found := map[types.NamespacedName][]ref{}
	for r, s := range t.objects {
		if labels := s.object.GetLabels(); r.kind == kindEndpointSlice && labels[discoveryv1.LabelManagedBy] == mirroredBy {
			service := types.NamespacedName{Namespace: r.name.Namespace, Name: labels[discoveryv1.LabelServiceName]}
			found[service] = append(found[service], r)
		}
	}
	return found
}

// exception returns why no slices are made of the Endpoints; empty: they are made.
func (t *tree) exception(r ref, from *endpoints) string {
	_, elects := from.Annotations[resourcelock.LeaderElectionRecordAnnotationKey]
	switch service, ok := t.objects[ref{kindService, r.name}]; {
	case from.Labels[discoveryv1.LabelSkipMirror] == "true":
		return "its label " + discoveryv1.LabelSkipMirror + " says so"
	case elects:
		return "it is a lock of a leader election"
	case !ok:
		return "there is no Service of that name"
	case len(service.object.(*corev1.Service).Spec.Selector) > 0:
		return "its Service has a selector, so that in a cluster its endpoints are the selected pods"
	}
	return ""
}

// place gives a slice a free name.
func (t *tree) place(taken map[ref]locatedObject, slice *discoveryv1.EndpointSlice, number int) ref {
	for ; ; number++ {
		r := ref{kindEndpointSlice, types.NamespacedName{
			Namespace: slice.Namespace, Name: fmt.Sprintf("%s-mirrored-%d", slice.Labels[discoveryv1.LabelServiceName], number),
		}}
		if _, ok := taken[r]; !ok {
			slice.Name = r.name.Name
			complete(slice, r)
			return r
		}
	}
}

// group holds the addresses of all subsets that have the same ports.
type group struct {
	ports []discoveryv1.EndpointPort
	ready map[netip.Addr]bool
	order []discoveryv1.Endpoint
}

// slicesOf makes the slices of Endpoints: one for each set of ports and family of
// addresses. faults say, for people, what a cluster would leave out.
func slicesOf(from *endpoints) (made []*discoveryv1.EndpointSlice, faults []string) {
	groups := map[string]*group{}
	var order []string
	for i, subset := range from.Subsets {
		key := keyOf(subset.Ports)
		g, ok := groups[key]
		if !ok {
			g = &group{ports: portsOf(subset.Ports), ready: map[netip.Addr]bool{}}
			groups[key], order = g, append(order, key)
		}
		for _, list := range []struct {
			name      string
			addresses []corev1.EndpointAddress
			ready     bool
		}{{"addresses", subset.Addresses, true}, {"notReadyAddresses", subset.NotReadyAddresses, false}} {
			for j, address := range list.addresses {
				if !g.add(address, list.ready) {
					faults = append(faults, fmt.Sprintf("subsets[%d].%s[%d].ip: %q is no IP address; it gets no requests", i, list.name, j, address.IP))
				}
			}
		}
	}
	for _, key := range order {
		g := groups[key]
		if extra := g.bound(); extra > 0 {
			faults = append(faults, fmt.Sprintf("it has %d addresses of the same ports, and a cluster takes %d: the last %d get no requests; "+
				"write EndpointSlices", maxMirrored+extra, maxMirrored, extra))
		}
		for _, family := range []discoveryv1.AddressType{discoveryv1.AddressTypeIPv4, discoveryv1.AddressTypeIPv6} {
			if slice := g.slice(from, family); len(slice.Endpoints) > 0 {
				made = append(made, slice)
			}
		}
	}
	return made, faults
}

// add notes an address. An address that is ready anywhere is ready.
func (g *group) add(address corev1.EndpointAddress, ready bool) bool {
	ip, err := netip.ParseAddr(strings.TrimSpace(address.IP))
	if err != nil || ip.Zone() != "" {
		return false
	}
	ip = ip.Unmap()
	before, known := g.ready[ip]
	g.ready[ip] = before || ready
	if !known {
		endpoint := discoveryv1.Endpoint{Addresses: []string{ip.String()}, NodeName: address.NodeName, TargetRef: address.TargetRef}
		if address.Hostname != "" {
			endpoint.Hostname = &address.Hostname
		}
		g.order = append(g.order, endpoint)
	}
	return true
}

// bound keeps as many addresses as a cluster mirrors, the ready ones first. It
// returns how many more there are.
func (g *group) bound() (extra int) {
	for i := range g.order {
		g.order[i].Conditions.Ready = new(g.ready[g.addressOf(i)])
	}
	slices.SortStableFunc(g.order, func(a, b discoveryv1.Endpoint) int {
		switch {
		case *a.Conditions.Ready == *b.Conditions.Ready:
			return 0
		case *a.Conditions.Ready:
			return -1
		}
		return 1
	})
	extra = max(0, len(g.order)-maxMirrored)
	g.order = g.order[:len(g.order)-extra]
	return extra
}

func (g *group) addressOf(i int) netip.Addr { return netip.MustParseAddr(g.order[i].Addresses[0]) } // add wrote it

func (g *group) slice(from *endpoints, family discoveryv1.AddressType) *discoveryv1.EndpointSlice {
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: from.Namespace, CreationTimestamp: from.CreationTimestamp,
			Labels: maps.Clone(from.Labels), Annotations: maps.Clone(from.Annotations),
		},
		AddressType: family,
		Ports:       g.ports,
	}
	if slice.Labels == nil {
		slice.Labels = map[string]string{}
	}
	slice.Labels[discoveryv1.LabelServiceName] = from.Name
	slice.Labels[discoveryv1.LabelManagedBy] = mirroredBy
	delete(slice.Annotations, corev1.LastAppliedConfigAnnotation)
	for i, endpoint := range g.order {
		if g.addressOf(i).Is4() == (family == discoveryv1.AddressTypeIPv4) {
			slice.Endpoints = append(slice.Endpoints, endpoint)
		}
	}
	return slice
}

func portsOf(ports []corev1.EndpointPort) []discoveryv1.EndpointPort {
	made := make([]discoveryv1.EndpointPort, len(ports))
	for i, port := range ports {
		made[i] = discoveryv1.EndpointPort{Name: new(port.Name), Port: new(port.Port), Protocol: new(port.Protocol), AppProtocol: port.AppProtocol}
	}
	return made
}

// keyOf returns the same key for equal sets of ports, in whatever order.
func keyOf(ports []corev1.EndpointPort) string {
	texts := make([]string, len(ports))
	for i, port := range ports {
		text, _ := json.Marshal(port) // cannot fail: plain values
		texts[i] = string(text)
	}
	slices.Sort(texts)
	return strings.Join(texts, ",")
}
