// Package nft keeps nftables tables as their users want them.
//
// A Table is a value: sets, chains and rules of typed expressions. An Engine
// writes it into the kernel as netlink messages, changes what differs, and puts
// back what others take away. What is fixed in a table is its skeleton; what
// changes is Parts, each under a key of its own. The package knows nothing of
// Services, policies or pods, and runs no program. ADR 19 says why.
//
// The words are those of nft(8). The meaning of the attributes is in the kernel's
// include/uapi/linux/netfilter/nf_tables.h.
package nft

import (
	"cmp"

	"golang.org/x/sys/unix"
)

// Family is the kind of packets that a table sees.
type Family uint8

// The families of tables.
const (
	Inet Family = unix.NFPROTO_INET // both
	IPv4 Family = unix.NFPROTO_IPV4
	IPv6 Family = unix.NFPROTO_IPV6
)

// String is nft's word.
func (f Family) String() string {
	switch f {
	case Inet:
		return "inet"
	case IPv4:
		return "ip"
	case IPv6:
		return "ip6"
	default:
		return "unknown"
	}
}

// Table is the skeleton of a table: what it holds whatever its Parts are.
type Table struct {
	Family Family
	Name   string
	// Version counts the changes of the skeleton over releases. An engine leaves a
	// table of a newer version alone. The kernel cannot change a table's comment,
	// so the comment of an empty chain named "version" holds the number.
	Version  int
	Counters []string // names of counters that rules share
	Sets     []Set
	Chains   []Chain
}

// TableKey identifies a table in a network namespace.
type TableKey struct {
	Family Family
	Name   string
}

// Key identifies the table.
func (t Table) Key() TableKey { return TableKey{t.Family, t.Name} }

// String is what nft calls the table: "ip fairway".
func (k TableKey) String() string { return k.Family.String() + " " + k.Name }

func (k TableKey) compare(other TableKey) int {
	return cmp.Or(cmp.Compare(k.Family, other.Family), cmp.Compare(k.Name, other.Name))
}

// Part is what one key wants in a table beside the skeleton.
type Part struct {
	// Sets, Chains and Counters exist once if several keys want equal ones of one name. They
	// go with the last key.
	Sets     []Set
	Chains   []Chain
	Counters []string
	// Elements are by the name of their set, which is in the skeleton or in Sets.
	Elements map[string][]Element
}

func (p Part) empty() bool {
	return len(p.Sets) == 0 && len(p.Chains) == 0 && len(p.Elements) == 0 && len(p.Counters) == 0
}
