package nft

import (
	"context"
	"errors"
	"fmt"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/fairwaynet/fairway/proxy/nft/message"
)

// mostRules bounds how many rules of others are read at once. A chain whose rules
// are not all read is judged as if some of the rest might let a packet pass.
const mostRules = 10_000

// foreign reads what others have, piece by piece as it is asked for. An error ends
// the reading, and everything after it reads as empty.
type foreign struct {
	ctx    context.Context //nolint:containedctx // of one reading, which traces drive
	reader reader
	left   int // rules that may still be read
	tables map[TableKey]*foreignTable
	err    error
}

// foreignTable is what has been read of a table. It is a ruleset.
type foreignTable struct {
	all    *foreign
	key    TableKey
	chains map[string]foreignChain
	sets   map[string]int // lengths of keys
}

type foreignChain struct {
	rules []Rule
	whole bool
}

// openForeign opens a socket of its own: a dump that is too long ends with it.
func openForeign(ctx context.Context) (*foreign, error) {
	f := &foreign{ctx: ctx, left: mostRules, tables: map[TableKey]*foreignTable{}}
	return f, f.open()
}

func (f *foreign) open() (err error) {
	f.reader.socket, err = message.Dial()
	return err
}

func (f *foreign) close() {
	if f.reader.socket != nil {
		_ = f.reader.socket.Close() // nothing is written
	}
}

func (f *foreign) table(k TableKey) *foreignTable {
	if f.tables[k] == nil {
		f.tables[k] = &foreignTable{all: f, key: k, chains: map[string]foreignChain{}, sets: map[string]int{}}
	}
	return f.tables[k]
}

// hooked is a base chain of a table.
type hooked struct {
	table TableKey
	chain Chain
}

// forward returns the base chains that packets meet on their way through the
// machine, of all tables.
func (f *foreign) forward() []hooked {
	var all []hooked
	m := message.Message{Subsystem: unix.NFNL_SUBSYS_NFTABLES, Kind: unix.NFT_MSG_GETCHAIN}
	f.fail("read chains", f.reader.socket.Request(f.ctx, m, netlink.Dump, func(_ uint16, body []byte) {
		const nfgenmsg = 4
		if len(body) < nfgenmsg {
			return
		}
		fields, family := message.Parse(body[nfgenmsg:]), Family(body[0])
		if !fields.Has(unix.NFTA_CHAIN_HOOK) || family != Inet && family != IPv4 && family != IPv6 {
			return // a bridge or an interface has other points
		}
		if c := decodeChain(fields); c.Hook.Point == Forward {
			all = append(all, hooked{TableKey{family, fields.Text(unix.NFTA_CHAIN_TABLE)}, c})
		}
	}))
	return all
}

func (f *foreign) fail(what string, err error) {
	if err != nil && f.err == nil {
		f.err = fmt.Errorf("%s: %w", what, err)
	}
}

// rules implements ruleset.
func (t *foreignTable) rules(name string) (list []Rule, whole bool) {
	c, read := t.chains[name]
	if !read {
		c = t.read(name)
		t.chains[name] = c
	}
	return c.rules, c.whole
}

func (t *foreignTable) read(name string) foreignChain {
	f := t.all
	if f.err != nil || f.left == 0 {
		return foreignChain{}
	}
	ctx, enough := context.WithCancel(f.ctx)
	defer enough()
	c := foreignChain{whole: true}
	var a message.Attributes
	a.Text(unix.NFTA_RULE_TABLE, t.key.Name)
	a.Text(unix.NFTA_RULE_CHAIN, name)
	err := f.reader.request(ctx, unix.NFT_MSG_GETRULE, t.key, netlink.Dump, a, func(fields *message.Fields) {
		if fields.Text(unix.NFTA_RULE_CHAIN) != name || fields.Text(unix.NFTA_RULE_TABLE) != t.key.Name {
			return
		}
		if f.left == 0 {
			c.whole = false
			enough()
			return
		}
		f.left--
		c.rules = append(c.rules, decodeRule(fields))
	})
	if !c.whole && f.ctx.Err() == nil {
		f.close() // with the rest of the dump
		err = f.open()
	}
	f.fail(fmt.Sprintf("read chain %s of table %s", name, t.key), err)
	return c
}

// keyLength implements ruleset.
func (t *foreignTable) keyLength(set string) int {
	if length, read := t.sets[set]; read || t.all.err != nil {
		return length
	}
	length := 0
	var a message.Attributes
	a.Text(unix.NFTA_SET_TABLE, t.key.Name)
	a.Text(unix.NFTA_SET_NAME, set)
	err := t.all.reader.request(t.all.ctx, unix.NFT_MSG_GETSET, t.key, 0, a, func(fields *message.Fields) {
		length = int(min(fields.Uint32(unix.NFTA_SET_KEY_LEN), uint32(len(registers{}.bytes))))
	})
	t.all.fail(fmt.Sprintf("read set %s of table %s", set, t.key), err)
	t.sets[set] = length
	return length
}

// element implements ruleset. The kernel looks it up: the set may be large.
func (t *foreignTable) element(set string, key Value) (found Element, is bool) {
	if t.all.err != nil {
		return Element{}, false
	}
	var a message.Attributes
	a.Text(unix.NFTA_SET_ELEM_LIST_TABLE, t.key.Name)
	a.Text(unix.NFTA_SET_ELEM_LIST_SET, set)
	a.Nest(unix.NFTA_SET_ELEM_LIST_ELEMENTS, func(a *message.Attributes) {
		a.Nest(unix.NFTA_LIST_ELEM, func(a *message.Attributes) { data(a, unix.NFTA_SET_ELEM_KEY, key) })
	})
	err := t.all.reader.request(t.all.ctx, unix.NFT_MSG_GETSETELEM, t.key, 0, a, func(fields *message.Fields) {
		for _, e := range decodeElements(fields[unix.NFTA_SET_ELEM_LIST_ELEMENTS]) {
			found, is = e.Element, true
		}
	})
	if !errors.Is(err, unix.ENOENT) {
		t.all.fail(fmt.Sprintf("look up a key in set %s of table %s", set, t.key), err)
	}
	return found, is
}
