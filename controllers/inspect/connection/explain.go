package connection

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	policyv1 "sigs.k8s.io/network-policy-api/apis/v1beta1"

	"github.com/fairwaynet/fairway/api/problem"
	"github.com/fairwaynet/fairway/controllers/inspect/check"
	"github.com/fairwaynet/fairway/controllers/inspect/policies"
	"github.com/fairwaynet/fairway/controllers/inspect/snapshot"
	"github.com/fairwaynet/fairway/controllers/inspect/wording"
	"github.com/fairwaynet/fairway/controllers/objects/folder"
	"github.com/fairwaynet/fairway/proxy/policy"
)

// Objects are those of a cluster that decide.
type Objects struct {
	Pods       []*corev1.Pod
	Namespaces []*corev1.Namespace
	Policies   []*networkingv1.NetworkPolicy
	Cluster    []*policyv1.ClusterNetworkPolicy
	Services   []*corev1.Service
	Slices     []*discoveryv1.EndpointSlice
}

// FromCluster answers a question from the objects of a cluster.
func FromCluster(ctx context.Context, q Question, reader snapshot.Reader) (*Explanation, error) {
	o, err := gather(ctx, q, reader)
	if err != nil {
		return nil, err
	}
	return Explain(o, q)
}

func gather(ctx context.Context, q Question, reader snapshot.Reader) (Objects, error) {
	var o Objects
	var pods, namespaces, all, cluster, services error
	o.Pods, pods = reader.AllPods(ctx)
	o.Namespaces, namespaces = reader.Namespaces(ctx)
	o.Policies, all = reader.NetworkPolicies(ctx, "")
	o.Cluster, cluster = reader.ClusterNetworkPolicies(ctx)
	var objects []client.Object
	switch {
	case q.To.Address.IsValid():
		objects, services = reader.AllServices(ctx)
	case q.To.Service.Name != "":
		name := q.To.Service
		if name.Namespace == "" {
			name.Namespace = q.From.Namespace
		}
		objects, services = reader.Services(ctx, []types.NamespacedName{name})
	}
	for _, object := range objects {
		switch object := object.(type) {
		case *corev1.Service:
			o.Services = append(o.Services, object)
		case *discoveryv1.EndpointSlice:
			o.Slices = append(o.Slices, object)
		}
	}
	return o, errors.Join(pods, namespaces, all, cluster, services)
}

// Explain says what becomes of a connection. An error says that there is no such sender or target.
func Explain(o Objects, q Question) (*Explanation, error) {
	i := slices.IndexFunc(o.Pods, func(p *corev1.Pod) bool { return nameOf(p) == q.From })
	if i < 0 {
		return nil, fmt.Errorf("there is no pod %s", q.From)
	}
	from := o.Pods[i]
	x := &Explanation{
		Version: 1, From: Pod{from.Namespace, from.Name, from.Spec.NodeName, policy.Addresses(from)}, To: q.To.Text,
		Protocol: string(q.To.Protocol), Port: q.To.Port, Endpoints: []Endpoint{}, Problems: []check.Finding{},
	}
	switch exempt := policies.Exempt(from); {
	case from.Spec.HostNetwork:
		x.Unknown = append(x.Unknown, "with which of the node's addresses the sender calls: these are those of its status")
	case exempt != "":
		return nil, fmt.Errorf("pod %s sends nothing: %s", q.From, exempt)
	}
	if len(x.From.Addresses) == 0 {
		return nil, fmt.Errorf("pod %s has no address yet", q.From)
	}
	d, err := o.resolve(from, q.To)
	if err != nil {
		return nil, err
	}
	x.Service = d.service
	if d.end != "" {
		x.End, x.Summary = d.end, d.why+"."
		return x, nil
	}
	j := newJudge(o, from)
	for _, a := range x.From.Addresses {
		if owner := j.sender.Owner(a); owner != nil && owner.Name != q.From {
			return nil, fmt.Errorf("pod %s has lost its address %s to pod %s", q.From, a, owner.Name)
		}
	}
	x.judge(j, o, d.at, q.To.Protocol)
	nowhere := func(problem.Problem) (folder.Place, bool) { return folder.Place{}, false }
	x.Problems = check.FindingsOf(nowhere, j.problems())
	x.conclude()
	return x, nil
}

// judge judges a connection to each address of the families that the sender has.
func (x *Explanation) judge(j *judge, o Objects, all []netip.AddrPort, protocol corev1.Protocol) {
	number, _ := policy.Protocol(protocol)
	for _, at := range all {
		if source, has := x.From.of(at.Addr()); has {
			x.Endpoints = append(x.Endpoints, j.endpoint(policy.Flow{From: source, To: at.Addr(), Protocol: number, Port: at.Port()}, o.nodeOf(at.Addr())))
		}
	}
	if left := len(all) - len(x.Endpoints); left > 0 && len(x.Endpoints) > 0 {
		x.Unknown = append(x.Unknown, fmt.Sprintf("anything of %s more, of whose family the sender has no address", wording.Count(left, "endpoint")))
	}
}

// of is the pod's address of the family of another one.
func (p Pod) of(a netip.Addr) (netip.Addr, bool) {
	i := slices.IndexFunc(p.Addresses, func(own netip.Addr) bool { return own.Is6() == a.Is6() })
	if i < 0 {
		return netip.Addr{}, false
	}
	return p.Addresses[i], true
}

// nodeOf is the node of the pod that has an address.
func (o Objects) nodeOf(a netip.Addr) string {
	for _, p := range o.Pods {
		if policies.Exempt(p) == "" && slices.Contains(policy.Addresses(p), a) {
			return p.Spec.NodeName
		}
	}
	return ""
}

// conclude says what becomes of the connection as a whole.
func (x *Explanation) conclude() {
	allowed := 0
	for _, e := range x.Endpoints {
		if e.Allowed {
			allowed++
		}
	}
	switch {
	case len(x.Endpoints) == 0:
		x.End, x.Summary = NoEndpoint, "The sender has no address of the family of the target's, and cannot connect."
	case allowed == len(x.Endpoints):
		x.End, x.Summary = Allowed, "Allowed."
	case allowed > 0:
		x.End, x.Summary = Partly, fmt.Sprintf("Allowed to %d of %d: it depends on which one the connection is given to.", allowed, len(x.Endpoints))
	default:
		x.End, x.Summary = Denied, x.denial()
	}
}

// denial names the ends whose policies deny.
func (x *Explanation) denial() string {
	egress, ingress := false, false
	for _, e := range x.Endpoints {
		egress = egress || !e.Egress.Allowed
		ingress = ingress || !e.Ingress.Allowed
	}
	switch {
	case egress && ingress:
		return "Denied, by the sender's policies and by the receiver's."
	case egress:
		return "Denied, by the sender's policies."
	default:
		return "Denied, by the receiver's policies."
	}
}
