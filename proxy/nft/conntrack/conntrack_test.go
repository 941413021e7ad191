package conntrack_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"testing"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/fairwaynet/fairway/proxy/nft/conntrack"
	"github.com/fairwaynet/fairway/proxy/nft/message"
	"github.com/fairwaynet/fairway/test/netns"
)

func TestMain(m *testing.M) {
	netns.Main(m, netip.MustParsePrefix("10.7.0.0/16"), netip.MustParsePrefix("10.8.0.0/16"))
}

const rules = `
table ip services {
	chain output {
		type nat hook output priority -100
		ip daddr 10.7.0.1 udp dport 53 dnat to 10.8.0.1:5353
		ip daddr 10.7.0.2 udp dport 53 dnat to 10.8.0.1:5353
		ip daddr 10.7.0.3 udp dport 53 dnat to 10.8.0.2:5353
	}
}`

// flows sends n packets from ports from first on through the rules.
func flows(t *testing.T, to string, first, n int) {
	t.Helper()
	for i := range n {
		// A port of its own: two connections from one port would be one entry.
		dialer := net.Dialer{LocalAddr: &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: first + i}}
		c, err := dialer.DialContext(t.Context(), "udp4", to)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Write([]byte("x")); err != nil && !errors.Is(err, unix.ECONNREFUSED) {
			t.Fatal(err)
		}
		c.Close()
	}
}

// count counts the entries whose original destination is each of the Services.
func count(t *testing.T) string {
	t.Helper()
	s, err := message.Dial()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	counts := map[netip.Addr]int{}
	m := message.Message{Subsystem: unix.NFNL_SUBSYS_CTNETLINK, Kind: 1, Family: unix.AF_INET}
	err = s.Request(t.Context(), m, netlink.Dump, func(_ uint16, body []byte) {
		a, _ := netip.AddrFromSlice(message.Parse(body[4:]).Nest(1).Nest(1)[2])
		counts[a]++
	})
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, a := range []string{"10.7.0.1", "10.7.0.2", "10.7.0.3"} {
		all = append(all, fmt.Sprint(counts[netip.MustParseAddr(a)]))
	}
	return strings.Join(all, " ")
}

func TestDelete(t *testing.T) {
	add := exec.CommandContext(t.Context(), "/usr/sbin/nft", "-f", "-")
	add.Stdin = strings.NewReader(rules)
	if out, err := add.CombinedOutput(); err != nil {
		t.Fatalf("nft: %v\n%s", err, out)
	}
	for _, a := range []string{"10.8.0.1:5353", "10.8.0.2:5353"} {
		l, err := new(net.ListenConfig).ListenPacket(context.Background(), "udp4", a)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
	}
	service := conntrack.Tuple{Destination: netip.MustParseAddr("10.7.0.1"), Protocol: unix.IPPROTO_UDP, DestinationPort: 53}
	endpoint := conntrack.Tuple{Source: netip.MustParseAddr("10.8.0.1"), Protocol: unix.IPPROTO_UDP, SourcePort: 5353}
	for _, oneByOne := range []bool{false, true} {
		table, err := conntrack.Open(conntrack.Options{OneByOne: oneByOne})
		if err != nil {
			t.Fatal(err)
		}
		defer table.Close()
		for _, test := range []struct {
			name  string
			match conntrack.Match
			want  string
		}{
			{"one Service's connections to one endpoint", conntrack.Match{Original: service, Reply: endpoint}, "0 20 20"},
			{"a whole Service", conntrack.Match{Original: service}, "0 20 20"},
			{"a whole endpoint", conntrack.Match{Reply: endpoint}, "0 0 20"},
			{"nobody", conntrack.Match{Original: conntrack.Tuple{Destination: netip.MustParseAddr("10.7.0.9")}}, "20 20 20"},
		} {
			for _, all := range []string{"10.8.0.1", "10.8.0.2"} {
				if err := table.Delete(t.Context(), conntrack.Match{Reply: conntrack.Tuple{Source: netip.MustParseAddr(all)}}); err != nil {
					t.Fatal(err)
				}
			}
			for i, to := range []string{"10.7.0.1:53", "10.7.0.2:53", "10.7.0.3:53"} {
				flows(t, to, 20000+100*i, 20)
			}
			if got := count(t); got != "20 20 20" {
				t.Fatalf("made %s", got)
			}
			if err := table.Delete(t.Context(), test.match); err != nil {
				t.Fatal(err)
			}
			if got := count(t); got != test.want {
				t.Errorf("%s, one by one %v: left %s, want %s", test.name, oneByOne, got, test.want)
			}
		}
		if err := table.Delete(t.Context(), conntrack.Match{}); !errors.Is(err, conntrack.ErrUnaddressed) {
			t.Errorf("delete all: %v", err)
		}
	}
}
