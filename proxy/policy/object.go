package policy

import (
	"cmp"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Key is the name of a pod or a policy.
type Key = types.NamespacedName

// Pod is a pod with a network of its own that may send or be called: not one of the host's network, and
// not one that has ended.
type Pod struct {
	Name Key
	UID  types.UID
	// Static is the UID that the kubelet gave a static pod, which the runtime knows; empty for others.
	Static string
	Labels map[string]string
	// Addresses are at most one of each family. A pod that has just begun has none yet.
	Addresses []netip.Addr
	// Ports are those that have names, in the order of the pod.
	Ports []NamedPort
	// Node is where it runs.
	Node string
	// Created and Leaving say which of two pods with one address has it: Kubernetes lists the last
	// owner for a while. It is the one that does not leave, then the younger one.
	Created int64 // seconds
	Leaving bool
}

// NamedPort is a port that a pod gives a name.
type NamedPort struct {
	Name     string
	Protocol uint8
	Port     uint16
}

// Named is the port of a name and protocol: the first one counts, as for Services.
func (p *Pod) Named(name string, protocol uint8) (uint16, bool) {
	i := slices.IndexFunc(p.Ports, func(n NamedPort) bool { return n.Name == name && n.Protocol == protocol })
	if i < 0 {
		return 0, false
	}
	return p.Ports[i].Port, true
}

// before says whether the pod has an address rather than another pod that claims it, too.
func (p *Pod) before(other *Pod) bool {
	switch {
	case p.Leaving != other.Leaving:
		return other.Leaving
	case p.Created != other.Created:
		return p.Created > other.Created
	default:
		return p.UID < other.UID
	}
}

// Direction is whose policies judge: the sender's or the receiver's.
type Direction uint8

// The directions.
const (
	Ingress Direction = iota
	Egress
)

// String is the API's word.
func (d Direction) String() string {
	if d == Egress {
		return "Egress"
	}
	return "Ingress"
}

// Directions are both.
func directions() []Direction { return []Direction{Ingress, Egress} }

// Policy is what one NetworkPolicy says.
type Policy struct {
	Name Key
	// Pods are those of its namespace that it selects.
	Pods Selector
	// Isolates says in which directions the selected pods get only what is allowed.
	Isolates [2]bool
	// Rules are what it allows, by direction.
	Rules [2][]Rule
}

// Selects says whether the policy is about a pod.
func (p *Policy) Selects(pod *Pod) bool { return p.Pods.selects(pod, nil) }

// Rule allows what comes from, or goes to, one of its peers at one of its ports.
type Rule struct {
	Anybody bool // as a peer
	Peers   []Selector
	Blocks  Ranges

	AnyPort bool // of whatever protocol, also of those without ports
	Ports   []Ports
	Named   []Named
}

// Ports are those from First to Last.
type Ports struct {
	Protocol    uint8
	First, Last uint16
}

// Named is a port by its name in the pod that is called.
type Named struct {
	Protocol uint8
	Name     string
}

// Addresses are those of a pod, as its status says.
func Addresses(p *corev1.Pod) []netip.Addr {
	var all []netip.Addr
	for _, ip := range p.Status.PodIPs {
		if a, err := netip.ParseAddr(ip.IP); err == nil { // the API server has checked it
			all = append(all, a.Unmap())
		}
	}
	return all
}

// PodOf returns what a pod is for policies; nil: none can say anything about it. It has the host's
// network, or it has ended and its addresses are another's.
func PodOf(p *corev1.Pod) *Pod {
	if p.Spec.HostNetwork || p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed {
		return nil
	}
	pod := &Pod{
		Name: Key{Namespace: p.Namespace, Name: p.Name}, UID: p.UID, Static: p.Annotations[corev1.MirrorPodAnnotationKey], Labels: p.Labels, Node: p.Spec.NodeName,
		Created: p.CreationTimestamp.Unix(), Leaving: p.DeletionTimestamp != nil,
	}
	pod.Addresses = Addresses(p)
	for _, c := range p.Spec.Containers {
		pod.name(c)
	}
	for _, c := range p.Spec.InitContainers {
		if c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			pod.name(c)
		}
	}
	return pod
}

// name notes the names that a container gives ports.
func (p *Pod) name(c corev1.Container) {
	for _, port := range c.Ports {
		protocol, known := protocols()[cmp.Or(port.Protocol, corev1.ProtocolTCP)]
		if port.Name != "" && known && port.ContainerPort > 0 && port.ContainerPort <= lastPort {
			p.Ports = append(p.Ports, NamedPort{port.Name, protocol, uint16(port.ContainerPort)}) //nolint:gosec // checked
		}
	}
}

// Is says whether a pod has a UID that the runtime was told.
func Is(p *corev1.Pod, uid string) bool {
	return string(p.UID) == uid || p.Annotations[corev1.MirrorPodAnnotationKey] == uid
}
