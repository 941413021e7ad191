package link

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Protocol is the number by which our routes are known among others' (rtm_protocol; no
// routing daemon of the kernel's list has it).
const Protocol = 0x66

// The gateways of pods are link-local, so no range gives an address to them, and every
// pod has the same. No interface has them: a pod has permanent neighbour entries.
var (
	gateway4 = netip.AddrFrom4([4]byte{169, 254, 1, 1})
	gateway6 = netip.MustParseAddr("fe80::1")
)

// Gateway returns the address of a pod's default route for the family of an address.
func Gateway(of netip.Addr) netip.Addr {
	if of.Is4() {
		return gateway4
	}
	return gateway6
}

// Wire is a pair of veth interfaces between a pod and its node, as it is wanted.
type Wire struct {
	Owner     Owner
	Host      string       // the name of the host's end; empty: New chooses it
	Addresses []netip.Addr // of the pod's end, each a /32 or /128
	MTU       int          // in bytes, of both ends
	// Sources are addresses of the node, by which it speaks to the pod: the first of the
	// pod address's family. Without one the kernel chooses.
	Sources   []netip.Addr
	Bandwidth Bandwidth
	// HostPorts lets the node's 127.0.0.1 lead to the pod. Rules must keep the pod from it.
	HostPorts bool
}

// Ends are the interfaces of a wire that was connected.
type Ends struct {
	Host, Pod net.HardwareAddr
}

// ErrNameTaken says that an interface of somebody else has the name of the host's end.
var ErrNameTaken = errors.New("an interface that is not ours has the name")

// attempts is how many names New tries.
const attempts = 8

// New returns a free name for the host's end of an owner's wire.
func New(owner Owner) (string, error) {
	for attempt := range byte(attempts) {
		name := owner.hostName(attempt)
		_, err := netlink.LinkByName(name)
		if errors.As(err, new(netlink.LinkNotFoundError)) {
			return name, nil
		}
		if err != nil {
			return "", fmt.Errorf("look for interface %s: %w", name, err)
		}
	}
	return "", fmt.Errorf("name an interface for %s: %w: %s and %d others", owner, ErrNameTaken, owner.hostName(0), attempts-1)
}

// Connect makes a wire between a namespace and ours, or leaves nothing behind.
func Connect(pod *Namespace, wire Wire) (_ Ends, err error) {
	inside, err := pod.netlink()
	if err != nil {
		return Ends{}, err
	}
	defer inside.Close()
	host, err := pair(pod, wire)
	if err != nil {
		return Ends{}, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, Disconnect(wire.Owner, wire.Host))
		}
	}()
	end, err := inside.LinkByName(wire.Owner.Interface)
	if err != nil {
		return Ends{}, fmt.Errorf("find interface %s of the pod: %w", wire.Owner.Interface, err)
	}
	ends := Ends{Host: host.Attrs().HardwareAddr, Pod: end.Attrs().HardwareAddr}
	if err := pod.within(func() error { _, err := apply(wire.Owner.Interface, podSettings()); return err }); err != nil {
		return Ends{}, err
	}
	if err := wire.configureHost(host, ends.Pod); err != nil {
		return Ends{}, err
	}
	if err := wire.configurePod(inside, end, ends.Host); err != nil {
		return Ends{}, err
	}
	return ends, nil
}

// pair makes the two interfaces, each in its namespace, in one message.
func pair(pod *Namespace, wire Wire) (netlink.Link, error) {
	attributes := netlink.NewLinkAttrs()
	attributes.Name, attributes.MTU, attributes.HardwareAddr = wire.Host, wire.MTU, wire.Owner.hardwareAddr()
	veth := &netlink.Veth{
		LinkAttrs: attributes, PeerName: wire.Owner.Interface, PeerNamespace: netlink.NsFd(pod.file.Fd()),
		PeerHardwareAddr: wire.Owner.podHardwareAddr(),
	}
	switch err := netlink.LinkAdd(veth); {
	case errors.Is(err, unix.EEXIST):
		return nil, fmt.Errorf("make interfaces %s and, in the pod, %s: one of them exists: %w", wire.Host, wire.Owner.Interface, err)
	case err != nil:
		return nil, fmt.Errorf("make interfaces %s and, in the pod, %s: %w", wire.Host, wire.Owner.Interface, err)
	}
	host, err := netlink.LinkByName(wire.Host)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("find interface %s: %w", wire.Host, err), Disconnect(wire.Owner, wire.Host))
	}
	return host, nil
}

