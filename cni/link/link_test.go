package link_test

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/fairwaynet/fairway/cni/link"
	"github.com/fairwaynet/fairway/test/netns"
)

// pod is a namespace with a wire to this one.
type pod struct {
	*netns.Namespace
	wire link.Wire
}

// connect makes a pod with addresses.
func connect(t testing.TB, container string, change func(*link.Wire), addresses ...string) pod {
	t.Helper()
	p := pod{Namespace: netns.New(t), wire: link.Wire{Owner: link.Owner{Container: container, Interface: "eth0"}, MTU: 1450}}
	for _, address := range addresses {
		p.wire.Addresses = append(p.wire.Addresses, netip.MustParseAddr(address))
	}
	if change != nil {
		change(&p.wire)
	}
	var err error
	if p.wire.Host, err = link.New(p.wire.Owner); err != nil {
		t.Fatal(err)
	}
	namespace := p.open(t)
	if _, err := link.Connect(namespace, p.wire); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := link.Disconnect(p.wire.Owner, p.wire.Host); err != nil {
			t.Error(err)
		}
	})
	return p
}

func (p pod) open(t testing.TB) *link.Namespace {
	t.Helper()
	namespace, err := link.OpenNamespace(p.Path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = namespace.Close() })
	return namespace
}

// Pods of one node reach one another and see who asks, in both families, at once: nothing
// waits for the detection of duplicate addresses.
func TestPodsReachOneAnother(t *testing.T) {
	netns.Forward(t)
	for _, addresses := range [][2]string{{"10.244.1.1", "10.244.1.255"}, {"fd00:1::1", "fd00:1::ffff:ffff"}} {
		one, two := connect(t, "one", nil, addresses[0]), connect(t, "two", nil, addresses[1])
		at := two.Answer(t, net.JoinHostPort(addresses[1], "0"))
		if said, err := one.Ask(t, at.String()); err != nil || said != addresses[0] {
			t.Errorf("from %s to %s: %q, %v", addresses[0], at, said, err)
		}
		if err := link.Disconnect(one.wire.Owner, one.wire.Host); err != nil {
			t.Error(err)
		}
		if err := link.Disconnect(two.wire.Owner, two.wire.Host); err != nil {
			t.Error(err)
		}
	}
}

// The node reaches its pods by the address that it is known by.
func TestTheNodeSpeaksByItsAddress(t *testing.T) {
	var node *netns.Namespace
	node.Give(t, "lo", "192.0.2.1/32", "198.51.100.7/32", "2001:db8::1/128", "2001:db8::7/128")
	for address, source := range map[string]string{"10.244.1.9": "198.51.100.7", "fd00:1::9": "2001:db8::7"} {
		p := connect(t, "c"+source[:4], func(w *link.Wire) {
			w.Sources = []netip.Addr{netip.MustParseAddr("2001:db8::7"), netip.MustParseAddr("198.51.100.7")}
		}, address)
		at := p.Answer(t, net.JoinHostPort(address, "0"))
		if said, err := node.Ask(t, at.String()); err != nil || said != source {
			t.Errorf("the pod %s sees %q, %v, not %s", address, said, err, source)
		}
	}
}

// The host's end has no address: a link-local one would double the time of its removal.
func TestTheHostsEndHasNoAddress(t *testing.T) {
	p := connect(t, "one", nil, "10.244.1.1", "fd00:1::1")
	host, err := netlink.LinkByName(p.wire.Host)
	if err != nil {
		t.Fatal(err)
	}
	if addresses, err := netlink.AddrList(host, netlink.FAMILY_ALL); err != nil || len(addresses) > 0 {
		t.Errorf("it has %v, %v", addresses, err)
	}
}

