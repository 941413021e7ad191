package policy

import "net/netip"

// Owner returns the pod that has an address; nil: none that policies are about.
func (b *Book) Owner(a netip.Addr) *Pod {
	if p := b.owner(a); p != nil {
		return p.Pod
	}
	return nil
}

// ClusterPolicies returns the policies of the cluster that the book has, in no order.
func (b *Book) ClusterPolicies() []*ClusterPolicy {
	var all []*ClusterPolicy
	for _, x := range b.clusters {
		all = append(all, x.ClusterPolicy)
	}
	return all
}
