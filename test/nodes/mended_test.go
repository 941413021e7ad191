package nodes

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fairwaynet/fairway/test/netns"
)

// stream is an established connection over which bytes go back and forth.
type stream struct {
	connection net.Conn
	reader     *bufio.Reader
}

// echo sends back what a client says.
func echo(client net.Conn) { _, _ = io.Copy(client, client) }

func connect(t *testing.T, from *netns.Namespace, to string) *stream {
	t.Helper()
	connection, err := from.Dial(t, to)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = connection.Close() })
	return &stream{connection, bufio.NewReader(connection)}
}

// works sends a line and waits for it.
func (s *stream) works(within time.Duration) error {
	if err := s.connection.SetDeadline(time.Now().Add(within)); err != nil {
		return err
	}
	if _, err := fmt.Fprintln(s.connection, "hello"); err != nil {
		return err
	}
	line, err := s.reader.ReadString('\n')
	if err == nil && line != "hello\n" {
		err = fmt.Errorf("it says %q", line)
	}
	return err
}

// ends waits until the connection does not work any more.
func (s *stream) ends(t *testing.T) {
	t.Helper()
	eventually(t, "the connection ends", patience, func() error {
		if s.works(silence) == nil {
			return errors.New("it goes on")
		}
		return nil
	})
}

// lost is how many segments of the connection had to be sent again so far.
func (s *stream) lost(t *testing.T) (segments uint32) {
	t.Helper()
	raw, err := s.connection.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	control := raw.Control(func(fd uintptr) {
		var info *unix.TCPInfo
		if info, err = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO); err == nil {
			segments = info.Total_retrans
		}
	})
	if err := errors.Join(control, err); err != nil {
		t.Fatal(err)
	}
	return segments
}

const hostPort = `{"portMappings": [{"hostPort": 8443, "containerPort": 8080, "protocol": "tcp"}, {"hostPort": 8053, "containerPort": 8080, "protocol": "udp"}]}`

