package loadbalancer

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	coordination "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairwaynet/fairway/api/nodelinks"
	"github.com/fairwaynet/fairway/api/problem"
	"github.com/fairwaynet/fairway/api/v1alpha1"
	"github.com/fairwaynet/fairway/proxy/loadbalancer"
)

// condition of a Service. What is wrong is its message.
func condition(kind string, ok bool, reason, message string, problems []problem.Problem) metav1.Condition {
	c := metav1.Condition{Type: kind, Status: metav1.ConditionTrue, Reason: reason, Message: message, LastTransitionTime: metav1.Now()}
	if len(problems) > 0 {
		texts := make([]string, len(problems))
		for i, p := range problems {
			texts[i] = p.Message
		}
		c.Reason, c.Message = string(problems[0].Reason), problem.Shorten(strings.Join(texts, "; "), 1024)
	}
	if !ok {
		c.Status = metav1.ConditionFalse
	}
	if c.Message == "it has " {
		c.Message = ""
	}
	return c
}

// announced says which nodes answer for addresses, and for which none does, and why.
func (t *term) announced(ctx context.Context, addresses []netip.Addr) (string, []problem.Problem) {
	var texts []string
	var silent []problem.Problem
	for _, a := range addresses {
		var lease coordination.Lease
		err := t.objects.Get(ctx, types.NamespacedName{Namespace: t.Namespace, Name: loadbalancer.RecordName(a)}, &lease)
		if r, ok := loadbalancer.ReadRecord(&lease); err == nil && ok && r.Holder != "" {
			texts = append(texts, fmt.Sprintf("node %s answers for %s", r.Holder, a))
			continue
		}
		for _, name := range t.book.Holders(a) {
			silent = append(silent, problem.Problem{
				Object: problem.Object{Kind: "Service", Name: name}, Reason: ReasonNotAnnounced,
				Message: fmt.Sprintf("no node answers for %s: %s", a, t.whyNobody(ctx, a)),
			})
			break
		}
	}
	return strings.Join(texts, ", "), silent
}

// ReasonNotAnnounced says that no node answers for an address.
const ReasonNotAnnounced problem.Reason = "AddressNotAnnounced"

// whyNobody says why no node answers for an address, as far as Nodes show it.
func (t *term) whyNobody(ctx context.Context, a netip.Addr) string {
	var nodes corev1.NodeList
	if err := t.objects.List(ctx, &nodes, client.UnsafeDisableDeepCopy); err != nil {
		return err.Error()
	}
	var excluded, elsewhere, unselected, left int
	for i := range nodes.Items {
		node := &nodes.Items[i]
		_, has := node.Labels[corev1.LabelNodeExcludeBalancers]
		switch {
		case has:
			excluded++
		case !nodelinks.Read(node.Annotations).On(a):
			elsewhere++
		case !t.selects(a, node):
			unselected++
		default:
			left++
		}
	}
	var texts []string
	for _, each := range []struct {
		count int
		text  string
	}{
		{excluded, "have the label " + corev1.LabelNodeExcludeBalancers},
		{elsewhere, "have no interface in its network, or no agent that announces"},
		{unselected, "are not selected by its AddressPool's nodeSelector"},
		{left, "could: with externalTrafficPolicy Local they need an endpoint of the Service that is ready; otherwise see the logs of their agents"},
	} {
		if each.count > 0 {
			texts = append(texts, strconv.Itoa(each.count)+" "+each.text)
		}
	}
	return fmt.Sprintf("of %d nodes, %s", len(nodes.Items), strings.Join(texts, "; "))
}

func (t *term) selects(a netip.Addr, node *corev1.Node) bool {
	for i := range t.pools {
		if t.pools[i].Name == t.poolOf(a) {
			return t.pools[i].Nodes.Matches(labels.Set(node.Labels))
		}
	}
	return true
}

// pool writes the status of an AddressPool, as setPools has read it.
func (t *term) pool(ctx context.Context, name string) error {
	var object v1alpha1.AddressPool
	if err := t.objects.Get(ctx, types.NamespacedName{Name: name}, &object); err != nil {
		return client.IgnoreNotFound(err)
	}
	problems := slices.DeleteFunc(slices.Clone(t.wrong), func(p problem.Problem) bool { return p.Object.Name.Name != name })
	status := v1alpha1.AddressPoolStatus{Conditions: slices.Clone(object.Status.Conditions)}
	usable := false
	for i := range t.pools {
		if p := &t.pools[i]; p.Name == name {
			usable = len(p.Ranges) > 0
			given, free := t.book.Use(p, mostCounted)
			status.Assigned, status.Available = int32(min(given, mostCounted)), strconv.FormatUint(free, 10) //nolint:gosec // bounded
			if free >= mostCounted {
				status.Available = fmt.Sprintf("more than %d", mostCounted)
			}
		}
	}
	c := condition("Accepted", usable, "Accepted", "", problems)
	c.ObservedGeneration = object.Generation
	set(&status.Conditions, c)
	if status.Assigned == object.Status.Assigned && status.Available == object.Status.Available && sameConditions(status.Conditions, object.Status.Conditions) {
		return nil
	}
	before := object.DeepCopy()
	object.Status = status
	return client.IgnoreNotFound(t.direct.Status().Patch(ctx, &object, client.MergeFrom(before)))
}

func join(addresses []netip.Addr) string {
	texts := make([]string, len(addresses))
	for i, a := range addresses {
		texts[i] = a.String()
	}
	return strings.Join(texts, " and ")
}
