package nodes

import (
	"encoding/binary"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/mdlayher/ndp"
	"github.com/mdlayher/packet"
	"golang.org/x/sys/unix"
	coordination "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairwaynet/fairway/proxy/loadbalancer"
)

// sniff opens a link of this namespace.
func sniff(device string) (*packet.Conn, error) {
	found, err := net.InterfaceByName(device)
	if err != nil {
		return nil, err
	}
	return packet.Listen(found, packet.Raw, unix.ETH_P_ALL, nil)
}

// claimOf reads who says in a frame that he has which address.
func claimOf(frame []byte) (a netip.Addr, mac string, ok bool) {
	const ethernet, arp, ipv6 = 14, 28, 40
	if len(frame) < ethernet+arp {
		return netip.Addr{}, "", false
	}
	body := frame[ethernet:]
	switch binary.BigEndian.Uint16(frame[12:]) {
	case unix.ETH_P_ARP:
		sender := netip.AddrFrom4([4]byte(body[14:18]))
		reply := binary.BigEndian.Uint16(body[6:]) == 2
		gratuitous := sender == netip.AddrFrom4([4]byte(body[24:28]))
		return sender, net.HardwareAddr(body[8:14]).String(), (reply || gratuitous) && !sender.IsUnspecified()
	case unix.ETH_P_IPV6:
		if len(body) < ipv6 || body[6] != unix.IPPROTO_ICMPV6 {
			return netip.Addr{}, "", false
		}
		message, err := ndp.ParseMessage(body[ipv6:])
		if said, is := message.(*ndp.NeighborAdvertisement); err == nil && is {
			return said.TargetAddress, net.HardwareAddr(frame[6:12]).String(), true
		}
	}
	return netip.Addr{}, "", false
}

// lan hears which MAC claims which address on the first network.
type lan struct {
	mu     sync.Mutex
	claims map[netip.Addr][]claimed
}

type claimed struct {
	at  time.Time
	mac string
}

// listen hears all that is said on the link, until the test ends.
func listen(t *testing.T) *lan {
	t.Helper()
	l := &lan{claims: map[netip.Addr][]claimed{}}
	socket, err := sniff(fabric(0))
	if err != nil {
		t.Fatal(err)
	}
	var reading sync.WaitGroup
	reading.Go(func() {
		buffer := make([]byte, 2048)
		for {
			n, _, err := socket.ReadFrom(buffer)
			if err != nil {
				return
			}
			if a, mac, ok := claimOf(buffer[:n]); ok {
				l.mu.Lock()
				l.claims[a] = append(l.claims[a], claimed{time.Now(), mac})
				l.mu.Unlock()
			}
		}
	})
	t.Cleanup(func() { _ = socket.Close(); reading.Wait() })
	return l
}

// held is who held an address from when on, by its record.
type held struct {
	from time.Time
	node string
}

// follow notes who holds which address, until the test ends.
func (x *addressed) follow() {
	x.Helper()
	watched, err := x.world.client.CoordinationV1().Leases("kube-system").Watch(x.Context(), metav1.ListOptions{LabelSelector: loadbalancer.LeaseLabel + "=" + loadbalancer.AddressKind})
	if err != nil {
		x.Fatal(err)
	}
	var watching sync.WaitGroup
	watching.Go(func() {
		for event := range watched.ResultChan() {
			lease, ok := event.Object.(*coordination.Lease)
			if !ok {
				continue
			}
			if r, ok := loadbalancer.ReadRecord(lease); ok {
				x.mu.Lock()
				x.held[r.Address] = append(x.held[r.Address], held{time.Now(), r.Holder})
				x.mu.Unlock()
			}
		}
	})
	x.Cleanup(func() { watched.Stop(); watching.Wait() })
}

// oneAtATime checks that whoever claimed an address held it then, or a second before.
func (x *addressed) oneAtATime() {
	x.Helper()
	const overlap, late = time.Second, 200 * time.Millisecond
	x.mu.Lock()
	defer x.mu.Unlock()
	x.lan.mu.Lock()
	defer x.lan.mu.Unlock()
	nodes := map[string]string{}
	for node, mac := range x.macs {
		nodes[mac] = node
	}
	for a, all := range x.lan.claims {
		history := x.held[a]
		if len(history) == 0 {
			continue // no address of ours
		}
		for _, c := range all {
			allowed := slices.IndexFunc(history, func(h held) bool { return h.node == nodes[c.mac] && h.from.Before(c.at.Add(late)) })
			ok := false
			for i := max(allowed, 0); i < len(history) && allowed >= 0; i++ {
				until := time.Now()
				if i+1 < len(history) {
					until = history[i+1].from
				}
				ok = ok || (history[i].node == nodes[c.mac] && history[i].from.Before(c.at.Add(late)) && until.Add(overlap+late).After(c.at))
			}
			if !ok {
				x.Errorf("%s of node %q claims %s at %s; it was held so: %v", c.mac, nodes[c.mac], a, c.at.Format(time.StampMilli), history)
				break
			}
		}
	}
}

// macs that claimed an address since a time, in order.
func (l *lan) since(a netip.Addr, at time.Time) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var all []string
	for _, c := range l.claims[a] {
		if c.at.After(at) && (len(all) == 0 || all[len(all)-1] != c.mac) {
			all = append(all, c.mac)
		}
	}
	return all
}
