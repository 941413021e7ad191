package announce

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/mdlayher/packet"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/fairwaynet/fairway/test/netns"
)

func TestMain(m *testing.M) { netns.Main(m) }

var held = map[bool]netip.Addr{false: netip.MustParseAddr("192.0.2.50"), true: netip.MustParseAddr("2001:db8::50")}

// link is a node, which is this namespace, and a neighbour.
type link struct {
	*testing.T

	neighbour *netns.Namespace
	own       net.HardwareAddr // of the node
	announcer *Announcer
	heard     chan string
	paused    chan struct{}
	sure      bool
}

func newLink(t *testing.T) *link {
	t.Helper()
	l := &link{T: t, neighbour: netns.New(t), heard: make(chan string, 64), paused: make(chan struct{}, 8), sure: true}
	netns.Join(t, "lan", nil, []string{"192.0.2.1/24", "2001:db8::1/64"}, l.neighbour, []string{"192.0.2.2/24", "2001:db8::2/64"})
	device, err := net.InterfaceByName("lan")
	if err != nil {
		t.Fatal(err)
	}
	l.own = device.HardwareAddr
	l.announcer = New(Options{
		Sure:  func() bool { return l.sure },
		Heard: func(a netip.Addr, mac net.HardwareAddr) { l.heard <- fmt.Sprint(a, " ", mac) },
		Paused: func() {
			select {
			case l.paused <- struct{}{}:
			default:
			}
		},
		Failed: func(a netip.Addr, err error) { t.Errorf("%s: %v", a, err) },
	})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = l.announcer.Run(ctx)
	}()
	t.Cleanup(func() { cancel(); <-ended })
	return l
}

// asks makes the neighbour's kernel look for an address, and returns the MAC that it has found
// within a time.
func (l *link) asks(a netip.Addr, within time.Duration) net.HardwareAddr {
	l.Helper()
	l.forget(a)
	l.neighbour.Do(func() {
		c, err := net.Dial("udp", netip.AddrPortFrom(a, 9).String())
		if err != nil {
			l.Error(err)
			return
		}
		_, _ = c.Write([]byte("hello")) // what becomes of it does not matter
		_ = c.Close()
	})
	deadline := time.Now().Add(within)
	for time.Now().Before(deadline) {
		if mac := l.known(a); mac != nil {
			return mac
		}
		time.Sleep(5 * time.Millisecond) //nolint:forbidigo // it polls
	}
	return nil
}

// known is the MAC that the neighbour's kernel has of an address.
func (l *link) known(a netip.Addr) (mac net.HardwareAddr) {
	l.neighbour.Do(func() {
		all, err := netlink.NeighList(0, 0)
		if err != nil {
			l.Error(err)
		}
		const usable = netlink.NUD_REACHABLE | netlink.NUD_STALE | netlink.NUD_DELAY | netlink.NUD_PROBE
		for i := range all {
			if all[i].IP.Equal(a.AsSlice()) && all[i].State&usable != 0 {
				mac = all[i].HardwareAddr
			}
		}
	})
	return mac
}

func (l *link) forget(a netip.Addr) {
	l.neighbour.Do(func() {
		device, err := netlink.LinkByName("lan")
		if err != nil {
			l.Error(err)
			return
		}
		_ = netlink.NeighDel(&netlink.Neigh{LinkIndex: device.Attrs().Index, IP: a.AsSlice()}) // if there is one
	})
}

// says sends frames from the neighbour's interface.
func (l *link) says(a netip.Addr, frames ...[]byte) {
	l.Helper()
	l.neighbour.Do(func() {
		device, err := net.InterfaceByName("lan")
		if err != nil {
			l.Error(err)
			return
		}
		socket, err := packet.Listen(device, packet.Raw, unix.ETH_P_ARP, nil)
		if err != nil {
			l.Error(err)
			return
		}
		defer socket.Close()
		for _, frame := range frames {
			if _, err := socket.WriteTo(frame, &packet.Addr{HardwareAddr: frame[:6]}); err != nil {
				l.Errorf("%s: %v", a, err)
			}
		}
	})
}

func (l *link) hears(want string) {
	l.Helper()
	deadline := time.After(5 * time.Second)
	for {
		select {
		case got := <-l.heard:
			if got == want {
				return
			}
		case <-deadline:
			l.Fatalf("%q is not heard", want)
		}
	}
}

// inGroup says whether the node is in the group in which an address is asked for.
func (l *link) inGroup() bool {
	l.Helper()
	content, err := os.ReadFile("/proc/thread-self/net/igmp6")
	if err != nil {
		l.Fatal(err)
	}
	return strings.Contains(string(content), "ff0200000000000000000001ff000050")
}

