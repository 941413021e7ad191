// Package conntrack deletes entries of the kernel's connection tracking by what
// they are, not one by one.
//
// After a rule set has changed, packets of a known connection still go where its
// entry says. Commit first, then delete. The attributes are those of the kernel's
// include/uapi/linux/netfilter/nfnetlink_conntrack.h.
package conntrack

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/fairwaynet/fairway/proxy/nft/message"
)

// Tuple is one direction of a connection. A zero field matches all.
type Tuple struct {
	Source, Destination         netip.Addr
	Protocol                    uint8
	SourcePort, DestinationPort uint16
}

// Match says which entries are meant: those with both tuples. The original side
// alone is a whole Service, the reply side alone a whole endpoint.
type Match struct {
	Original Tuple
	Reply    Tuple // as the answer has it: its source is who really answers
}

// Connection is one that the kernel knows, with both tuples complete.
type Connection struct {
	Match

	tuple, id string // the original one, and which connection with it, as on the wire
}

// Options are the choices of a Table. The zero value is for use.
type Options struct {
	// OneByOne reads the entries and deletes each, as kernels before 6.12 need it.
	OneByOne bool
}

// Table is the connection tracking of a network namespace. It is for one
// goroutine at a time.
type Table struct {
	socket   *message.Socket
	oneByOne bool
}

// Open opens the table of the calling thread's namespace. It needs CAP_NET_ADMIN.
func Open(options Options) (*Table, error) {
	socket, err := message.Dial()
	if err != nil {
		return nil, err
	}
	return &Table{socket, options.OneByOne}, nil
}

// Close closes the table's socket.
func (t *Table) Close() error { return t.socket.Close() }

// ErrUnaddressed is for a Match without an address: the kernel filters the
// connections of one family.
var ErrUnaddressed = errors.New("the match has no address")

// Delete deletes all entries that match. It is no error if there are none.
// Each call walks the whole table once (0.3 µs an entry): merge what you can.
func (t *Table) Delete(ctx context.Context, m Match) error {
	if m.family() == unix.AF_UNSPEC {
		return fmt.Errorf("delete connections: %w", ErrUnaddressed)
	}
	if !t.oneByOne && m.family() == unix.AF_INET {
		err := t.request(ctx, remove, netlink.Acknowledge, m.family(), m.attributes(), func([]byte) {})
		switch {
		case err == nil, errors.Is(err, unix.ENOENT):
			return nil
		case !errors.Is(err, unix.EOPNOTSUPP) && !errors.Is(err, unix.EINVAL):
			return fmt.Errorf("delete connections: %w", err)
		}
		t.oneByOne = true
	}
	return t.each(ctx, m)
}

// List calls each for every connection of both families. A connection that begins or ends
// meanwhile may be among them, or not. Those of zones are others' and are left out.
func (t *Table) List(ctx context.Context, each func(Connection)) error {
	return t.dump(ctx, unix.AF_UNSPEC, message.Attributes{}, each)
}

// Find calls each for every connection that matches. It needs Linux 5.8. The kernel's filter takes
// IPv6 addresses the wrong way round, at least up to Linux 6.18: it finds all connections with
// others. So it filters by the rest, and addresses are compared here.
func (t *Table) Find(ctx context.Context, m Match, each func(Connection)) error {
	filter := m
	switch m.family() {
	case unix.AF_UNSPEC:
		return fmt.Errorf("find connections: %w", ErrUnaddressed)
	case unix.AF_INET6:
		filter = m.withoutAddresses()
	}
	return t.dump(ctx, m.family(), filter.attributes(), func(c Connection) {
		if m.Original.matches(c.Original) && m.Reply.matches(c.Reply) {
			each(c)
		}
	})
}

// Remove deletes one connection, without a look at others. It is no error if it has ended.
func (t *Table) Remove(ctx context.Context, c Connection) error {
	var a message.Attributes
	a.Bytes(original|unix.NLA_F_NESTED, []byte(c.tuple))
	a.Bytes(identity, []byte(c.id))
	err := t.request(ctx, remove, netlink.Acknowledge, c.family(), a, func([]byte) {})
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("delete connection: %w", err)
	}
	return nil
}

// each finds entries and deletes each.
func (t *Table) each(ctx context.Context, m Match) error {
	var found []Connection
	if err := t.Find(ctx, m, func(c Connection) { found = append(found, c) }); err != nil {
		return err
	}
	for _, c := range found {
		if err := t.Remove(ctx, c); err != nil {
			return err
		}
	}
	return nil
}

func (t *Table) dump(ctx context.Context, family uint8, filter message.Attributes, each func(Connection)) error {
	err := t.request(ctx, list, netlink.Dump, family, filter, func(entry []byte) {
		f := message.Parse(entry)
		if f.Has(zone) {
			return
		}
		each(Connection{Match{decode(f.Nest(original)), decode(f.Nest(reply))}, string(f[original]), string(f[identity])})
	})
	if err != nil {
		return fmt.Errorf("list connections: %w", err)
	}
	return nil
}

func (t *Table) request(ctx context.Context, kind uint8, flags netlink.HeaderFlags, family uint8, a message.Attributes, each func([]byte)) error {
	const honoursFamily = 1 // in a delete, version 0 of the message leaves it out
	m := message.Message{
		Subsystem: unix.NFNL_SUBSYS_CTNETLINK, Kind: kind, Family: family, Version: honoursFamily, Attributes: a,
	}
	return t.socket.Request(ctx, m, flags, func(_ uint16, body []byte) {
		const nfgenmsg = 4
		if len(body) >= nfgenmsg {
			each(body[nfgenmsg:])
		}
	})
}

func (m Match) family() uint8 {
	for _, a := range []netip.Addr{m.Original.Source, m.Original.Destination, m.Reply.Source, m.Reply.Destination} {
		if a.Is6() {
			return unix.AF_INET6
		}
		if a.Is4() {
			return unix.AF_INET
		}
	}
	return unix.AF_UNSPEC
}

func (m Match) withoutAddresses() Match {
	for _, t := range []*Tuple{&m.Original, &m.Reply} {
		t.Source, t.Destination = netip.Addr{}, netip.Addr{}
	}
	return m
}

func (m Match) attributes() message.Attributes {
	var a message.Attributes
	if m.Original.flags()|m.Reply.flags() == 0 {
		return a
	}
	m.Original.encode(&a, original)
	m.Reply.encode(&a, reply)
	a.Nest(filter, func(a *message.Attributes) {
		a.Bytes(filterOriginal, binary.NativeEndian.AppendUint32(nil, m.Original.flags()))
		a.Bytes(filterReply, binary.NativeEndian.AppendUint32(nil, m.Reply.flags()))
	})
	return a
}
