package nft

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/fairwaynet/fairway/proxy/nft/message"
)

// Outline is which chains others have, at one moment. What the engine keeps is not in it.
// Change nothing of it.
type Outline struct {
	generation uint32
	chains     map[TableKey]map[string]bool
	reading    *reading
}

// reading identifies what was read from the kernel at once.
type reading struct{ _ byte }

// Same says whether nobody but the engine has written between two outlines of it.
func (o Outline) Same(other Outline) bool { return o.reading != nil && o.reading == other.reading }

// NewOutline returns the outline of tables that have these chains.
func NewOutline(chains map[TableKey][]string) Outline {
	o := Outline{chains: map[TableKey]map[string]bool{}}
	for k, names := range chains {
		for _, name := range names {
			o.note(k, name)
		}
	}
	return o
}

func (o Outline) note(k TableKey, chain string) {
	if o.chains[k] == nil {
		o.chains[k] = map[string]bool{}
	}
	o.chains[k][chain] = true
}

// Has says whether a table has a chain. With an empty name it says whether the table has
// any.
func (o Outline) Has(k TableKey, chain string) bool {
	if chain == "" {
		return len(o.chains[k]) > 0
	}
	return o.chains[k][chain]
}

// Chains are the names of a table's chains, in order.
func (o Outline) Chains(k TableKey) []string { return slices.Sorted(maps.Keys(o.chains[k])) }

// Outline returns which chains others have. It asks the kernel one question if nobody but
// the engine has written since the last call.
func (e *Engine) Outline(ctx context.Context) (Outline, error) {
	for range attempts {
		before, earlier, err := e.outlined(ctx)
		if err != nil || earlier.chains != nil && earlier.generation == before {
			return earlier, err
		}
		now, err := e.outline(ctx)
		if errors.Is(err, message.ErrInterrupted) {
			continue // somebody wrote meanwhile
		}
		if err != nil {
			return Outline{}, fmt.Errorf("look for others' chains: %w", err)
		}
		now.generation, now.reading = before, &reading{}
		if same, err := e.outlinedAt(ctx, now); same || err != nil {
			return now, err
		}
	}
	return Outline{}, fmt.Errorf("look for others' chains: others changed the rules %d times meanwhile", attempts)
}

// outlined returns the generation of the rules, and the last outline.
func (e *Engine) outlined(ctx context.Context) (uint32, Outline, error) {
	defer e.lock()()
	n, err := e.reader.generation(ctx)
	return n, e.seen, err
}

// outlinedAt keeps an outline, if its generation is still that of the rules.
func (e *Engine) outlinedAt(ctx context.Context, now Outline) (bool, error) {
	defer e.lock()()
	n, err := e.reader.generation(ctx)
	if err != nil || n != now.generation {
		return false, err
	}
	e.seen = now
	return true, nil
}

func (e *Engine) outline(ctx context.Context) (Outline, error) {
	f, err := openForeign(ctx)
	if err != nil {
		return Outline{}, err
	}
	defer f.close()
	o := NewOutline(nil)
	for _, family := range []Family{Inet, IPv4, IPv6} {
		err := f.reader.request(ctx, unix.NFT_MSG_GETCHAIN, TableKey{Family: family}, netlink.Dump, nil, func(fields *message.Fields) {
			if k := (TableKey{family, fields.Text(unix.NFTA_CHAIN_TABLE)}); !e.keeps(k) {
				o.note(k, fields.Text(unix.NFTA_CHAIN_NAME))
			}
		})
		if err != nil {
			return Outline{}, err
		}
	}
	return o, nil
}

// Link is a rule of somebody else that leads to another chain. A verdict map may lead there,
// too, and is no Link.
type Link struct {
	Chain  string // that has the rule
	To     string
	Handle uint64 // of the rule
	// If are the kernel's names of what the rule looks at, and of what else it does, such as
	// "payload"; what is one of xtables' has two words: "match conntrack". Counters and
	// comments are left out.
	If []string
}

// Links returns the links in a table, if it is still as in the outline; otherwise ErrChanged.
func (e *Engine) Links(ctx context.Context, o Outline, k TableKey) ([]Link, error) {
	f, err := openForeign(ctx)
	if err != nil {
		return nil, err
	}
	defer f.close()
	var all []Link
	var a message.Attributes
	a.Text(unix.NFTA_RULE_TABLE, k.Name)
	err = f.reader.request(ctx, unix.NFT_MSG_GETRULE, k, netlink.Dump, a, func(fields *message.Fields) {
		if fields.Text(unix.NFTA_RULE_TABLE) == k.Name {
			all = append(all, linksIn(fields)...)
		}
	})
	if errors.Is(err, message.ErrInterrupted) || errors.Is(err, unix.ENOENT) {
		return nil, ErrChanged
	}
	if err != nil {
		return nil, fmt.Errorf("read the rules of table %s: %w", k, err)
	}
	n, err := f.reader.generation(ctx)
	if err == nil && n != o.generation {
		err = ErrChanged
	}
	return all, err
}

// ErrChanged means that somebody has written since an outline.
var ErrChanged = errors.New("somebody has changed the rules meanwhile")

// linksIn are the links of a rule: one, if any. An expression that this package does not
// know hides none.
func linksIn(rule *message.Fields) []Link {
	l := Link{Chain: rule.Text(unix.NFTA_RULE_CHAIN), Handle: rule.Uint64(unix.NFTA_RULE_HANDLE)}
	for _, e := range decodeExpressions(rule[unix.NFTA_RULE_EXPRESSIONS]) {
		switch is := e.(type) {
		case Verdict:
			l.To = is.Chain
		case Counter:
		case Unknown:
			if word := is.word(); word != matchOfXtables+" comment" {
				l.If = append(l.If, word)
			}
		default:
			l.If = append(l.If, e.name())
		}
	}
	if l.To == "" {
		return nil
	}
	return []Link{l}
}

// word is the kernel's name of the expression, followed by that of xtables if it has one.
func (u Unknown) word() string {
	switch u.Name {
	case matchOfXtables:
		return u.Name + " " + u.fields().Text(unix.NFTA_MATCH_NAME)
	case targetOfXtables:
		return u.Name + " " + u.fields().Text(unix.NFTA_TARGET_NAME)
	default:
		return u.Name
	}
}