// A second try, or a name that somebody has in the pod, leaves the first wire as it is.
func TestConnectLeavesNothingBehind(t *testing.T) {
	first := connect(t, "first", nil, "10.244.1.1")
	again := first.wire
	again.Owner.Container = "other" // its interface is eth0, too, which the namespace has
	var err error
	if again.Host, err = link.New(again.Owner); err != nil {
		t.Fatal(err)
	}
	if _, err := link.Connect(first.open(t), again); err == nil || !strings.Contains(err.Error(), "exists") {
		t.Errorf("a second eth0: %v", err)
	}
	wrong := link.Wire{Owner: link.Owner{Container: "wrong", Interface: "eth1"}, Host: "fwwrong", MTU: 1450,
		Addresses: []netip.Addr{netip.MustParseAddr("10.244.1.3")}, Sources: []netip.Addr{netip.MustParseAddr("192.0.2.77")}}
	if _, err := link.Connect(first.open(t), wrong); err == nil || !strings.Contains(err.Error(), "10.244.1.3") {
		t.Errorf("with a source that the node does not have: %v", err)
	}
	if err := link.Check(first.open(t), first.wire); err != nil {
		t.Error(err)
	}
	if got := ours(t); len(got) != 1 || got[0] != first.wire.Host {
		t.Errorf("there are %q, want %s alone", got, first.wire.Host)
	}
}

// ours lists the interfaces of pods in this namespace.
func ours(t testing.TB) []string {
	t.Helper()
	all, err := netlink.LinkList()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, one := range all {
		if strings.HasPrefix(one.Attrs().Name, link.Prefix) {
			names = append(names, one.Attrs().Name)
		}
	}
	return names
}

// An interface of somebody else is never removed to make room: the owner gets another name.
func TestNamesOfOthersAreLeftAlone(t *testing.T) {
	owner := link.Owner{Container: "0123456789abcdef", Interface: "eth0"}
	name, err := link.New(owner)
	if err != nil {
		t.Fatal(err)
	}
	attributes := netlink.NewLinkAttrs()
	attributes.Name = name
	foreign := &netlink.Veth{LinkAttrs: attributes, PeerName: "foreign"}
	if err := netlink.LinkAdd(foreign); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = netlink.LinkDel(foreign) })
	p := connect(t, owner.Container, nil, "10.244.1.1")
	if p.wire.Host == name || !strings.HasPrefix(p.wire.Host, link.Prefix) {
		t.Errorf("the name is %s", p.wire.Host)
	}
	if err := link.Disconnect(owner, name); err != nil {
		t.Error(err)
	}
	if _, err := netlink.LinkByName(name); err != nil {
		t.Errorf("the other's interface: %v", err)
	}
	if err := link.Check(p.open(t), p.wire); err != nil {
		t.Error(err)
	}
}

// The end of the first container, come late, leaves the second's wire alone. Twice is as
// good as once, and a namespace that is gone is no obstacle.
func TestDisconnectIsOfItsOwnerOnly(t *testing.T) {
	first := connect(t, "first", nil, "10.244.1.1")
	first.End()
	second := connect(t, "second", nil, "10.244.1.2")
	for range 2 {
		if err := link.Disconnect(first.wire.Owner, first.wire.Host); err != nil {
			t.Error(err)
		}
		if err := link.Disconnect(first.wire.Owner, second.wire.Host); err != nil {
			t.Error(err)
		}
	}
	if got := ours(t); len(got) != 1 || got[0] != second.wire.Host {
		t.Errorf("there are %q, want %s alone", got, second.wire.Host)
	}
}

