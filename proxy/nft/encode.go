package nft

import (
	"fmt"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/fairwaynet/fairway/proxy/nft/message"
)

// writer makes the messages of a batch for one table.
type writer struct {
	table    TableKey
	messages []message.Message
}

func (w *writer) add(kind uint8, flags netlink.HeaderFlags, subject string, fill func(*message.Attributes)) {
	m := message.Message{
		Subsystem: unix.NFNL_SUBSYS_NFTABLES, Kind: kind, Family: uint8(w.table.Family),
		Flags: flags, Subject: subject + " of table " + w.table.String(),
	}
	fill(&m.Attributes)
	w.messages = append(w.messages, m)
}

const (
	create = netlink.Create
	last   = netlink.Create | netlink.Append

	flagOwner   = 0x2
	flagPersist = 0x4

	tableUserdata = 6
	tableOwner    = 7
	chainUserdata = 12
)

func (w *writer) newTable(flags uint32) {
	w.add(unix.NFT_MSG_NEWTABLE, create, "make", func(a *message.Attributes) {
		a.Text(unix.NFTA_TABLE_NAME, w.table.Name)
		a.Uint32(unix.NFTA_TABLE_FLAGS, flags)
	})
}

func (w *writer) deleteTable() {
	w.add(unix.NFT_MSG_DELTABLE, 0, "delete", func(a *message.Attributes) {
		a.Text(unix.NFTA_TABLE_NAME, w.table.Name)
	})
}

func (w *writer) counter(name string, kind uint8) {
	w.add(kind, create, "counter "+name, func(a *message.Attributes) {
		a.Text(unix.NFTA_OBJ_TABLE, w.table.Name)
		a.Text(unix.NFTA_OBJ_NAME, name)
		a.Uint32(unix.NFTA_OBJ_TYPE, objectCounter)
		if kind == unix.NFT_MSG_NEWOBJ {
			a.Nest(unix.NFTA_OBJ_DATA, func(*message.Attributes) {})
		}
	})
}

func (w *writer) newChain(c Chain) {
	w.add(unix.NFT_MSG_NEWCHAIN, create, "make chain "+c.Name, func(a *message.Attributes) {
		a.Text(unix.NFTA_CHAIN_TABLE, w.table.Name)
		a.Text(unix.NFTA_CHAIN_NAME, c.Name)
		if b := comment(commentOfChain, c.Comment); b != nil {
			a.Bytes(chainUserdata, b)
		}
		if c.Hook != nil {
			c.Hook.encode(a)
		}
	})
}

func (h Hook) encode(a *message.Attributes) {
	a.Nest(unix.NFTA_CHAIN_HOOK, func(a *message.Attributes) {
		a.Uint32(unix.NFTA_HOOK_HOOKNUM, uint32(h.Point))
		a.Uint32(unix.NFTA_HOOK_PRIORITY, uint32(h.Priority)) //nolint:gosec // the kernel's own conversion
	})
	a.Text(unix.NFTA_CHAIN_TYPE, string(h.Type))
	policy := uint32(nfAccept)
	if h.Drop {
		policy = nfDrop
	}
	a.Uint32(unix.NFTA_CHAIN_POLICY, policy)
}

func (w *writer) deleteChain(name string) {
	w.add(unix.NFT_MSG_DELCHAIN, 0, "delete chain "+name, func(a *message.Attributes) {
		a.Text(unix.NFTA_CHAIN_TABLE, w.table.Name)
		a.Text(unix.NFTA_CHAIN_NAME, name)
	})
}

// flushChain deletes all rules of a chain.
func (w *writer) flushChain(name string) {
	w.add(unix.NFT_MSG_DELRULE, 0, "flush chain "+name, func(a *message.Attributes) {
		a.Text(unix.NFTA_RULE_TABLE, w.table.Name)
		a.Text(unix.NFTA_RULE_CHAIN, name)
	})
}

func (w *writer) deleteRule(chain string, handle uint64) {
	w.add(unix.NFT_MSG_DELRULE, 0, fmt.Sprintf("delete rule %d of chain %s", handle, chain), func(a *message.Attributes) {
		a.Text(unix.NFTA_RULE_TABLE, w.table.Name)
		a.Text(unix.NFTA_RULE_CHAIN, chain)
		a.Uint64(unix.NFTA_RULE_HANDLE, handle)
	})
}

func (w *writer) newRules(c Chain) {
	for i, rule := range c.Rules {
		subject := fmt.Sprintf("rule %d of chain %s", i+1, c.Name)
		if rule.Comment != "" {
			subject = fmt.Sprintf("%s (%s)", subject, rule.Comment)
		}
		w.add(unix.NFT_MSG_NEWRULE, last, subject, func(a *message.Attributes) {
			a.Text(unix.NFTA_RULE_TABLE, w.table.Name)
			a.Text(unix.NFTA_RULE_CHAIN, c.Name)
			rule.encode(a)
		})
	}
}

func (r Rule) encode(a *message.Attributes) {
	encodeExpressions(a, unix.NFTA_RULE_EXPRESSIONS, r.Do)
	if b := comment(commentOfRule, r.Comment); b != nil {
		a.Bytes(unix.NFTA_RULE_USERDATA, b)
	}
}

// print is the same for chains that the kernel holds the same.
func (c Chain) print() string {
	var a message.Attributes
	for _, rule := range c.Rules {
		a.Nest(unix.NFTA_LIST_ELEM, rule.encode)
	}
	return string(a)
}

// head is the same for chains that need not be made again to be one another: they differ in their rules only,
// or in a comment, which the kernel cannot change. To make a chain again to which elements or rules lead is to
// make those again, too.
func (c Chain) head() string {
	if c.Name == versionChain {
		return c.Comment // nothing leads there
	}
	if c.Hook == nil {
		return ""
	}
	var a message.Attributes
	c.Hook.encode(&a)
	return string(a)
}
