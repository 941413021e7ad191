package conntrack_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os/exec"
	"slices"
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

// The kernel's own filter takes IPv6 addresses the wrong way round (Linux 5.8 to 6.18 at
// least): it finds the connections with other addresses.
func TestDeleteIPv6(t *testing.T) {
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	var own *netns.Namespace
	own.Give(t, "lo", "fd00:7::1/128", "fd00:7::2/128", "fd00:8::1/128", "fd00:8::2/128")
	add := exec.CommandContext(t.Context(), "/usr/sbin/nft", "-f", "-")
	add.Stdin = strings.NewReader(`
table ip6 services {
	chain output {
		type nat hook output priority -100
		ip6 daddr fd00:7::1 udp dport 53 dnat to [fd00:8::1]:5353
		ip6 daddr fd00:7::2 udp dport 53 dnat to [fd00:8::1]:5353
		ip6 daddr fd00:7::1 udp dport 54 dnat to [fd00:8::2]:5353
	}
}`)
	if out, err := add.CombinedOutput(); err != nil {
		t.Fatalf("nft: %v\n%s", err, out)
	}
	table, err := conntrack.Open(conntrack.Options{})
	must(err)
	defer table.Close()
	address := netip.MustParseAddr
	for _, test := range []struct {
		name  string
		match conntrack.Match
		want  string
	}{
		{"one Service's connections to one endpoint", conntrack.Match{
			Original: conntrack.Tuple{Destination: address("fd00:7::1"), Protocol: unix.IPPROTO_UDP, DestinationPort: 53},
			Reply:    conntrack.Tuple{Source: address("fd00:8::1"), Protocol: unix.IPPROTO_UDP, SourcePort: 5353},
		}, "[fd00:7::1]:54 [fd00:7::2]:53"},
		{"a whole Service", conntrack.Match{Original: conntrack.Tuple{Destination: address("fd00:7::1"), Protocol: unix.IPPROTO_UDP, DestinationPort: 53}}, "[fd00:7::1]:54 [fd00:7::2]:53"},
		{"a whole endpoint", conntrack.Match{Reply: conntrack.Tuple{Source: address("fd00:8::1")}}, "[fd00:7::1]:54"},
		{"a whole client", conntrack.Match{Original: conntrack.Tuple{Source: address("::1")}}, ""},
		{"nobody", conntrack.Match{Original: conntrack.Tuple{Destination: address("fd00:7::9")}}, "[fd00:7::1]:53 [fd00:7::1]:54 [fd00:7::2]:53"},
	} {
		for i, to := range []string{"[fd00:7::1]:53", "[fd00:7::2]:53", "[fd00:7::1]:54"} {
			c, err := (&net.Dialer{LocalAddr: &net.UDPAddr{IP: net.IPv6loopback, Port: 20000 + i}}).DialContext(t.Context(), "udp6", to)
			must(err)
			_, err = c.Write([]byte("x"))
			must(err)
			c.Close()
		}
		must(table.Delete(t.Context(), test.match))
		left := map[string]bool{}
		must(table.List(t.Context(), func(m conntrack.Connection) {
			if m.Original.Protocol == unix.IPPROTO_UDP && m.Original.Source == address("::1") {
				left[netip.AddrPortFrom(m.Original.Destination, m.Original.DestinationPort).String()] = true
			}
		}))
		if got := strings.Join(slices.Sorted(maps.Keys(left)), " "); got != test.want {
			t.Errorf("%s: left %q, want %q", test.name, got, test.want)
		}
	}
}