// What others on the machine take away comes back, is told by name, and breaks no
// connection that is open.
func testWhatOthersTakeAwayComesBack(t *testing.T, w *world) {
	one, two, far := w.machine(t, settings{number: 1}), w.machine(t, settings{number: 2}), w.machine(t, settings{number: 3, fabric: 1})
	a, b, c := one.pod("a", hostPort).serve(t), two.pod("b", "").serve(t), far.pod("c", "").serve(t)
	b.Serve(t, b.at(0, 7000), echo)
	c.Serve(t, c.at(0, 7000), echo)
	one.eventually("its pods reach the others", func() error {
		for _, to := range []string{b.at(0, 8080), b.at(1, 8080), c.at(0, 8080), c.at(1, 8080)} {
			if _, err := a.Ask(t, to); err != nil {
				return err
			}
		}
		return nil
	})
	near, distant := connect(t, a.Namespace, b.at(0, 7000)), connect(t, a.Namespace, c.at(0, 7000))
	time.Sleep(2 * time.Second) //nolint:forbidigo // wires that are younger are an ADD's
	wire := strings.TrimSpace(one.shell("ip -o route get " + a.addresses[0].String() + " | sed 's/.* dev \\([^ ]*\\) .*/\\1/'"))
	foreign := "198.18.0.0/15 via 192.0.2.254 dev eth0 proto static"
	one.shell("ip route add " + foreign)
	state := func() string {
		return one.shell(`ip -o route show proto 102; ip -6 -o route show proto 102; ip -o neigh show nud permanent | sort; bridge fdb show dev fwoverlay | sort
			nft list tables; ip -o link show fwoverlay | sed 's/.*mtu/mtu/'; ip -o addr show dev fwoverlay scope global | cut -d: -f2
			cat /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv6/conf/all/forwarding /proc/sys/net/ipv4/conf/` + wire + `/route_localnet /proc/sys/net/ipv4/conf/` + wire + `/forwarding`)
	}
	whole := state()
	for _, test := range []struct {
		name, command, told string
		within              time.Duration
	}{
		{"routes to nodes", "ip route del 10.244.2.0/24; ip route del 10.244.3.0/24", "the route 10.244.2.0/24", 2 * time.Second},
		{"IPv6 routes", "ip -6 route del fd00:244:2::/64; ip -6 route del fd00:244:3::/64", "the route fd00:244:3::/64", 2 * time.Second},
		{"the route to a pod", "ip route del " + a.addresses[0].String(), "nothing led " + a.addresses[0].String(), 5 * time.Second},
		{"a wire that goes down and up", "ip link set " + wire + " down; ip link set " + wire + " up", "interface " + wire, 5 * time.Second},
		{"a wire that goes down", "ip link set " + wire + " down", "it was down", 5 * time.Second},
		{"the MAC address of a wire", "ip link set " + wire + " address 02:00:00:00:00:99", "its MAC address was 02:00:00:00:00:99", 5 * time.Second},
		{"the MAC address of the overlay", "ip link set fwoverlay address 02:00:00:00:00:98", "the MAC address of interface fwoverlay was 02:00:00:00:00:98", 5 * time.Second},
		{"the overlay", "ip link del fwoverlay", "interface fwoverlay was missing", 5 * time.Second},
		{"its addresses", "ip addr flush dev fwoverlay", "interface fwoverlay had no address 10.244.1.0", 5 * time.Second},
		{"its entries", "ip neigh flush dev fwoverlay nud permanent; bridge fdb del $(bridge fdb show dev fwoverlay | grep dst | head -1 | cut -d' ' -f1) dev fwoverlay", "", 10 * time.Second},
		{"forwarding", "echo 0 > /proc/sys/net/ipv4/ip_forward; echo 0 > /proc/sys/net/ipv6/conf/all/forwarding", "net.ipv4.ip_forward was 0, not 1", 10 * time.Second},
		{"settings of a wire", "echo 0 > /proc/sys/net/ipv4/conf/" + wire + "/route_localnet", "route_localnet was 0, not 1", 10 * time.Second},
	} {
		t.Run(test.name, func(t *testing.T) {
			one.shell(test.command)
			began := time.Now()
			eventually(t, test.name+" are as before", patience, func() error {
				if is := state(); is != whole {
					return fmt.Errorf("now\n%s\nbefore\n%s", is, whole)
				}
				return nil
			})
			if took := time.Since(began); took > test.within { // a busy machine may be late
				t.Logf("%s are as before only after %s, want %s", test.name, took, test.within)
			}
			for _, open := range []*stream{near, distant} {
				if err := open.works(patience); err != nil {
					t.Errorf("a connection that was open: %v", err)
				}
			}
			if test.told != "" {
				one.told("NetworkRestored", test.told)
			}
		})
	}
	if routes := one.shell("ip route show proto static"); !strings.Contains(routes, "198.18.0.0/15") {
		t.Errorf("another's route is gone: %s", routes)
	}

	t.Run("nftables, with the agent away", func(t *testing.T) {
		outside := own
		asks(t, outside, "192.0.2.1:8443", "192.0.2.254")
		one.shell("nft flush ruleset") // the tables are owned: others cannot
		asks(t, outside, "192.0.2.1:8443", "192.0.2.254")
		one.process.Kill()
		asks(t, outside, "192.0.2.1:8443", "192.0.2.254")
		one.shell("nft flush ruleset")
		if said, err := outside.Ask(t, "192.0.2.1:8443"); err == nil {
			t.Errorf("without rules the host port answers %q", said)
		}
		one.start()
		eventually(t, "the host port answers", patience, func() error {
			_, err := outside.Ask(t, "192.0.2.1:8443")
			return err
		})
		for _, open := range []*stream{near, distant} {
			if err := open.works(patience); err != nil {
				t.Errorf("a connection that was open: %v", err)
			}
		}
	})

	t.Run("the network configuration", func(t *testing.T) {
		if err := os.Remove(one.folder("net.d/05-fairway.conflist")); err != nil {
			t.Fatal(err)
		}
		eventually(t, "it is back", patience, func() error {
			_, err := os.Stat(one.folder("net.d/05-fairway.conflist"))
			return err
		})
		if err := os.WriteFile(one.folder("net.d/00-other.conflist"), []byte("{}"), 0o600); err != nil {
			t.Fatal(err)
		}
		one.told("OtherNetwork", "00-other.conflist")
		if err := os.Remove(one.folder("net.d/00-other.conflist")); err != nil {
			t.Fatal(err)
		}
	})
}
