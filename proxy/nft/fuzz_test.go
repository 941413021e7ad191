package nft

import (
	"testing"

	"golang.org/x/sys/unix"

	"github.com/fairwaynet/fairway/proxy/nft/message"
)

// The kernel's messages are trusted, but what this package does not understand
// must not stop the agent.
func FuzzDecode(f *testing.F) {
	w := &writer{table: TableKey{IPv4, "t"}}
	set := Set{Name: "s", Key: Type{IPv4Addr, InetService}, Value: Type{Verdicts}, Timed: true}
	chain := Chain{Name: "c", Comment: "x", Hook: &Hook{Type: Filter}, Rules: []Rule{{Comment: "y", Do: everyExpression()}}}
	w.newSet(set)
	w.newChain(chain)
	w.newRules(chain)
	w.elements(unix.NFT_MSG_NEWSETELEM, set, []*Element{{Key: Concat(Proto(1), Port(2)), Verdict: Goto("c"), Timeout: 1}})
	for _, m := range w.messages {
		f.Add([]byte(m.Attributes))
	}
	f.Fuzz(func(_ *testing.T, b []byte) {
		fields := message.Parse(b)
		decodeSet(fields)
		decodeChain(fields)
		rule := decodeRule(fields)
		Chain{Rules: []Rule{rule}}.print()
		all := decodeElements(fields[unix.NFTA_SET_ELEM_LIST_ELEMENTS])
		for _, e := range all {
			set.format(e.Element)
		}
		ranges(all)
	})
}