const quiet = 1500 * time.Millisecond // an address that nobody has

func TestANodeAnswersForWhatItHolds(t *testing.T) {
	l := newLink(t)
	for ipv6, a := range held {
		if mac := l.asks(a, quiet); mac != nil {
			t.Errorf("%s answers for %s, which nobody holds", mac, a)
		}
		if err := l.announcer.Hold(a, "lan"); err != nil {
			t.Fatal(err)
		}
		if ipv6 && !l.inGroup() {
			t.Error("the node is not in the group of its address")
		}
		if mac := l.asks(a, 5*time.Second); !bytes.Equal(mac, l.own) {
			t.Errorf("%q answers for %s, want %s", mac, a, l.own)
		}
		if mac := l.asks(a.Next(), quiet); mac != nil {
			t.Errorf("%s answers for %s, which nobody holds", mac, a.Next())
		}
		l.announcer.Drop(a)
		if mac := l.asks(a, quiet); mac != nil {
			t.Errorf("%s answers for %s, which was dropped", mac, a)
		}
		if ipv6 && l.inGroup() {
			t.Error("the node stays in the group of an address that it does not hold")
		}
	}
	if err := l.announcer.Hold(held[false], "nowhere"); err == nil {
		t.Error("an interface that is not there")
	}
}

// A neighbour that knew another holder knows at once who takes an address over.
func TestATakeoverIsAnnounced(t *testing.T) {
	l := newLink(t)
	other := net.HardwareAddr{2, 0, 0, 0, 0, 9}
	for _, a := range held {
		l.neighbour.Do(func() {
			device, err := netlink.LinkByName("lan")
			if err == nil {
				err = netlink.NeighSet(&netlink.Neigh{LinkIndex: device.Attrs().Index, IP: a.AsSlice(), HardwareAddr: other, State: netlink.NUD_REACHABLE})
			}
			if err != nil {
				t.Error(err)
			}
		})
		if err := l.announcer.Hold(a, "lan"); err != nil {
			t.Fatal(err)
		}
		deadline := time.Now().Add(3 * time.Second)
		for !bytes.Equal(l.known(a), l.own) {
			if time.Now().After(deadline) {
				t.Fatalf("the neighbour believes that %s has %s", l.known(a), a)
			}
			time.Sleep(5 * time.Millisecond) //nolint:forbidigo // it polls
		}
	}
}

// Whoever does not know that he is the holder sends nothing of himself, and answers.
func TestAnUnsureHolderOnlyAnswers(t *testing.T) {
	l := newLink(t)
	l.sure = false
	a := held[false]
	l.neighbour.Do(func() {
		device, err := netlink.LinkByName("lan")
		if err == nil {
			err = netlink.NeighSet(&netlink.Neigh{LinkIndex: device.Attrs().Index, IP: a.AsSlice(), HardwareAddr: net.HardwareAddr{2, 0, 0, 0, 0, 9}, State: netlink.NUD_STALE})
		}
		if err != nil {
			t.Error(err)
		}
	})
	if err := l.announcer.Hold(a, "lan"); err != nil {
		t.Fatal(err)
	}
	time.Sleep(500 * time.Millisecond) //nolint:forbidigo // the time in which nothing may come
	if mac := l.known(a); bytes.Equal(mac, l.own) {
		t.Error("it announced")
	}
	if mac := l.asks(a, 5*time.Second); !bytes.Equal(mac, l.own) {
		t.Errorf("%q answers", mac)
	}
}

func TestProbe(t *testing.T) {
	l := newLink(t)
	var neighbour net.HardwareAddr
	l.neighbour.Do(func() {
		if device, err := net.InterfaceByName("lan"); err == nil {
			neighbour = device.HardwareAddr
		}
	})
	for _, c := range []struct {
		address string
		want    net.HardwareAddr
	}{{"192.0.2.2", neighbour}, {"2001:db8::2", neighbour}, {"192.0.2.60", nil}, {"2001:db8::60", nil}} {
		other, err := l.announcer.Probe(t.Context(), netip.MustParseAddr(c.address), "lan")
		if err != nil || !bytes.Equal(other.MAC, c.want) || other.Wants {
			t.Errorf("%s: %+v, %v; want %q", c.address, other, err, c.want)
		}
	}
}

