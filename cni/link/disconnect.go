package link

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Disconnect removes the host's end of an owner's wire, and with it the pod's end, its
// routes and neighbours. An end that is gone, or an interface of that name that is
// another's, is no error, and is left as it is.
func Disconnect(owner Owner, host string) error {
	isShaper := func(device netlink.Link) bool {
		return device.Type() == "ifb" && bytes.Equal(device.Attrs().HardwareAddr, owner.hardwareAddr())
	}
	return errors.Join(remove(host, owner.has), remove(shaperName(host), isShaper))
}

// has reports whether an interface is the host's end of the owner's wire.
func (o Owner) has(end netlink.Link) bool {
	return end.Type() == "veth" && (end.Attrs().Alias == o.String() || bytes.Equal(end.Attrs().HardwareAddr, o.hardwareAddr()))
}

// remove removes the interface of a name if it is the one that is meant. It goes by its
// index, which is not used again soon, as a name is.
func remove(name string, meant func(netlink.Link) bool) error {
	end, err := netlink.LinkByName(name)
	if errors.As(err, new(netlink.LinkNotFoundError)) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look for interface %s: %w", name, err)
	}
	if !meant(end) {
		return nil
	}
	err = netlink.LinkDel(&netlink.GenericLink{LinkAttrs: netlink.LinkAttrs{Index: end.Attrs().Index}})
	if err != nil && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("remove interface %s: %w", name, err)
	}
	return nil
}

// DisconnectAny removes the host's end of an owner's wire under each name that New could
// have given it.
func DisconnectAny(owner Owner) error {
	var wrong []error
	for attempt := range byte(attempts) {
		wrong = append(wrong, Disconnect(owner, owner.hostName(attempt)))
	}
	return errors.Join(wrong...)
}
