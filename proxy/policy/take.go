//go:build linux

package policy

import (
	"maps"
	"net/netip"
	"slices"

	"github.com/fairwaynet/fairway/proxy/nft"
)

// Changes are what must happen since the last ones were taken.
type Changes struct {
	// Parts are what keys want in the tables now, by family.
	Parts map[nft.Key]map[nft.Family]nft.Part
	// Touched are the addresses whose connections may no longer be allowed.
	Touched []netip.Addr
}

// Take returns the changes since the last call.
func (b *Book) Take() Changes {
	c := Changes{Parts: map[nft.Key]map[nft.Family]nft.Part{}}
	for name := range b.dirtyPolicies {
		c.Parts[nft.Key("policy "+name.String())] = b.policyParts(name)
	}
	for name := range b.dirtyClusters {
		c.Parts[nft.Key("cluster "+name)] = b.clusterParts(name)
	}
	for name := range b.dirtyPods {
		p := b.pods[name]
		parts, sets := b.podParts(p)
		c.Parts[nft.Key("pod "+name.String())] = parts
		if p == nil {
			continue
		}
		for set := range p.sets {
			if !sets[set] {
				b.touch(p)
			}
		}
		p.sets = sets
	}
	c.Touched = slices.SortedFunc(maps.Keys(b.touched), netip.Addr.Compare)
	clear(b.dirtyPods)
	clear(b.dirtyPolicies)
	clear(b.dirtyClusters)
	clear(b.touched)
	return c
}
