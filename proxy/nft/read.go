package nft

import (
	"context"
	"errors"
	"fmt"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/fairwaynet/fairway/proxy/nft/message"
)

// content is what a table holds, by name.
type content struct {
	exists   bool
	flags    uint32
	owner    uint32 // the port of the socket that owns the table; zero if none does
	counters map[string]bool
	sets     map[string]*setContent
	chains   map[string]*chainContent
}

type setContent struct {
	Set

	elements map[Value]*Element // by Key; ranges are joined. Parts have the same ones
}

type chainContent struct {
	Chain

	rules string // as print gives them
}

func (c *chainContent) equal(other *chainContent) bool {
	return c == other || c.rules == other.rules && c.head() == other.head()
}

func newContent() *content {
	return &content{counters: map[string]bool{}, sets: map[string]*setContent{}, chains: map[string]*chainContent{}}
}

func (c Chain) content() *chainContent { return &chainContent{c, c.print()} }

// reader reads tables from the kernel.
type reader struct{ socket *message.Socket }

func (r reader) request(ctx context.Context, kind uint8, k TableKey, flags netlink.HeaderFlags, a message.Attributes, each func(*message.Fields)) error {
	m := message.Message{Subsystem: unix.NFNL_SUBSYS_NFTABLES, Kind: kind, Family: uint8(k.Family), Attributes: a}
	return r.socket.Request(ctx, m, flags, func(_ uint16, body []byte) {
		const nfgenmsg = 4
		if len(body) >= nfgenmsg {
			each(message.Parse(body[nfgenmsg:]))
		}
	})
}

// generation is the number of the last change of any rules in the namespace.
func (r reader) generation(ctx context.Context) (uint32, error) {
	var n uint32
	err := r.request(ctx, unix.NFT_MSG_GETGEN, TableKey{}, 0, nil, func(f *message.Fields) { n = f.Uint32(unix.NFTA_GEN_ID) })
	if err != nil {
		return 0, fmt.Errorf("ask for the generation of the rules: %w", err)
	}
	return n, nil
}

// attempts bounds how often a read or a commit begins again because others write.
const attempts = 50

// read returns the content of a table at one moment.
func (r reader) read(ctx context.Context, k TableKey) (*content, error) {
	for range attempts {
		before, err := r.generation(ctx)
		if err != nil {
			return nil, err
		}
		c, err := r.once(ctx, k)
		if errors.Is(err, message.ErrInterrupted) || errors.Is(err, unix.ENOENT) {
			continue // somebody wrote meanwhile
		}
		if err != nil {
			return nil, fmt.Errorf("read table %s: %w", k, err)
		}
		after, err := r.generation(ctx)
		if err != nil {
			return nil, err
		}
		if before == after {
			return c, nil
		}
	}
	return nil, fmt.Errorf("read table %s: others changed the rules %d times meanwhile", k, attempts)
}

func (r reader) once(ctx context.Context, k TableKey) (*content, error) {
	c := newContent()
	if err := r.head(ctx, k, c); err != nil || !c.exists {
		return c, err
	}
	for _, read := range []func(context.Context, TableKey, *content) error{r.counters, r.sets, r.chains, r.rules} {
		if err := read(ctx, k, c); err != nil {
			return nil, err
		}
	}
	for _, s := range c.sets {
		if s.Dynamic {
			continue // its elements are the kernel's
		}
		if err := r.elements(ctx, k, s); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// head reads the table without what it holds.
func (r reader) head(ctx context.Context, k TableKey, c *content) error {
	var a message.Attributes
	a.Text(unix.NFTA_TABLE_NAME, k.Name)
	err := r.request(ctx, unix.NFT_MSG_GETTABLE, k, 0, a, func(f *message.Fields) {
		c.exists = true
		c.flags = f.Uint32(unix.NFTA_TABLE_FLAGS)
		c.owner = f.Uint32(tableOwner)
	})
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	return err
}

func (r reader) counters(ctx context.Context, k TableKey, c *content) error {
	var a message.Attributes
	a.Text(unix.NFTA_OBJ_TABLE, k.Name)
	a.Uint32(unix.NFTA_OBJ_TYPE, objectCounter)
	return r.request(ctx, unix.NFT_MSG_GETOBJ, k, netlink.Dump, a, func(f *message.Fields) {
		c.counters[f.Text(unix.NFTA_OBJ_NAME)] = true
	})
}

func (r reader) sets(ctx context.Context, k TableKey, c *content) error {
	var a message.Attributes
	a.Text(unix.NFTA_SET_TABLE, k.Name)
	return r.request(ctx, unix.NFT_MSG_GETSET, k, netlink.Dump, a, func(f *message.Fields) {
		s := decodeSet(f)
		c.sets[s.Name] = &setContent{s, map[Value]*Element{}}
	})
}

// chains reads the chains. The kernel gives those of all tables of the family.
func (r reader) chains(ctx context.Context, k TableKey, c *content) error {
	return r.request(ctx, unix.NFT_MSG_GETCHAIN, k, netlink.Dump, nil, func(f *message.Fields) {
		if f.Text(unix.NFTA_CHAIN_TABLE) == k.Name {
			chain := decodeChain(f)
			c.chains[chain.Name] = &chainContent{Chain: chain}
		}
	})
}

func (r reader) rules(ctx context.Context, k TableKey, c *content) error {
	var a message.Attributes
	a.Text(unix.NFTA_RULE_TABLE, k.Name)
	err := r.request(ctx, unix.NFT_MSG_GETRULE, k, netlink.Dump, a, func(f *message.Fields) {
		if chain, ok := c.chains[f.Text(unix.NFTA_RULE_CHAIN)]; ok && f.Text(unix.NFTA_RULE_TABLE) == k.Name {
			chain.Rules = append(chain.Rules, decodeRule(f))
		}
	})
	for _, chain := range c.chains {
		chain.rules = chain.print()
	}
	return err
}

func (r reader) elements(ctx context.Context, k TableKey, s *setContent) error {
	var a message.Attributes
	a.Text(unix.NFTA_SET_ELEM_LIST_TABLE, k.Name)
	a.Text(unix.NFTA_SET_ELEM_LIST_SET, s.Name)
	var all []stored
	err := r.request(ctx, unix.NFT_MSG_GETSETELEM, k, netlink.Dump, a, func(f *message.Fields) {
		all = append(all, decodeElements(f[unix.NFTA_SET_ELEM_LIST_ELEMENTS])...)
	})
	if err != nil {
		return err
	}
	if s.Interval && len(s.Key) == 1 {
		for _, e := range ranges(all) {
			s.elements[e.Key] = &e
		}
		return nil
	}
	for i := range all {
		s.elements[all[i].Key] = &all[i].Element
	}
	return nil
}

// Filled says whether a set of a table has elements, whoever made them. A table or set that
// does not exist has none.
func (e *Engine) Filled(ctx context.Context, k TableKey, set string) (bool, error) {
	defer e.lock()()
	s := &setContent{Set: Set{Name: set}, elements: map[Value]*Element{}}
	err := e.reader.elements(ctx, k, s)
	if errors.Is(err, unix.ENOENT) {
		return false, nil
	}
	if err != nil && !errors.Is(err, message.ErrInterrupted) { // then somebody wrote meanwhile
		return false, fmt.Errorf("look for elements of set %s of table %s: %w", set, k, err)
	}
	return len(s.elements) > 0, nil
}
