package nft

import (
	"encoding/binary"

	"golang.org/x/sys/unix"

	"github.com/fairwaynet/fairway/proxy/nft/message"
)

// iptables-nft writes what nf_tables has no expression for as matches and targets
// of xtables, whose content is a structure of the kernel's.
const (
	matchOfXtables  = "match"
	targetOfXtables = "target"
)

func (u Unknown) fields() *message.Fields { return message.Parse([]byte(u.Attributes)) }

// matchesXtables says whether a match of iptables matches the first packet of a
// connection.
func matchesXtables(e Unknown) (matches, known bool) {
	f := e.fields()
	switch f.Text(unix.NFTA_MATCH_NAME) {
	case "comment":
		return true, true
	case "conntrack":
		return newMatches(f[unix.NFTA_MATCH_INFO], f.Uint32(unix.NFTA_MATCH_REV))
	default:
		return false, false
	}
}

// newMatches reads the states of struct xt_conntrack_mtinfo2 and its successor, if
// the match is about nothing else.
func newMatches(info []byte, revision uint32) (matches, known bool) {
	const (
		flags, inverted, states = 146, 148, 150 // offsets, of two bytes each
		state                   = 1             // of flags
		ofNew                   = 1 << 3        // of states
	)
	if revision < 2 || len(info) < states+2 || binary.NativeEndian.Uint16(info[flags:]) != state {
		return false, false
	}
	matches = binary.NativeEndian.Uint16(info[states:])&ofNew != 0
	return matches != (binary.NativeEndian.Uint16(info[inverted:])&state != 0), true
}