// configurePod gives the pod's end its addresses and routes.
func (w Wire) configurePod(inside *netlink.Handle, end netlink.Link, gateway net.HardwareAddr) error {
	for _, address := range w.Addresses {
		own := &netlink.Addr{IPNet: single(address), Flags: unix.IFA_F_NODAD}
		if err := inside.AddrReplace(end, own); err != nil {
			return fmt.Errorf("give the pod %s: %w", address, err)
		}
	}
	if err := inside.LinkSetUp(end); err != nil {
		return fmt.Errorf("set the pod's %s up: %w", w.Owner.Interface, err)
	}
	for _, address := range w.Addresses {
		via := Gateway(address)
		if err := inside.NeighSet(neighbour(end, via, gateway)); err != nil {
			return fmt.Errorf("tell the pod its gateway's MAC address: %w", err)
		}
		route := &netlink.Route{
			LinkIndex: end.Attrs().Index, Gw: via.AsSlice(), Flags: unix.RTNH_F_ONLINK, Family: familyOf(address),
		}
		if err := inside.RouteReplace(route); err != nil {
			return fmt.Errorf("give the pod a default route by %s: %w", via, err)
		}
	}
	return nil
}

// configureHost brings the host's end up, and leads the pod's addresses to it.
func (w Wire) configureHost(end netlink.Link, pod net.HardwareAddr) error {
	if err := netlink.LinkSetAlias(end, w.Owner.String()); err != nil {
		return fmt.Errorf("mark interface %s: %w", w.Host, err)
	}
	if _, err := apply(w.Host, w.settings()); err != nil {
		return err
	}
	if err := netlink.LinkSetUp(end); err != nil {
		return fmt.Errorf("set interface %s up: %w", w.Host, err)
	}
	for _, address := range w.Addresses {
		if err := w.lead(end, address, pod); err != nil {
			return err
		}
	}
	return w.Bandwidth.limit(end, w.MTU)
}

// settings are those of the host's end.
func (w Wire) settings() []setting {
	settings := append(hostSettings(), noLinkLocal())
	if w.HostPorts {
		settings = append(settings, setting{"ipv4", "route_localnet", "1"})
	}
	return settings
}

// lead leads an address of the pod to the host's end.
func (w Wire) lead(end netlink.Link, address netip.Addr, pod net.HardwareAddr) error {
	if err := netlink.NeighSet(neighbour(end, address, pod)); err != nil {
		return fmt.Errorf("note the MAC address of %s: %w", address, err)
	}
	if err := netlink.RouteReplace(w.route(end, address)); err != nil {
		return fmt.Errorf("route %s to interface %s: %w", address, w.Host, err)
	}
	return nil
}

// route leads an address to the host's end.
func (w Wire) route(end netlink.Link, address netip.Addr) *netlink.Route {
	route := &netlink.Route{
		LinkIndex: end.Attrs().Index, Dst: single(address), Scope: netlink.SCOPE_LINK, Protocol: Protocol, Family: familyOf(address),
	}
	if address.Is6() {
		route.Scope = netlink.SCOPE_UNIVERSE // IPv6 knows no other
	}
	for _, source := range w.Sources {
		if source.Is4() == address.Is4() {
			route.Src = source.AsSlice()
			break
		}
	}
	return route
}

// neighbour is a permanent entry: it needs no answer, and does not count among the
// entries of which the kernel has 1,024 for all namespaces together.
func neighbour(on netlink.Link, address netip.Addr, mac net.HardwareAddr) *netlink.Neigh {
	return &netlink.Neigh{
		LinkIndex: on.Attrs().Index, Family: familyOf(address), State: netlink.NUD_PERMANENT,
		IP: address.AsSlice(), HardwareAddr: mac,
	}
}

func familyOf(address netip.Addr) int {
	if address.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

// single is the network of one address.
func single(address netip.Addr) *net.IPNet {
	return network(netip.PrefixFrom(address, address.BitLen()))
}
