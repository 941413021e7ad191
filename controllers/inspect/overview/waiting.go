package overview

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/fairwaynet/fairway/controllers/inspect/snapshot"
	"github.com/fairwaynet/fairway/controllers/inspect/wording"
)

// Waiting is a pod of a gateway for which no node has room.
type Waiting struct {
	Namespace string `json:"namespace"`
	Pod       string `json:"pod"`
	Node      string `json:"node,omitempty"` // the only one that it may run on, of a DaemonSet
	Why       string `json:"why"`            // the scheduler's words
	// Held are the ports of nodes that it needs and that other pods have.
	Held []HeldPort `json:"held,omitempty"`
}

// HeldPort is a port of a node, and the pod that has it.
type HeldPort struct {
	Node      string `json:"node"`
	Port      int32  `json:"port"`
	Protocol  string `json:"protocol"`
	Namespace string `json:"namespace"`
	Pod       string `json:"pod"`
}

// waiting adds the pods of gateways that no node has room for. With host ports the
// scheduler says only that none are free, so this finds the pods that have them.
func (o *Overview) waiting(ctx context.Context, reader snapshot.Reader) error {
	pods, err := reader.UnscheduledGateways(ctx)
	if forbidden := (*snapshot.PermissionError)(nil); errors.As(err, &forbidden) {
		o.Unknown = append(o.Unknown, "whether pods of gateways wait for a node: "+forbidden.Error())
		return nil
	}
	if err != nil {
		return err
	}
	for _, pod := range pods {
		o.Waiting = append(o.Waiting, Waiting{Namespace: pod.Namespace, Pod: pod.Name, Node: onlyNode(pod), Why: unscheduled(pod)})
	}
	if !slices.ContainsFunc(pods, func(pod *corev1.Pod) bool { return len(hostPorts(pod)) > 0 }) {
		return nil
	}
	running, err := reader.ScheduledPods(ctx)
	if err != nil {
		return err
	}
	for i, pod := range pods {
		o.Waiting[i].Held = held(pod, running)
	}
	return nil
}

// held returns the ports that a pod needs and that others have, in order.
func held(pod *corev1.Pod, running []*corev1.Pod) []HeldPort {
	var all []HeldPort
	only := onlyNode(pod)
	for _, other := range running {
		if only != "" && other.Spec.NodeName != only || other.Status.Phase == corev1.PodSucceeded || other.Status.Phase == corev1.PodFailed {
			continue
		}
		for _, theirs := range hostPorts(other) {
			if slices.ContainsFunc(hostPorts(pod), theirs.excludes) {
				all = append(all, HeldPort{
					Node: other.Spec.NodeName, Port: theirs.number, Protocol: string(theirs.protocol),
					Namespace: other.Namespace, Pod: other.Name,
				})
			}
		}
	}
	slices.SortFunc(all, func(a, b HeldPort) int {
		return cmp.Or(cmp.Compare(a.Node, b.Node), cmp.Compare(a.Port, b.Port), cmp.Compare(a.Protocol, b.Protocol), cmp.Compare(a.Pod, b.Pod))
	})
	return slices.Compact(all)
}

// hostPort is a port of a node that a pod has, or wants.
type hostPort struct {
	number   int32
	protocol corev1.Protocol
	address  string // empty: all of the node's
}

// excludes reports whether a node cannot give out both.
func (p hostPort) excludes(other hostPort) bool {
	return p.number == other.number && p.protocol == other.protocol &&
		(p.address == other.address || p.address == "" || other.address == "")
}

// hostPorts returns the ports of its node that a pod has, as the scheduler counts them.
func hostPorts(pod *corev1.Pod) []hostPort {
	var all []hostPort
	for _, container := range pod.Spec.Containers {
		for _, port := range container.Ports {
			number := port.HostPort
			if pod.Spec.HostNetwork {
				number = cmp.Or(number, port.ContainerPort)
			}
			address := port.HostIP
			if address == "0.0.0.0" || address == "::" {
				address = ""
			}
			if number > 0 {
				all = append(all, hostPort{number, cmp.Or(port.Protocol, corev1.ProtocolTCP), address})
			}
		}
	}
	return all
}

// onlyNode returns the node that a DaemonSet made a pod for, else "".
func onlyNode(pod *corev1.Pod) string {
	affinity := pod.Spec.Affinity
	if affinity == nil || affinity.NodeAffinity == nil || affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution == nil {
		return ""
	}
	for _, term := range affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms {
		for _, field := range term.MatchFields {
			if field.Key == "metadata.name" && field.Operator == corev1.NodeSelectorOpIn && len(field.Values) == 1 {
				return field.Values[0]
			}
		}
	}
	return ""
}

// unscheduled returns why a pod has no node, in the scheduler's words.
func unscheduled(pod *corev1.Pod) string {
	for _, condition := range pod.Status.Conditions {
		if condition.Type == corev1.PodScheduled && condition.Status == corev1.ConditionFalse {
			return cmp.Or(condition.Message, condition.Reason)
		}
	}
	return "the scheduler has not looked at it yet"
}

// text says for people why the pod waits.
func (w Waiting) text() string {
	if len(w.Held) == 0 {
		return fmt.Sprintf("pod %s/%s waits for a node: %s\n", w.Namespace, w.Pod, wording.Printable(w.Why, '\t'))
	}
	var holders []string
	for _, each := range w.Held {
		holders = append(holders, fmt.Sprintf("pod %s/%s has port %d/%s of node %s", each.Namespace, each.Pod, each.Port, each.Protocol, each.Node))
	}
	const most = 5
	if more := len(holders) - most; more > 0 {
		holders = append(holders[:most], fmt.Sprintf("and %d more", more))
	}
	return fmt.Sprintf("pod %s/%s waits for a node: %s\n", w.Namespace, w.Pod, strings.Join(holders, "; "))
}
