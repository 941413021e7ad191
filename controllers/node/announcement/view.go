package announcement

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairwaynet/fairway/api/nodelinks"
	"github.com/fairwaynet/fairway/api/v1alpha1"
	"github.com/fairwaynet/fairway/proxy/loadbalancer"
)

// Service is the name of a Service.
type Service = types.NamespacedName

// keepReady copies whether a Node is Ready.
func keepReady(whole, trimmed *corev1.Node) {
	for _, c := range whole.Status.Conditions {
		if c.Type == corev1.NodeReady {
			trimmed.Status.Conditions = []corev1.NodeCondition{{Type: c.Type, Status: c.Status}}
		}
	}
}

// unready is how long a node must not be Ready before that counts: after an outage of the API server nodes may not
// be Ready for a moment, because nobody could say that they are, and nothing is wrong with them.
const unready = 10 * time.Second

func ready(node *corev1.Node) bool {
	return slices.ContainsFunc(node.Status.Conditions, func(c corev1.NodeCondition) bool { return c.Status == corev1.ConditionTrue })
}

// stays says whether a node stays in service: nobody has begun to take it out, and it is Ready, or has not been so
// for a short time only. That time ends after left, if it is not zero.
func (s *Speaker) stays(node *corev1.Node) (stays bool, left time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if ready(node) {
		delete(s.unready, node.Name)
		return !node.Spec.Unschedulable, 0
	}
	since, known := s.unready[node.Name]
	if !known {
		since = time.Now()
		s.unready[node.Name] = since
	}
	left = max(0, unready-time.Since(since))
	return !node.Spec.Unschedulable && left > 0, left
}

// speakers are the nodes that may answer for an address. They are others after some time, if that is not zero, by
// the passing of time alone.
func (s *Speaker) speakers(ctx context.Context, r loadbalancer.Record) (speakers []loadbalancer.Speaker, until time.Duration, err error) {
	var nodes corev1.NodeList
	if err := s.objects.List(ctx, &nodes, client.UnsafeDisableDeepCopy); err != nil {
		return nil, 0, fmt.Errorf("list Nodes: %w", err)
	}
	selects, err := s.selector(ctx, r.Pool)
	if err != nil {
		return nil, 0, err
	}
	local, all, err := s.local(ctx, r.Services)
	if err != nil {
		return nil, 0, err
	}
	for i := range nodes.Items {
		node := &nodes.Items[i]
		speaker := loadbalancer.Speaker{Node: node.Name}
		_, excluded := node.Labels[corev1.LabelNodeExcludeBalancers]
		stays, left := s.stays(node)
		until = soonest(until, left)
		switch on := nodelinks.Read(node.Annotations).On(r.Address); {
		case excluded, !on && node.Name != s.Node, !selects.Matches(labels.Set(node.Labels)), !all && !local[node.Name]:
		case node.Name == s.Node && s.device(r.Address) == "": // it knows better than its Node
		case stays:
			speaker.Will = loadbalancer.Willing
		default:
			speaker.Will = loadbalancer.Reluctant
		}
		if node.Name != s.Node {
			if node.Spec.Unschedulable || !ready(node) {
				s.pulses.shorten(node.Name)
			}
			speaker.Dead = s.pulses.dead(node.Name)
		}
		speakers = append(speakers, speaker)
	}
	return speakers, until, nil
}

// soonest is the shorter of two times, of which zero is never.
func soonest(a, b time.Duration) time.Duration {
	if a == 0 || (b != 0 && b < a) {
		return b
	}
	return a
}

// selector says which nodes an AddressPool lets answer. A pool that is gone, or whose selector
// cannot be read, lets all.
func (s *Speaker) selector(ctx context.Context, pool string) (labels.Selector, error) {
	var object v1alpha1.AddressPool
	err := s.objects.Get(ctx, types.NamespacedName{Name: pool}, &object)
	if apierrors.IsNotFound(err) || pool == "" || (err == nil && object.Spec.NodeSelector == nil) {
		return labels.Everything(), nil
	}
	if err != nil {
		return nil, fmt.Errorf("read AddressPool %s: %w", pool, err)
	}
	selector, err := metav1.LabelSelectorAsSelector(object.Spec.NodeSelector)
	if err != nil {
		return labels.Everything(), nil //nolint:nilerr // the controller tells of it
	}
	return selector, nil
}

// local are the nodes that have endpoints of Services with externalTrafficPolicy Local; all
// says that there is no such Service.
func (s *Speaker) local(ctx context.Context, names []Service) (nodes map[string]bool, all bool, err error) {
	all = true
	for _, name := range names {
		var service corev1.Service
		if err := s.Slices.Get(ctx, name, &service, client.UnsafeDisableDeepCopy); err != nil {
			if apierrors.IsNotFound(err) {
				continue // it comes, or it is gone
			}
			return nil, false, fmt.Errorf("read Service %s: %w", name, err)
		}
		if service.Spec.ExternalTrafficPolicy != corev1.ServiceExternalTrafficPolicyLocal {
			continue
		}
		slices, err := s.SlicesOf(ctx, name)
		if err != nil {
			return nil, false, err
		}
		here := endpointsByNode(slices)
		if all {
			nodes, all = here, false
			continue
		}
		for node := range nodes { // Services that share an address have the same endpoints
			if !here[node] {
				delete(nodes, node)
			}
		}
	}
	return nodes, all, nil
}

// endpointsByNode are the nodes with an endpoint that takes connections: one that is ready, or
// if none is, one that serves while it ends.
func endpointsByNode(all []*discoveryv1.EndpointSlice) map[string]bool {
	ready, serving := map[string]bool{}, map[string]bool{}
	for _, slice := range all {
		for _, e := range slice.Endpoints {
			if e.NodeName == nil {
				continue
			}
			if e.Conditions.Ready == nil || *e.Conditions.Ready {
				ready[*e.NodeName] = true
			}
			if e.Conditions.Serving != nil && *e.Conditions.Serving {
				serving[*e.NodeName] = true
			}
		}
	}
	if len(ready) > 0 {
		return ready
	}
	return serving
}

// device is the interface in whose network an address is: that with the longest prefix. If several
// are in that network, it is the one by which the node reaches it: clients hear one MAC, and
// filters of the reverse path let their packets pass.
func (s *Speaker) device(a netip.Addr) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	name, bits := "", -1
	for _, l := range s.links {
		for _, network := range l.Networks {
			if !network.Contains(a) || network.Bits() == a.BitLen() || network.Bits() < bits {
				continue
			}
			if network.Bits() > bits || s.direct[network.Masked()] == l.Name {
				name, bits = l.Name, network.Bits()
			}
		}
	}
	return name
}
