package link

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"slices"

	"github.com/vishvananda/netlink"
)

// ErrGone says that an interface of ours is not there.
var ErrGone = errors.New("the interface is gone")

// Restore puts the host's end of a wire back as Connect made it, whatever somebody has done
// to it, and returns what was not so. It does not look into the pod. The error wraps ErrGone
// if there is no such interface, and ErrNameTaken if it is another's.
func (w Wire) Restore() (changed []string, _ error) {
	end, err := netlink.LinkByName(w.Host)
	switch {
	case errors.As(err, new(netlink.LinkNotFoundError)):
		return nil, fmt.Errorf("restore interface %s: %w", w.Host, ErrGone)
	case err != nil:
		return nil, fmt.Errorf("restore interface %s: %w", w.Host, err)
	case !w.Owner.has(end):
		return nil, fmt.Errorf("restore interface %s: %w", w.Host, ErrNameTaken)
	}
	for _, step := range []func(netlink.Link) ([]string, error){w.restoreLink, w.restoreSettings, w.restoreWay} {
		more, err := step(end)
		if changed = append(changed, more...); err != nil {
			return changed, fmt.Errorf("restore interface %s: %w", w.Host, err)
		}
	}
	return changed, nil
}

func (w Wire) restoreLink(end netlink.Link) (changed []string, _ error) {
	is := end.Attrs()
	if want := w.Owner.hardwareAddr(); !bytes.Equal(is.HardwareAddr, want) {
		if err := netlink.LinkSetHardwareAddr(end, want); err != nil {
			return nil, fmt.Errorf("set its MAC address: %w", err)
		}
		changed = append(changed, fmt.Sprintf("its MAC address was %s, not %s", is.HardwareAddr, want))
	}
	if is.Flags&net.FlagUp == 0 {
		if err := netlink.LinkSetUp(end); err != nil {
			return changed, fmt.Errorf("set it up: %w", err)
		}
		changed = append(changed, "it was down")
	}
	return changed, nil
}

func (w Wire) restoreSettings(netlink.Link) ([]string, error) { return apply(w.Host, w.settings()) }

// restoreWay puts back the routes to the pod and the entries of its MAC address.
func (w Wire) restoreWay(end netlink.Link) (changed []string, _ error) {
	routes, err := netlink.RouteList(end, netlink.FAMILY_ALL)
	if err != nil {
		return nil, fmt.Errorf("list its routes: %w", err)
	}
	entries, err := netlink.NeighList(end.Attrs().Index, netlink.FAMILY_ALL)
	if err != nil {
		return nil, fmt.Errorf("list its neighbours: %w", err)
	}
	pod := w.Owner.podHardwareAddr()
	for _, address := range w.Addresses {
		want := w.route(end, address)
		routed := slices.ContainsFunc(routes, func(r netlink.Route) bool {
			return leadsTo(r.Dst, address) && r.Protocol == Protocol && r.Src.Equal(want.Src)
		})
		known := slices.ContainsFunc(entries, func(n netlink.Neigh) bool {
			return n.IP.Equal(address.AsSlice()) && n.State == netlink.NUD_PERMANENT && bytes.Equal(n.HardwareAddr, pod)
		})
		if routed && known {
			continue
		}
		if err := w.lead(end, address, pod); err != nil {
			return changed, err
		}
		changed = append(changed, fmt.Sprintf("nothing led %s to it", address))
	}
	return changed, nil
}
