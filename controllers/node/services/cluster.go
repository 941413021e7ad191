package services

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/fairwaynet/fairway/api/problem"
	"github.com/fairwaynet/fairway/controllers/node/network"
	"github.com/fairwaynet/fairway/controllers/objects/watch"
	"github.com/fairwaynet/fairway/proxy/service"
)

// Config is what an operator decides.
type Config struct {
	// Pods are all ranges of pods of the cluster.
	Pods []netip.Prefix
	// NodePorts are the networks of the node's addresses at which node ports answer. Without
	// any, these are the node's InternalIPs.
	NodePorts []netip.Prefix
	// ExternalIPs serves spec.externalIPs.
	ExternalIPs bool
	// Ranged says that the node's pods have the ranges of its Node.
	Ranged bool
}

// NodeKey is the key of what all Services of a node share.
type NodeKey string

// Cluster keeps what all Services of a node share.
type Cluster struct {
	*Reconciler

	// Addresses are those of the node's interfaces.
	Addresses func() ([]netip.Addr, error)
}

// Keys implements assembly.Builder.
func (c *Cluster) Keys(context.Context) ([]NodeKey, error) { return []NodeKey{NodeKey(c.Node)}, nil }

// Build implements assembly.Builder.
func (c *Cluster) Build(ctx context.Context, _ NodeKey) (*service.Cluster, []problem.Problem, error) {
	ranges, err := c.ranges(ctx)
	if err != nil {
		return nil, nil, err
	}
	node, err := c.own(ctx)
	if err != nil {
		return nil, nil, err
	}
	built := &service.Cluster{Services: ranges, Pods: c.Pods, NodePorts: c.NodePorts, Leaving: leaving(node)}
	if c.Ranged {
		built.LocalPods = podRanges(node)
	}
	if len(c.NodePorts) > 0 {
		built.NodeAddresses, err = c.within(c.NodePorts)
		return built, nil, err
	}
	for _, a := range addresses(node, corev1.NodeInternalIP) {
		built.NodeAddresses = append(built.NodeAddresses, a)
		built.NodePorts = append(built.NodePorts, netip.PrefixFrom(a, a.BitLen()))
	}
	return built, nil, nil
}

// podRanges are those of a Node's pods.
func podRanges(node *corev1.Node) []netip.Prefix {
	var all []netip.Prefix
	for _, text := range node.Spec.PodCIDRs {
		if prefix, err := netip.ParsePrefix(text); err == nil { // the API server has checked it
			all = append(all, prefix.Masked())
		}
	}
	return all
}

// leaving says whether a Node is about to go.
func leaving(node *corev1.Node) bool {
	return node.DeletionTimestamp != nil ||
		slices.ContainsFunc(node.Spec.Taints, func(t corev1.Taint) bool { return t.Key == network.GoingTaint })
}

// within are the node's addresses in networks.
func (c *Cluster) within(networks []netip.Prefix) ([]netip.Addr, error) {
	addresses, err := c.Addresses()
	if err != nil {
		return nil, err
	}
	var all []netip.Addr
	for _, a := range addresses {
		for _, network := range networks {
			if network.Contains(a) {
				all = append(all, a)
				break
			}
		}
	}
	return all, nil
}

// Publish hands over what all Services share.
func (c *Cluster) Publish(_ NodeKey, cluster *service.Cluster) { c.Publisher.PublishCluster(*cluster) }

// Reconcile implements reconcile.TypedReconciler.
func (c *Cluster) Reconcile(ctx context.Context, name NodeKey) (reconcile.Result, error) {
	built, problems, err := c.Build(ctx, name)
	if err != nil {
		return reconcile.Result{}, err
	}
	c.Publish(name, built)
	c.Reporter.Report(ctx, name, problems)
	return reconcile.Result{}, nil
}

// Sources wake the key.
func (c *Cluster) Sources(objects cache.Cache) []source.TypedSource[NodeKey] {
	return []source.TypedSource[NodeKey]{
		watch.Source(objects, &corev1.Node{}, place, func(_ context.Context, node *corev1.Node) ([]NodeKey, error) {
			if node.Name != c.Node {
				return nil, nil
			}
			return []NodeKey{NodeKey(c.Node)}, nil
		}),
		watch.Source(objects, &networkingv1.ServiceCIDR{}, spans, func(context.Context, *networkingv1.ServiceCIDR) ([]NodeKey, error) {
			return []NodeKey{NodeKey(c.Node)}, nil
		}),
	}
}

// ranges are those of cluster IPs. All that exist count, also those that give no more
// addresses: Services still have some of theirs.
func (r *Reconciler) ranges(ctx context.Context) ([]netip.Prefix, error) {
	var all networkingv1.ServiceCIDRList
	if err := r.Objects.List(ctx, &all, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("list ServiceCIDRs: %w", err)
	}
	var ranges []netip.Prefix
	for i := range all.Items {
		for _, text := range all.Items[i].Spec.CIDRs {
			if prefix, err := netip.ParsePrefix(text); err == nil { // the API server has checked it
				ranges = append(ranges, prefix.Masked())
			}
		}
	}
	slices.SortFunc(ranges, netip.Prefix.Compare)
	return slices.Compact(ranges), nil
}

// addresses are those of some types of a Node.
func addresses(node *corev1.Node, types ...corev1.NodeAddressType) []netip.Addr {
	var all []netip.Addr
	for _, each := range node.Status.Addresses {
		if !slices.Contains(types, each.Type) {
			continue
		}
		if a, err := netip.ParseAddr(each.Address); err == nil {
			all = append(all, a.Unmap())
		}
	}
	return all
}

// reserved are the addresses of the cluster itself.
func (r *Reconciler) reserved(ctx context.Context) (service.Reserved, error) {
	ranges, err := r.ranges(ctx)
	if err != nil {
		return service.Reserved{}, err
	}
	nodes, err := r.nodes(ctx)
	if err != nil {
		return service.Reserved{}, err
	}
	reserved := service.Reserved{Nodes: map[netip.Addr]string{}, Pods: r.Pods, Services: ranges}
	for i := range nodes {
		for _, a := range addresses(&nodes[i], corev1.NodeInternalIP, corev1.NodeExternalIP) {
			if other, taken := reserved.Nodes[a]; !taken || nodes[i].Name < other { // in whatever order they are listed
				reserved.Nodes[a] = nodes[i].Name
			}
		}
	}
	return reserved, nil
}
