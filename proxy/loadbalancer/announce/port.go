package announce

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/mdlayher/ndp"
	"github.com/mdlayher/packet"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"
)

// port is an interface at which addresses are answered for.
type port struct {
	device net.Interface
	socket map[bool]*packet.Conn // by family: true is IPv6
	groups []*members
}

// members are groups that one socket has joined. The kernel bounds how many one can.
type members struct {
	socket *ipv6.PacketConn
	joined map[netip.Addr]int // how many addresses need it
}

const mostGroups = 64

// open opens an interface, and calls hear for each question of one family, until it is closed.
func open(name string, hear func(*port, heard)) (*port, error) {
	device, err := net.InterfaceByName(name)
	if err != nil {
		return nil, fmt.Errorf("answer on interface %s: %w", name, err)
	}
	const macLength = 6
	if len(device.HardwareAddr) != macLength {
		return nil, fmt.Errorf("answer on interface %s: it is no Ethernet", name)
	}
	p := &port{device: *device, socket: map[bool]*packet.Conn{}}
	filter, err := neighbourDiscovery()
	if err != nil {
		return nil, fmt.Errorf("answer on interface %s: %w", name, err)
	}
	for _, kind := range []int{unix.ETH_P_ARP, unix.ETH_P_IPV6} {
		config := &packet.Config{}
		if kind == unix.ETH_P_IPV6 {
			config.Filter = filter
		}
		socket, err := packet.Listen(device, packet.Raw, kind, config)
		if err != nil {
			p.close()
			return nil, fmt.Errorf("answer on interface %s: %w", name, err)
		}
		p.socket[kind == unix.ETH_P_IPV6] = socket
	}
	for _, socket := range p.socket {
		go p.listen(socket, hear)
	}
	return p, nil
}

// listen ends when the socket is closed, or the interface is gone.
func (p *port) listen(socket *packet.Conn, hear func(*port, heard)) {
	buffer := make([]byte, 2048)
	for {
		n, _, err := socket.ReadFrom(buffer)
		if errors.Is(err, unix.ENETDOWN) { // it may come up again
			continue
		}
		if err != nil {
			return
		}
		h, ok := read(buffer[:n])
		if !ok || slices.Equal(h.mac, p.device.HardwareAddr) {
			continue
		}
		if group := h.to[0]&1 == 1; group || slices.Equal(h.to, p.device.HardwareAddr) {
			hear(p, h)
		}
	}
}

// send sends a frame about an address.
func (p *port) send(a netip.Addr, frame []byte) error {
	_, err := p.socket[a.Is6()].WriteTo(frame, &packet.Addr{HardwareAddr: frame[:6]})
	return err
}

// same says whether the interface of the name is still the one that was opened.
func (p *port) same() bool {
	now, err := net.InterfaceByName(p.device.Name)
	return err == nil && now.Index == p.device.Index && slices.Equal(now.HardwareAddr, p.device.HardwareAddr)
}

// join makes the link bring what is sent to the group in which an IPv6 address is asked for.
func (p *port) join(a netip.Addr) error {
	group, err := ndp.SolicitedNodeMulticast(a)
	if err != nil {
		return err
	}
	for _, m := range p.groups {
		if m.joined[group] > 0 {
			m.joined[group]++
			return nil
		}
	}
	free := slices.IndexFunc(p.groups, func(m *members) bool { return len(m.joined) < mostGroups })
	if free < 0 {
		socket, err := net.ListenPacket("udp6", "[::1]:0")
		if err != nil {
			return fmt.Errorf("join groups: %w", err)
		}
		p.groups = append(p.groups, &members{ipv6.NewPacketConn(socket), map[netip.Addr]int{}})
		free = len(p.groups) - 1
	}
	m := p.groups[free]
	if err := m.socket.JoinGroup(&p.device, &net.UDPAddr{IP: group.AsSlice()}); err != nil {
		return fmt.Errorf("join group %s: %w", group, err)
	}
	m.joined[group] = 1
	return nil
}

// part undoes join.
func (p *port) part(a netip.Addr) {
	group, err := ndp.SolicitedNodeMulticast(a)
	if err != nil {
		return
	}
	for _, m := range p.groups {
		if m.joined[group] == 0 {
			continue
		}
		if m.joined[group]--; m.joined[group] == 0 {
			delete(m.joined, group)
			_ = m.socket.LeaveGroup(&p.device, &net.UDPAddr{IP: group.AsSlice()}) // an interface that is gone is in no group
		}
	}
}

func (p *port) close() {
	for _, socket := range p.socket {
		_ = socket.Close()
	}
	for _, m := range p.groups {
		_ = m.socket.Close()
	}
}
