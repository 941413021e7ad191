package message_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/fairwaynet/fairway/proxy/nft/message"
	"github.com/fairwaynet/fairway/test/netns"
)

func TestMain(m *testing.M) { netns.Main(m) }

func open(t *testing.T) *message.Socket {
	t.Helper()
	s, err := message.Dial()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func table(kind uint8, name string) message.Message {
	m := message.Message{Subsystem: unix.NFNL_SUBSYS_NFTABLES, Kind: kind, Family: unix.NFPROTO_IPV4, Subject: "table " + name}
	if kind == unix.NFT_MSG_NEWTABLE {
		m.Flags = netlink.Create
	}
	m.Attributes.Text(unix.NFTA_TABLE_NAME, name)
	return m
}

func tables(t *testing.T, s *message.Socket) int {
	t.Helper()
	n := 0
	m := message.Message{Subsystem: unix.NFNL_SUBSYS_NFTABLES, Kind: unix.NFT_MSG_GETTABLE}
	if err := s.Request(t.Context(), m, netlink.Dump, func(uint16, []byte) { n++ }); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestARefusalNamesItsMessageAndUndoesAll(t *testing.T) {
	s := open(t)
	err := s.Commit(t.Context(), message.Batch{Messages: []message.Message{
		table(unix.NFT_MSG_NEWTABLE, "a"), table(unix.NFT_MSG_DELTABLE, "missing"), table(unix.NFT_MSG_NEWTABLE, "b"),
	}})
	var refusal *message.RefusalError
	if !errors.As(err, &refusal) || refusal.Subject != "table missing" || !errors.Is(err, unix.ENOENT) {
		t.Errorf("commit: %v", err)
	}
	if n := tables(t, s); n != 0 {
		t.Errorf("%d tables", n)
	}
}

func TestABatchOfAnOldGenerationDoesNothing(t *testing.T) {
	s := open(t)
	err := s.Commit(t.Context(), message.Batch{Generation: 1 << 30, Messages: []message.Message{table(unix.NFT_MSG_NEWTABLE, "a")}})
	if !errors.Is(err, message.ErrGeneration) {
		t.Errorf("commit: %v", err)
	}
	if n := tables(t, s); n != 0 {
		t.Errorf("%d tables", n)
	}
}

// One acknowledgement a message would not fit the socket's read buffer.
func TestABatchOfTenThousandMessages(t *testing.T) {
	s := open(t)
	var all, none []message.Message
	for i := range 10000 {
		all = append(all, table(unix.NFT_MSG_NEWTABLE, fmt.Sprint("t", i)))
		none = append(none, table(unix.NFT_MSG_DELTABLE, fmt.Sprint("t", i)))
	}
	if err := s.Commit(t.Context(), message.Batch{Messages: all}); err != nil {
		t.Fatal(err)
	}
	if n := tables(t, s); n != len(all) {
		t.Errorf("%d tables", n)
	}
	if err := s.Commit(t.Context(), message.Batch{Messages: none}); err != nil {
		t.Fatal(err)
	}
}