func TestCheckFindsWhatWasTakenAway(t *testing.T) {
	for name, test := range map[string]struct {
		takeAway func(p pod, host netlink.Link) error
		says     string
	}{
		"the host's route": {func(_ pod, host netlink.Link) error {
			return netlink.RouteDel(&netlink.Route{LinkIndex: host.Attrs().Index, Dst: &net.IPNet{IP: net.IPv4(10, 244, 1, 1), Mask: net.CIDRMask(32, 32)}, Scope: netlink.SCOPE_LINK})
		}, "no route leads 10.244.1.1 to interface fw"},
		"the host's interface is down": {func(_ pod, host netlink.Link) error { return netlink.LinkSetDown(host) }, "is down"},
		"the host's interface":         {func(_ pod, host netlink.Link) error { return netlink.LinkDel(host) }, "not found"},
		"the pod's address": {func(p pod, _ netlink.Link) (err error) {
			p.Do(func() {
				var end netlink.Link
				if end, err = netlink.LinkByName("eth0"); err == nil {
					err = netlink.AddrDel(end, &netlink.Addr{IPNet: &net.IPNet{IP: net.ParseIP("fd00:1::1"), Mask: net.CIDRMask(128, 128)}})
				}
			})
			return err
		}, "eth0 does not have fd00:1::1"},
		"the pod's default route": {func(p pod, _ netlink.Link) (err error) {
			p.Do(func() { err = netlink.RouteDel(&netlink.Route{Gw: net.IPv4(169, 254, 1, 1)}) })
			return err
		}, "no default route by 169.254.1.1"},
	} {
		t.Run(name, func(t *testing.T) {
			p := connect(t, "one", nil, "10.244.1.1", "fd00:1::1")
			namespace := p.open(t)
			if err := link.Check(namespace, p.wire); err != nil {
				t.Fatal(err)
			}
			host, err := netlink.LinkByName(p.wire.Host)
			if err == nil {
				err = test.takeAway(p, host)
			}
			if err != nil {
				t.Fatal(err)
			}
			if err := link.Check(namespace, p.wire); err == nil || !strings.Contains(err.Error(), test.says) {
				t.Errorf("found %v, want %q", err, test.says)
			}
		})
	}
}

func TestNamespacesThatAreNone(t *testing.T) {
	for _, path := range []string{"/nonexistent", "/dev/null", t.TempDir(), ""} {
		if _, err := link.OpenNamespace(path); !errors.Is(err, link.ErrNoNamespace) {
			t.Errorf("%q: %v", path, err)
		}
	}
}

// Two directions are limited each by its own rate, and neither lets more pass.
func TestBandwidth(t *testing.T) {
	netns.Forward(t)
	const receives, sends = 16e6, 8e6 // bits a second
	limited := connect(t, "limited", func(w *link.Wire) {
		w.Bandwidth = link.Bandwidth{Receives: link.Limit{Rate: receives}, Sends: link.Limit{Rate: sends}}
	}, "10.244.1.1")
	free := connect(t, "free", nil, "10.244.1.2")
	if got := transfer(t, free, limited); got > receives*1.15 || got < receives*0.5 {
		t.Errorf("the pod receives %.1f Mbit/s, its limit is %.0f", got/1e6, receives/1e6)
	}
	if got := transfer(t, limited, free); got > sends*1.15 || got < sends*0.5 {
		t.Errorf("the pod sends %.1f Mbit/s, its limit is %.0f", got/1e6, sends/1e6)
	}
	if err := link.Disconnect(limited.wire.Owner, limited.wire.Host); err != nil {
		t.Error(err)
	}
	if got := ours(t); len(got) != 1 {
		t.Errorf("of the limited pod there is still something: %q", got)
	}
}

// transfer sends two megabytes and returns the rate in bits a second.
func transfer(t *testing.T, from, to pod) float64 {
	t.Helper()
	const size = 2 << 20
	var listener net.Listener
	to.Do(func() {
		var err error
		if listener, err = net.Listen("tcp", to.wire.Addresses[0].String()+":0"); err != nil {
			t.Error(err)
		}
	})
	defer listener.Close()
	var took time.Duration
	var receiving sync.WaitGroup
	receiving.Go(func() {
		client, err := listener.Accept()
		if err != nil {
			t.Error(err)
			return
		}
		defer client.Close()
		began := time.Now()
		if n, err := io.Copy(io.Discard, client); n != size || err != nil {
			t.Errorf("received %d of %d: %v", n, size, err)
		}
		took = time.Since(began)
	})
	from.Do(func() {
		sender, err := net.DialTimeout("tcp", listener.Addr().String(), 5*time.Second)
		if err != nil {
			t.Error(err)
			_ = listener.Close()
			return
		}
		_, err = sender.Write(make([]byte, size))
		if err := errors.Join(err, sender.Close()); err != nil {
			t.Error(err)
		}
	})
	receiving.Wait()
	return size * 8 / took.Seconds()
}
