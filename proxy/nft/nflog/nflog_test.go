package nflog_test

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/fairwaynet/fairway/proxy/nft"
	"github.com/fairwaynet/fairway/proxy/nft/nflog"
	"github.com/fairwaynet/fairway/test/netns"
)

func TestMain(m *testing.M) { netns.Main(m) }

const group = 7

// sender sends datagrams that a rule logs.
func sender(t *testing.T) net.Conn {
	t.Helper()
	var own *netns.Namespace
	own.Give(t, "lo", "192.0.2.1/32")
	engine, err := nft.New(t.Context(), nft.Options{})
	if err != nil {
		t.Fatal(err)
	}
	table := nft.Table{Family: nft.IPv4, Name: "nflog", Version: 1, Chains: []nft.Chain{{
		Name: "output", Hook: &nft.Hook{Type: nft.Filter, Point: nft.Output},
		Rules: []nft.Rule{{Do: nft.Do(nft.Is(nft.Dport(), nft.Port(9)), nft.LogTo{Group: group, Prefix: "to 9"}, nft.Drop())}},
	}}}
	t.Cleanup(func() {
		if err := errors.Join(engine.Remove(context.WithoutCancel(t.Context()), table.Key()), engine.Close()); err != nil {
			t.Error(err)
		}
	})
	if err := engine.Declare(table); err != nil {
		t.Fatal(err)
	}
	if _, err := engine.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("udp", "192.0.2.1:9")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func send(conn net.Conn, packets int) {
	for range packets {
		_, _ = conn.Write(make([]byte, 1000)) // the rule drops it, which the sender may hear
	}
}

// hear listens until each has been called, and returns why it ended otherwise.
func hear(t *testing.T, l *nflog.Listener) (nflog.Packet, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	var first nflog.Packet
	err := l.Listen(ctx, func(p nflog.Packet) {
		first = p
		cancel()
	})
	if first != (nflog.Packet{}) {
		err = nil
	}
	return first, err
}

// A group has one listener, who hears where packets come from and go to.
func TestListen(t *testing.T) {
	conn := sender(t)
	send(conn, 1) // nobody listens
	l, err := nflog.Open(t.Context(), group)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := nflog.Open(t.Context(), group); !errors.Is(err, nflog.ErrTaken) {
		t.Errorf("a second listener: %v", err)
	}
	send(conn, 1)
	p, err := hear(t, l)
	if err != nil || p.Prefix != "to 9" || p.Source.String() != "192.0.2.1" || p.DestinationPort != 9 || p.SourcePort == 0 {
		t.Errorf("heard %+v, %v", p, err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := nflog.Open(t.Context(), group)
	if err != nil {
		t.Fatalf("after the first listener: %v", err)
	}
	if err := again.Close(); err != nil {
		t.Fatal(err)
	}
}

// A listener who is too slow hears that it has lost something, and goes on. The senders do not wait.
func TestLost(t *testing.T) {
	conn := sender(t)
	l, err := nflog.Open(t.Context(), group)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	send(conn, 20_000)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if err := l.Listen(ctx, func(nflog.Packet) {}); !errors.Is(err, nflog.ErrLost) {
		t.Fatalf("listening ends with %v", err)
	}
	send(conn, 1)
	if p, err := hear(t, l); err != nil || p.Prefix != "to 9" {
		t.Errorf("afterwards: %+v, %v", p, err)
	}
}