// Another machine that only probes for an address does not have it.
func TestProbeHearsAProbe(t *testing.T) {
	l := newLink(t)
	for _, text := range []string{"192.0.2.60", "2001:db8::60"} {
		a, other := netip.MustParseAddr(text), net.HardwareAddr{2, 0, 0, 0, 0, 9}
		heard := make(chan Answer, 1)
		go func() {
			answer, err := l.announcer.Probe(t.Context(), a, "lan")
			if err != nil {
				t.Error(err)
			}
			heard <- answer
		}()
		for said := false; !said; {
			l.says(a, probe(other, a))
			select {
			case answer := <-heard:
				if said = true; !bytes.Equal(answer.MAC, other) || !answer.Wants {
					t.Errorf("%s: %+v, want that %s wants it", a, answer, other)
				}
			case <-time.After(50 * time.Millisecond):
			}
		}
	}
}

// Others who claim a held address are heard, and who asks for it before he takes it gets an
// answer.
func TestOthersAreHeard(t *testing.T) {
	l := newLink(t)
	other := net.HardwareAddr{2, 0, 0, 0, 0, 9}
	for _, a := range held {
		if err := l.announcer.Hold(a, "lan"); err != nil {
			t.Fatal(err)
		}
		l.says(a, announcements(other, a)...)
		l.hears(fmt.Sprint(a, " ", other))
		l.says(a, probe(other, a))
	}
	// The kernel of a neighbour that takes an IPv6 address asks first, and is told.
	l.neighbour.Do(func() {
		device, err := netlink.LinkByName("lan")
		if err == nil {
			err = netlink.AddrAdd(device, &netlink.Addr{IPNet: &net.IPNet{IP: held[true].AsSlice(), Mask: net.CIDRMask(64, 128)}})
		}
		if err != nil {
			t.Fatal(err)
		}
		deadline := time.Now().Add(5 * time.Second)
		for {
			all, err := netlink.AddrList(device, netlink.FAMILY_V6)
			if err != nil {
				t.Fatal(err)
			}
			for _, each := range all {
				if each.IP.Equal(held[true].AsSlice()) && each.Flags&unix.IFA_F_DADFAILED != 0 {
					return
				}
			}
			if time.Now().After(deadline) {
				t.Fatalf("nobody told the neighbour: %v", all)
			}
			time.Sleep(10 * time.Millisecond) //nolint:forbidigo // it polls
		}
	})
}

// After a pause nothing is answered until somebody says so.
func TestAPause(t *testing.T) {
	l := newLink(t)
	a := held[false]
	if err := l.announcer.Hold(a, "lan"); err != nil {
		t.Fatal(err)
	}
	l.announcer.mu.Lock()
	l.announcer.ticked = time.Now().Add(-2 * gap)
	l.announcer.mu.Unlock()
	select {
	case <-l.paused:
	case <-time.After(5 * time.Second):
		t.Fatal("the pause is not seen")
	}
	if mac := l.asks(a, quiet); mac != nil {
		t.Errorf("%s answers after a pause", mac)
	}
	l.announcer.Resume()
	if mac := l.asks(a, 5*time.Second); !bytes.Equal(mac, l.own) {
		t.Errorf("%q answers", mac)
	}
}

// An interface that is made anew answers again.
func TestAnInterfaceThatIsMadeAnew(t *testing.T) {
	l := newLink(t)
	a := held[false]
	if err := l.announcer.Hold(a, "lan"); err != nil {
		t.Fatal(err)
	}
	device, err := netlink.LinkByName("lan")
	if err == nil {
		err = netlink.LinkSetHardwareAddr(device, net.HardwareAddr{2, 0, 0, 0, 0, 7})
	}
	if err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(5 * time.Second)
	for {
		if mac := l.asks(a, quiet); bytes.Equal(mac, net.HardwareAddr{2, 0, 0, 0, 0, 7}) {
			return
		} else if time.Now().After(deadline) {
			t.Fatalf("%q answers", mac)
		}
	}
}

func FuzzRead(f *testing.F) {
	own, a := net.HardwareAddr{2, 0, 0, 0, 0, 1}, held[true]
	for _, frame := range append(append(announcements(own, held[false]), announcements(own, a)...), probe(own, a), probe(own, held[false])) {
		f.Add(frame)
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		h, ok := read(frame)
		if !ok {
			return
		}
		if !h.address.IsValid() || !h.sender.IsValid() || len(h.mac) != 6 || len(h.to) != 6 {
			t.Fatalf("%x: %+v", frame, h)
		}
		if h.address.Is4() == h.sender.Is4() && len(h.answer(own)) < ethernet {
			t.Fatalf("%x: no answer", frame)
		}
	})
}
