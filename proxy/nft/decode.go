package nft

import (
	"slices"

	"golang.org/x/sys/unix"

	"github.com/fairwaynet/fairway/proxy/nft/message"
)

func decodeRule(f *message.Fields) Rule {
	return Rule{
		Comment: commentIn(commentOfRule, f[unix.NFTA_RULE_USERDATA]),
		Do:      decodeExpressions(f[unix.NFTA_RULE_EXPRESSIONS]),
	}
}

func decodeChain(f *message.Fields) Chain {
	c := Chain{Name: f.Text(unix.NFTA_CHAIN_NAME), Comment: commentIn(commentOfChain, f[chainUserdata])}
	if f.Has(unix.NFTA_CHAIN_HOOK) {
		hook := f.Nest(unix.NFTA_CHAIN_HOOK)
		c.Hook = &Hook{
			Type:     ChainType(f.Text(unix.NFTA_CHAIN_TYPE)),
			Point:    HookPoint(hook.Uint32(unix.NFTA_HOOK_HOOKNUM)),
			Priority: int32(hook.Uint32(unix.NFTA_HOOK_PRIORITY)), //nolint:gosec // the kernel's own conversion
			Drop:     f.Uint32(unix.NFTA_CHAIN_POLICY) == nfDrop,
		}
	}
	return c
}

func decodeSet(f *message.Fields) Set {
	flags := f.Uint32(unix.NFTA_SET_FLAGS)
	s := Set{
		Name:     f.Text(unix.NFTA_SET_NAME),
		Comment:  commentIn(commentOfSet, f[unix.NFTA_SET_USERDATA]),
		Key:      typeOf(f.Uint32(unix.NFTA_SET_KEY_TYPE)),
		Interval: flags&unix.NFT_SET_INTERVAL != 0,
		Dynamic:  flags&unix.NFT_SET_EVAL != 0,
		Timed:    flags&unix.NFT_SET_TIMEOUT != 0,
		Timeout:  duration(f.Uint64(unix.NFTA_SET_TIMEOUT)),
		Size:     f.Nest(unix.NFTA_SET_DESC).Uint32(unix.NFTA_SET_DESC_SIZE),
	}
	if flags&unix.NFT_SET_MAP != 0 {
		s.Value = typeOf(f.Uint32(unix.NFTA_SET_DATA_TYPE))
	}
	return s
}

// stored is an element as the kernel has it. A range of one field is two of them.
type stored struct {
	Element

	end bool // the key is the first behind a range
}

func decodeElements(list []byte) []stored {
	var all []stored
	for _, one := range message.All(list) {
		f := message.Parse(one)
		value := f.Nest(unix.NFTA_SET_ELEM_DATA)
		e := Element{
			Key:     dataIn(f, unix.NFTA_SET_ELEM_KEY),
			End:     dataIn(f, elementEnd),
			Value:   Value(value[unix.NFTA_DATA_VALUE]),
			Timeout: duration(f.Uint64(unix.NFTA_SET_ELEM_TIMEOUT)),
		}
		if value.Has(unix.NFTA_DATA_VERDICT) {
			e.Verdict = verdictIn(value.Nest(unix.NFTA_DATA_VERDICT))
		}
		all = append(all, stored{e, f.Uint32(unix.NFTA_SET_ELEM_FLAGS)&unix.NFT_SET_ELEM_INTERVAL_END != 0})
	}
	return all
}

// ranges joins the two elements that the kernel has for each range of one field.
// A range without an end goes to the last key.
func ranges(all []stored) []Element {
	slices.SortFunc(all, func(a, b stored) int {
		switch {
		case a.Key != b.Key:
			if a.Key < b.Key {
				return -1
			}
			return 1
		case a.end == b.end:
			return 0
		case a.end:
			return -1
		default:
			return 1
		}
	})
	var joined []Element
	open := false
	for _, s := range all {
		if open {
			before, _ := previous(s.Key)
			joined[len(joined)-1].End = before
		}
		if open = !s.end; open {
			joined = append(joined, Element{Key: s.Key})
		}
	}
	if open {
		joined[len(joined)-1].End = highest(len(joined[len(joined)-1].Key))
	}
	return joined
}

func highest(length int) Value {
	b := make([]byte, length)
	for i := range b {
		b[i] = 0xff
	}
	return Value(b)
}
