package rack

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/fairwaynet/fairway/test/lab/machine"
)

// fabric is the name of the bridge for switch number i.
func fabric(i int) string { return fmt.Sprintf("fabric%d", i) }

// port is the name of the switch's end of a link.
func port(name string, link machine.Link) string { return fmt.Sprintf("%s-%d", name, link.Fabric) }

// addFabrics makes the switches.
func addFabrics(plan Plan) error {
	for _, path := range []string{"iptables", "ip6tables", "arptables"} {
		err := os.WriteFile("/proc/sys/net/bridge/bridge-nf-call-"+path, []byte("0"), 0o644)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("leave frames alone: %w", err)
		}
	}
	for i := range plan.Fabrics {
		attributes := netlink.NewLinkAttrs()
		attributes.Name, attributes.MTU = fabric(i), plan.MTU
		snooping := false // there is no querier
		bridge := &netlink.Bridge{LinkAttrs: attributes, MulticastSnooping: &snooping}
		if err := netlink.LinkAdd(bridge); err != nil {
			return fmt.Errorf("make %s: %w", fabric(i), err)
		}
		if err := netlink.LinkSetUp(bridge); err != nil {
			return fmt.Errorf("make %s: %w", fabric(i), err)
		}
	}
	return nil
}

// plug connects a machine, whose first process is pid, to its fabrics.
func plug(spec *machine.Spec, pid int) error {
	for _, link := range spec.Links {
		bridge, err := netlink.LinkByName(fabric(link.Fabric))
		if err != nil {
			return fmt.Errorf("find %s: %w", fabric(link.Fabric), err)
		}
		mac, err := net.ParseMAC(link.MAC)
		if err != nil {
			return fmt.Errorf("plug %s in: %w", spec.Name, err)
		}
		attributes := netlink.NewLinkAttrs()
		attributes.Name, attributes.MTU = port(spec.Name, link), link.MTU
		attributes.MasterIndex = bridge.Attrs().Index
		veth := &netlink.Veth{
			LinkAttrs: attributes, PeerName: link.Name, PeerHardwareAddr: mac,
			PeerMTU: uint32(link.MTU), PeerNamespace: netlink.NsPid(pid),
		}
		if err := netlink.LinkAdd(veth); err != nil {
			return fmt.Errorf("plug %s into %s: %w", spec.Name, fabric(link.Fabric), err)
		}
		if err := netlink.LinkSetUp(veth); err != nil {
			return fmt.Errorf("plug %s into %s: %w", spec.Name, fabric(link.Fabric), err)
		}
	}
	return nil
}

// unplug removes the links that plug made. The machine's ends disappear with them
// at once, which the kernel alone would do later.
func unplug(spec *machine.Spec) error {
	for _, link := range spec.Links {
		end, err := netlink.LinkByName(port(spec.Name, link))
		if errors.As(err, &netlink.LinkNotFoundError{}) {
			continue
		}
		if err != nil {
			return fmt.Errorf("unplug %s: %w", spec.Name, err)
		}
		// The kernel may have removed the link already.
		if err := netlink.LinkDel(end); err != nil && !errors.Is(err, unix.ENODEV) {
			return fmt.Errorf("unplug %s: %w", spec.Name, err)
		}
	}
	return nil
}

// carry switches the ports of a machine on or off. The machine's own ends lose
// their carrier, as if a cable were pulled.
func carry(spec *machine.Spec, on bool) error {
	for _, link := range spec.Links {
		end, err := netlink.LinkByName(port(spec.Name, link))
		if err != nil {
			return fmt.Errorf("find the port of %s: %w", spec.Name, err)
		}
		set := netlink.LinkSetDown
		if on {
			set = netlink.LinkSetUp
		}
		if err := set(end); err != nil {
			return fmt.Errorf("switch the port of %s: %w", spec.Name, err)
		}
	}
	return nil
}
