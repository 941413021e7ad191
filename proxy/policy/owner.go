package policy

import "net/netip"

// Owner returns the pod that has an address; nil: none that policies are about.
func (b *Book) Owner(a netip.Addr) *Pod {
	if p := b.owner(a); p != nil {
		return p.Pod
	}
	return nil
}
