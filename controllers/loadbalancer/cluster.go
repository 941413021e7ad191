package loadbalancer

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"

	coordination "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairwaynet/fairway/api/nodelinks"
	"github.com/fairwaynet/fairway/api/v1alpha1"
	"github.com/fairwaynet/fairway/controllers/objects/watch"
	"github.com/fairwaynet/fairway/proxy/loadbalancer"
)

// newCache has what is needed of the cluster: of Services those of type LoadBalancer.
func newCache(config *rest.Config, scheme *runtime.Scheme, namespace string) (cache.Cache, error) {
	return cache.New(config, cache.Options{
		Scheme: scheme, ReaderFailOnMissingInformer: true, DefaultTransform: cache.TransformStripManagedFields(),
		ByObject: map[client.Object]cache.ByObject{
			&corev1.Service{}: {Field: fields.OneTermEqualSelector("spec.type", string(corev1.ServiceTypeLoadBalancer))},
			&coordination.Lease{}: {
				Namespaces: map[string]cache.Config{namespace: {}},
				Label:      labels.SelectorFromSet(labels.Set{loadbalancer.LeaseLabel: loadbalancer.AddressKind}),
			},
			&corev1.Node{}: {Transform: watch.TrimNode(func(whole, trimmed *corev1.Node) {
				trimmed.Spec.PodCIDRs, trimmed.Status.Addresses = whole.Spec.PodCIDRs, whole.Status.Addresses
			})},
		},
	})
}

// reserved are the addresses that are the cluster's own.
func reserved(ctx context.Context, objects client.Reader) ([]loadbalancer.Reserved, error) {
	var all []loadbalancer.Reserved
	add := func(text, what string) {
		if r, err := loadbalancer.ParseRange(text); err == nil { // what no pool can have need not be kept
			all = append(all, loadbalancer.Reserved{Range: r, What: what})
		}
	}
	var cidrs networkingv1.ServiceCIDRList
	var nodes corev1.NodeList
	if err := objects.List(ctx, &cidrs); err != nil {
		return nil, fmt.Errorf("list ServiceCIDRs: %w", err)
	}
	if err := objects.List(ctx, &nodes, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("list Nodes: %w", err)
	}
	for i := range cidrs.Items {
		for _, text := range cidrs.Items[i].Spec.CIDRs {
			add(text, "cluster IPs")
		}
	}
	for i := range nodes.Items {
		node := &nodes.Items[i]
		for _, a := range node.Status.Addresses {
			if a.Type == corev1.NodeInternalIP || a.Type == corev1.NodeExternalIP {
				add(a.Address, "an address of Node "+node.Name)
			}
		}
		for _, text := range node.Spec.PodCIDRs {
			add(text, "pods of Node "+node.Name)
		}
		links := nodelinks.Read(node.Annotations)
		for _, router := range links.Routers {
			add(router.String(), "the router of Node "+node.Name)
		}
		for _, network := range links.Networks {
			add(network.Addr().String(), "an address of Node "+node.Name)
		}
	}
	return all, nil
}

// writeStatus writes the addresses and conditions of a Service, at the version that s has.
func writeStatus(ctx context.Context, writer client.SubResourceWriter, s *corev1.Service, addresses []netip.Addr, conditions []metav1.Condition) error {
	vip := corev1.LoadBalancerIPModeVIP
	ingress := make([]corev1.LoadBalancerIngress, 0, len(addresses))
	for _, a := range addresses {
		ingress = append(ingress, corev1.LoadBalancerIngress{IP: a.String(), IPMode: &vip})
	}
	wanted := slices.Clone(s.Status.Conditions)
	if conditions == nil { // the Service is none of ours any more
		wanted = slices.DeleteFunc(wanted, func(c metav1.Condition) bool {
			return c.Type == loadbalancer.ConditionAssigned || c.Type == loadbalancer.ConditionAnnounced
		})
	}
	for _, c := range conditions {
		c.ObservedGeneration = s.Generation
		set(&wanted, c)
	}
	if sameAddresses(s.Status.LoadBalancer.Ingress, ingress) && sameConditions(s.Status.Conditions, wanted) {
		return nil
	}
	patch, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"resourceVersion": s.ResourceVersion, "uid": s.UID},
		"status":   map[string]any{"loadBalancer": map[string]any{"ingress": ingress}, "conditions": wanted},
	})
	if err != nil {
		return err
	}
	object := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: s.Namespace, Name: s.Name}}
	if err := writer.Patch(ctx, object, client.RawPatch(types.MergePatchType, patch)); err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("write the status of Service %s/%s: %w", s.Namespace, s.Name, err)
	}
	return nil
}

// set replaces the condition of a type. Its time stays if it does.
func set(all *[]metav1.Condition, c metav1.Condition) {
	i := slices.IndexFunc(*all, func(x metav1.Condition) bool { return x.Type == c.Type })
	if i < 0 {
		*all = append(*all, c)
		return
	}
	if (*all)[i].Status == c.Status {
		c.LastTransitionTime = (*all)[i].LastTransitionTime
	}
	(*all)[i] = c
}

func sameConditions(a, b []metav1.Condition) bool {
	return slices.EqualFunc(a, b, func(x, y metav1.Condition) bool {
		return x.Type == y.Type && x.Status == y.Status && x.Reason == y.Reason && x.Message == y.Message
	})
}

func sameAddresses(a, b []corev1.LoadBalancerIngress) bool {
	return slices.EqualFunc(a, b, func(x, y corev1.LoadBalancerIngress) bool {
		return x.IP == y.IP && x.Hostname == y.Hostname && (x.IPMode != nil && *x.IPMode == *y.IPMode)
	})
}

// addressesOf are those that a Service's status has.
func addressesOf(s *corev1.Service) []netip.Addr {
	var all []netip.Addr
	for _, each := range s.Status.LoadBalancer.Ingress {
		if a, err := netip.ParseAddr(each.IP); err == nil && !slices.Contains(all, a) {
			all = append(all, a)
		}
	}
	return all
}

// pools are the AddressPools.
func pools(ctx context.Context, objects client.Reader) ([]v1alpha1.AddressPool, error) {
	var all v1alpha1.AddressPoolList
	if err := objects.List(ctx, &all); err != nil {
		return nil, fmt.Errorf("list AddressPools: %w", err)
	}
	return all.Items, nil
}
