package ranges

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
)

// Pool is a range of which nodes get parts.
type Pool struct {
	Range netip.Prefix
	// Bits is the length of the prefix of each part.
	Bits int
}

// Pools are those of all families. The family of the first one comes first on each node.
type Pools []Pool

// The longest prefixes of a part: its first address is the node's own, and a pod needs one.
const (
	longest4 = 30
	longest6 = 126
)

// New makes pools of which nodes get parts of bits4 and bits6 bits. The error says all that
// is wrong.
func New(pools []netip.Prefix, bits4, bits6 int) (Pools, error) {
	var all Pools
	var wrong []error
	for i, pool := range pools {
		bits, longest := bits4, longest4
		if !pool.Addr().Is4() {
			bits, longest = bits6, longest6
		}
		switch {
		case pool.Addr().Is4In6():
			wrong = append(wrong, fmt.Errorf("%s is a range of IPv4 in the notation of IPv6", pool))
		case bits > longest:
			wrong = append(wrong, fmt.Errorf("a node's range of %s may have a prefix of %d bits at most, not %d: no pod would get an address", pool, longest, bits))
		case bits < pool.Bits():
			wrong = append(wrong, fmt.Errorf("a node's range with a prefix of %d bits does not fit into %s", bits, pool))
		}
		for _, other := range pools[:i] {
			if other.Overlaps(pool) {
				wrong = append(wrong, fmt.Errorf("%s and %s overlap", other, pool))
			}
		}
		all = append(all, Pool{Range: pool.Masked(), Bits: bits})
	}
	if err := errors.Join(wrong...); err != nil {
		return nil, err
	}
	return all, nil
}

// families are the pools of each family, the first pool's family first.
func (p Pools) families() []Pools {
	var first, second Pools
	for _, pool := range p {
		if pool.Range.Addr().Is4() == p[0].Range.Addr().Is4() {
			first = append(first, pool)
		} else {
			second = append(second, pool)
		}
	}
	return slices.DeleteFunc([]Pools{first, second}, func(f Pools) bool { return len(f) == 0 })
}

// is4 is of pools of one family.
func (p Pools) is4() bool { return p[0].Range.Addr().Is4() }

// Ranges are the pools as a whole.
func (p Pools) Ranges() []netip.Prefix {
	var all []netip.Prefix
	for _, pool := range p {
		all = append(all, pool.Range)
	}
	return all
}
